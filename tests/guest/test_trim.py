# SPDX-License-Identifier: GPL-2.0-or-later
"""fstrim in the guest."""
import json

from case import Files, GuestTest, make_file_system

from lib import image


class Trim(GuestTest):
    def data_bytes(self):
        """How much of the disk is not known to be zeroes."""
        extents = json.loads(
            image.qemu_img("map", "--output=json", "-f", self.image_format, self.path)
        )
        return sum(e["length"] for e in extents if not e["zero"])

    def test_fstrim_gives_back_deleted_files_and_keeps_the_others(self):
        vm = self.vm_with_disk()
        with vm.started():
            make_file_system(vm)
            files = Files(vm.guest, "/mnt")
            files.write("kept")
            files.write("deleted", count=40, bytes_each=1_000_000)
            vm.guest.run("umount /mnt")
        before = self.data_bytes()
        with vm.started():
            files.guest = vm.guest
            vm.guest.run("mount /dev/vda /mnt && rm -r /mnt/deleted && sync && fstrim /mnt")
            self.assertTrue(files.holds("kept"))
            vm.guest.run("umount /mnt && e2fsck -fn /dev/vda")
        self.assertLess(self.data_bytes(), before - 35_000_000)
        self.check_image()

    def test_discarded_sectors_read_as_zeroes(self):
        stamp = "/dev/vda --seed 1 --span 8388608 --direct"
        with self.vm_with_disk().started() as vm:
            vm.guest.run(f"stamp write {stamp} --count 2000")
            vm.guest.run("blkdiscard /dev/vda")
            vm.guest.run(f"stamp verify {stamp} --at-most 0")
            vm.guest.run(f"stamp write {stamp} --count 100 && stamp verify {stamp} --at-least 100")
