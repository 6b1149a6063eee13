# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things are: the checkout, QEMU's programs, the guest's kernel."""
import functools
import os
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


class MissingError(Exception):
    """Something that must be built or installed first; the text says how."""


def qemu_bin_dir():
    return Path(os.environ.get("PREDSNAP_QEMU_BIN") or CHECKOUT / "build/qemu/bin")


def program(name):
    """The path of one of QEMU's programs."""
    path = qemu_bin_dir() / name
    if not os.access(path, os.X_OK):
        raise MissingError(f"{path} is not there: run tools/build-qemu, or set PREDSNAP_QEMU_BIN")
    return str(path)


@functools.cache
def guest_dir():
    """The folder with the test guest's kernel and initrd, built on first use."""
    builder = CHECKOUT / "tools/guest/build-guest"
    done = subprocess.run([builder], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise MissingError(f"{builder} failed; what it said is above")
    return Path(done.stdout.strip())
