# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether KVM really works here."""
import os
import re
from pathlib import Path

from .guest import GuestError
from .process import ProcessError
from .qmp import QmpClosed
from .vm import Vm

KVM = Path("/dev/kvm")


def processor_virtualises():
    """There are machines with /dev/kvm but without this; real mode runs in their KVM, Linux hangs."""
    return re.search(
        r"^flags\s*:.*\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(encoding="ascii"), re.M
    )


def guest_boots(work, accel, timeout_s=20):
    """Boots the test guest, without a disk."""
    vm = Vm(work, name=f"probe-{accel}", accel=accel)
    try:
        vm.start(wait_boot=False)
        vm.guest.wait_boot(timeout_s)
        return True
    except (GuestError, ProcessError, QmpClosed, TimeoutError):
        return False
    finally:
        vm.kill()


def choose(work):
    """Gives "kvm" or "tcg", and the reason. KVM must prove itself, since it may hang instead of failing."""
    if not KVM.exists():
        return "tcg", f"there is no {KVM}"
    if not processor_virtualises():
        return "tcg", "the processor offers no virtualisation"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg", f"no permission for {KVM}; being in the group kvm gives it"
    if not guest_boots(work, "kvm"):
        return "tcg", f"Linux does not boot with {KVM}"
    return "kvm", "it works here"
