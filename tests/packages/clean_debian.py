# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian with nothing on it but packages of ours and what they depend on."""
import os
import subprocess
from pathlib import Path

from lib import paths
from lib.process import run

# In a mount namespace of its own, and without a process between: who is started is who is waited for and killed.
ENTER = """root=$1 work=$2 guest=$3; shift 3
mount --rbind /dev "$root/dev"; mount -t proc proc "$root/proc"
for folder in "$work" "$guest"; do mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"; done
exec chroot "$root" "$@"
"""
PROGRAMS = ("qemu-system-x86_64", "qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon")


def sources():
    """The suite, and the line for apt, that this machine's own sources amount to."""
    script = f". {paths.CHECKOUT}/tools/lib/private-apt.sh; suite=$(debian_codename); echo $suite; " \
             "echo deb [signed-by=$private_apt_keyring] $(debian_mirror) $suite main"
    suite, line = run(["bash", "-euc", script]).splitlines()
    return suite, line


class CleanDebian:
    """Folder `root`; `work` is seen inside under the same path, and so is the test guest."""

    def __init__(self, root, work, debs):
        self.root, self.work = Path(root), work
        suite, line = sources()
        folder = self.root.parent / "debs"
        folder.mkdir()
        for deb in debs:
            os.link(deb, folder / Path(deb).name) if os.stat(deb).st_dev == os.stat(folder).st_dev else run(["cp", deb, folder])
        names = " ".join(f"/debs/{Path(deb).name}" for deb in debs)
        self.install = f'chroot "$1" apt-get install -y -qq --no-install-recommends {names}'
        run(["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--dpkgopt=force-unsafe-io",
             f"--customize-hook=copy-in {folder} /", f"--customize-hook={self.install} >&2",
             suite, self.root, line])

    def inside(self, *args):
        """The command line that runs a program inside."""
        return ["unshare", "--mount", "sh", "-euc", ENTER, "sh", self.root, str(self.work), paths.guest_dir(), *args]

    def run(self, *args, **kwargs):
        return run(self.inside(*args), **kwargs)

    def try_run(self, *args, **kwargs):
        return subprocess.run([str(a) for a in self.inside(*args)], capture_output=True, text=True, check=False, **kwargs)

    def programs(self, folder):
        """A folder with programs that run those of /opt/predsnap inside, for PREDSNAP_QEMU_BIN."""
        folder.mkdir()
        (folder / "enter").write_text(ENTER, encoding="ascii")
        for name in PROGRAMS:
            path = folder / name
            path.write_text(f'#!/bin/sh\nexec unshare --mount sh -eu {folder}/enter {self.root} {self.work} {paths.guest_dir()} '
                            f'/opt/predsnap/bin/{name} "$@"\n', encoding="ascii")
            path.chmod(0o755)
        return folder
