# SPDX-License-Identifier: GPL-2.0-or-later
"""What all guest tests start from."""
import time
import unittest

from lib import image, workdir
from lib.vm import Vm

DISK = "/dev/vda"


def now_us():
    """The time as the predsnap commands take it."""
    return time.time_ns() // 1000


class GuestTest(unittest.TestCase):
    """One test: a folder, and whatever it starts is gone at its end, however it ends."""

    image_format = "predsnap"
    longMessage = True

    def setUp(self):
        self.work = workdir.WorkDir("guest")
        self.addCleanup(self.work.close)

    def needs_predsnap(self):
        if self.image_format != "predsnap":
            self.skipTest(f"{self.image_format} cannot do this")

    def create(self, name="disk", size="1G", folder=None):
        path = (folder or self.work) / f"{name}.{self.image_format}"
        image.create(path, self.image_format, size)
        return path

    def node(self, path, name="disk", **options):
        return image.format_node(name, self.image_format, path, **{"discard": "unmap", **options})

    def new_vm(self, **how):
        vm = Vm(self.work, **how)
        self.addCleanup(vm.kill)
        return vm

    def vm_with_disk(self, **how):
        """A Vm with one new disk, not started yet."""
        vm = self.new_vm(**how)
        self.path = self.create()
        return vm.add_disk(self.node(self.path))

    def check_image(self, path=None):
        """qcow2 may leak space when its process is killed; predsnap may not."""
        image.check(
            path or self.path, self.image_format, leaks_allowed=self.image_format == "qcow2"
        )

    def snapshot(self, vm, name, node="disk"):
        """A snapshot by the format's own means; predsnap's answer."""
        if self.image_format == "predsnap":
            return vm.qmp.execute("predsnap-snapshot-create", node_name=node, name=name)
        return vm.qmp.execute("blockdev-snapshot-internal-sync", device=node, name=name)


class Files:
    """Files in a guest whose content the host remembers."""

    def __init__(self, guest, folder):
        self.guest = guest
        self.folder = folder
        self.sums = {}

    def write(self, name, count=8, bytes_each=100_000):
        """Random files, on the disk when this returns."""
        self.guest.run(
            f"mkdir -p {self.folder}/{name} && cd {self.folder}/{name} && "
            f"for i in $(seq {count}); do head -c {bytes_each} /dev/urandom >$i || exit 1; done && sync"
        )
        self.sums[name] = self.guest.run(f"cd {self.folder}/{name} && sha256sum *")

    def holds(self, name):
        """Whether the files of that name are all there and unchanged, read from the disk."""
        self.guest.run("sync; echo 3 >/proc/sys/vm/drop_caches")
        status, sums = self.guest.try_run(f"cd {self.folder}/{name} && sha256sum *")
        return status == 0 and sums == self.sums[name]

    def gone(self, name):
        return self.guest.try_run(f"test -e {self.folder}/{name}")[0] != 0


def make_file_system(vm, device=DISK):
    vm.guest.run(f"mkfs.ext4 -q {device} && mount {device} /mnt")


def damage(vm, device=DISK):
    """What a bad day does to a disk."""
    vm.guest.run(
        f"rm -rf /mnt/* && sync && dd if=/dev/urandom of={device} bs=1M count=8 conv=fsync 2>&1"
    )
