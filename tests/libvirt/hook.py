# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that have the hook."""
import os
import shutil
import subprocess
import time
from pathlib import Path

from case import HostTest
from lib import paths
from lib.process import wait_until

HOOK = Path(os.environ.get("PREDSNAP_HOOK") or paths.CHECKOUT / "build/libvirt-hooks/qemu")
TOOL = Path(os.environ.get("PREDSNAP_TOOL") or paths.CHECKOUT / "build/tools/predsnap/predsnap")
QEMU_USER = 64055  # Debian's libvirt-qemu
STAMP = "/dev/vda --seed 1 --span 33554432 --direct"


def install(host):
    shutil.copy(HOOK, host.hooks / "qemu")


def install_tools(host):
    """The predsnap command, as /opt/predsnap-tools/predsnap."""
    folder = host.folder / "opt/predsnap-tools"
    folder.mkdir()
    shutil.copy(TOOL, folder / "predsnap")


class HookTest(HostTest):
    @classmethod
    def prepare_host(cls):
        install(cls.host)

    def inside(self, path):
        """A path of the host's, as this side sees it."""
        for inner, outer in (("/var/", ""), ("/run/", "run/"), ("/etc/", "etc/")):
            if str(path).startswith(inner):
                return self.host.folder / outer / str(path)[len(inner):]
        raise ValueError(path)

    def daemon_pids(self, name):
        """qemu-storage-daemons of a domain, without their keepers."""
        return [pid for pid in self.host.pids_of(f"^[^ ]*qemu-storage-daemon .*/run/predsnap/{name}/")]

    def keeper_pids(self, name):
        return self.host.pids_of(f"--keep /run/predsnap/{name}/")

    def wait_daemon(self, name, other_than=()):
        return wait_until(lambda: [p for p in self.daemon_pids(name) if p not in other_than], f"a storage daemon of '{name}'")

    def assert_refused(self, domain, *said):
        """The domain does not start, and virsh shows why."""
        status, output = self.host.try_virsh("start", domain.name)
        self.assertNotEqual(status, 0, output)
        for part in said:
            self.assertIn(part, output)
        self.assertEqual(domain.state(), "shut off")

    def call_hook(self, name, operation, xml, sub_operation="begin", extra="-"):
        """As libvirt calls it; status and what it said."""
        command = self.host.inside(["/etc/libvirt/hooks/qemu", name, operation, sub_operation, extra])
        done = subprocess.run(command, input=xml, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stderr.strip()

    def time_prepare_ms(self, name, xml):
        """What the hook takes before a start, without the time it takes to get inside."""

        def took_ms(command):
            start = time.monotonic()
            subprocess.run(command, input=xml, capture_output=True, text=True, check=True)
            return (time.monotonic() - start) * 1000

        prepare = self.host.inside(["/etc/libvirt/hooks/qemu", name, "prepare", "begin", "-"])
        return took_ms(prepare) - took_ms(self.host.inside(["true"]))
