# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU killed with SIGKILL under a working guest."""
from case import Files, GuestTest, make_file_system


class Crash(GuestTest):
    def test_ext4_is_clean_and_synced_files_are_there(self):
        vm = self.vm_with_disk().start()
        make_file_system(vm)
        files = Files(vm.guest, "/mnt")
        files.write("synced")
        vm.guest.background("while true; do head -c 300000 /dev/urandom >/mnt/$((i = i + 1)); done")
        vm.guest.run("sleep 1")
        vm.kill()
        with vm.started():
            vm.guest.run("mount /dev/vda /mnt")  # replays the journal
            files.guest = vm.guest
            self.assertTrue(files.holds("synced"))
            vm.guest.run("umount /mnt && e2fsck -fn /dev/vda")
        self.check_image()

    def test_disk_is_as_after_some_write_not_older_than_the_last_flush(self):
        self.needs_predsnap()  # others lose unflushed writes in any order
        vm = self.vm_with_disk()
        stamp = "/dev/vda --seed 1 --span 33554432 --block 0 --direct"
        flushed = 0
        for _ in range(3):
            vm.start()
            found = vm.guest.run_json(f"stamp verify {stamp} --allow-torn --at-least {flushed}")
            done = vm.guest.run_json(
                f"stamp write {stamp} --resume --allow-torn --count 300 --sync-every 10"
            )
            flushed = done["prefix"][0]
            self.assertEqual(flushed, found["prefix"][0] + 300)
            vm.guest.background(f"stamp write {stamp} --resume --sync-every 10 --read-back 10")
            vm.guest.run("sleep 1")
            vm.kill()
        with vm.started():
            vm.guest.run(f"stamp verify {stamp} --allow-torn --at-least {flushed}")
        self.check_image()
