# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU process with the test guest in it."""
import json

from . import paths
from .guest import Guest
from .process import Process
from .qmp import QmpClient, QmpClosed

APPEND = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable"


class Vm:
    """Describe it, start it, drive it, end it:

        vm = Vm(work)
        vm.add_disk(image.format_node("disk", "predsnap", work / "disk.pds"))
        with vm.started():
            vm.guest.run("mkfs.ext4 -q /dev/vda")
            vm.qmp.execute("query-block")

    Leaving the `with` ends QEMU in order, or kills it when the test failed. A stopped Vm can be started again.
    """

    def __init__(self, work, name="vm", memory_mb=192, cpus=1, accel="tcg"):
        self.work = work
        self.name = name
        self.qmp = None
        self.guest = None
        self.process = None
        self._parts = []
        self._disks = 0
        self._machine = [
            "-machine",
            "q35",
            "-accel",
            accel,
            "-cpu",
            "max",
            "-m",
            str(memory_mb),
            "-smp",
            str(cpus),
        ]

    @property
    def pid(self):
        return self.process.pid

    def add(self, *args):
        """Further command-line arguments."""
        self._parts += [str(a) for a in args]
        return self

    def add_object(self, **properties):
        return self.add("-object", json.dumps(_dashed(properties)))

    def add_node(self, node):
        """A block node, as blockdev-add takes it."""
        return self.add("-blockdev", json.dumps(node))

    def add_device(self, driver, **properties):
        return self.add("-device", json.dumps({"driver": driver, **_dashed(properties)}))

    def add_disk(self, node, **properties):
        """A node and a virtio disk on it: /dev/vda, then /dev/vdb. The device's id is "disk0", "disk1"."""
        self.add_node(node)
        properties = {"id": f"disk{self._disks}", "drive": node["node-name"], **properties}
        self._disks += 1
        return self.add_device("virtio-blk-pci", **properties)

    def start(self, wait_boot=True, extra=()):
        """Starts QEMU and, unless told otherwise, waits for the guest to boot."""
        self.qmp = QmpClient(self.work / f"{self.name}.qmp")
        self.guest = Guest(self.work / f"{self.name}.guest", self.work / f"{self.name}.console")
        self.process = Process(
            f"QEMU '{self.name}'", [*self._command(), *extra], self.work / f"{self.name}.log"
        )
        try:
            self.guest.accept(self.process)
            self.qmp.accept(self.process)
            if wait_boot:
                self.guest.wait_boot()
        except BaseException:
            self.kill()
            raise
        return self

    def started(self, **how):
        """start(), for `with`."""
        return _Running(self.start(**how))

    def restart_guest(self):
        """Resets the machine, as the button does, and waits for it to boot from what is on its disks now."""
        self.qmp.execute("system_reset")
        if self.qmp.execute("query-status")["status"] != "running":
            self.qmp.execute("cont")
        self.guest.wait_boot()

    def quit(self):
        """Ends QEMU in order (the guest is cut off, its disks are closed well)."""
        try:
            self.qmp.execute("quit")
        except QmpClosed:
            pass
        status = self.process.wait()
        log = self.process.log()
        self.kill()
        assert status == 0, f"QEMU ended with status {status}: {log}"

    def power_off(self):
        """Lets the guest unmount and switch itself off."""
        self.guest.run("sync; umount -a -r 2>/dev/null; true")
        self.quit()

    def kill(self):
        """SIGKILL, as a power cut. Also releases what is held here."""
        if self.process:
            self.process.kill()
        for end in (self.qmp, self.guest):
            if end:
                end.close()

    def _command(self):
        guest_dir = paths.guest_dir()
        return [
            paths.program("qemu-system-x86_64"),
            *self._machine,
            *("-nodefaults", "-no-user-config", "-display", "none", "-name", self.name),
            *(
                "-chardev",
                f"socket,id=qmp,path={self.work / self.name}.qmp",
                "-mon",
                "chardev=qmp,mode=control",
            ),
            *("-chardev", f"file,id=console,path={self.work / self.name}.console,append=on"),
            *("-serial", "chardev:console"),
            *(
                "-chardev",
                f"socket,id=guest,path={self.work / self.name}.guest",
                "-serial",
                "chardev:guest",
            ),
            *("-kernel", guest_dir / "kernel", "-initrd", guest_dir / "initrd", "-append", APPEND),
            *self._parts,
        ]


class _Running:
    """Ends the Vm with the `with` block."""

    def __init__(self, vm):
        self._vm = vm

    def __enter__(self):
        return self._vm

    def __exit__(self, kind, *_):
        if kind is None and self._vm.process.exit_status is None:
            self._vm.quit()
        else:
            self._vm.kill()


def _dashed(properties):
    return {name.replace("_", "-"): value for name, value in properties.items()}
