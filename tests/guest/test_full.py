# SPDX-License-Identifier: GPL-2.0-or-later
"""The file system below the image is full."""
import os

from case import GuestTest

from lib.process import run


class Full(GuestTest):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("needs root to mount a small file system")
        self.small = self.work / "small"
        self.small.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "size=96m", "predsnap-test", self.small])
        self.addCleanup(run, ["umount", "-l", self.small])

    def grow(self):
        run(["mount", "-o", "remount,size=1g", self.small])

    def vm_on_small(self, **properties):
        vm = self.new_vm()
        self.path = self.create(folder=self.small)
        return vm.add_disk(self.node(self.path), **properties)

    def test_guest_stops_and_goes_on_when_there_is_space(self):
        stamp = "/dev/vda --seed 1 --span 268435456 --block 65536 --direct"
        with self.vm_on_small(werror="stop").started() as vm:
            vm.guest.run(f"stamp write {stamp} --count 100 --sync-every 10")
            writer = vm.guest.background(
                f"stamp write {stamp} --resume --count 2500 --sync-every 10 --read-back 10"
            )
            error = vm.qmp.wait_event("BLOCK_IO_ERROR", action="stop")
            self.assertTrue(error["data"]["nospace"], error)
            vm.qmp.wait_event("STOP")
            self.assertEqual(vm.qmp.execute("query-status")["status"], "io-error")
            self.grow()
            vm.qmp.execute("cont")
            self.assertEqual(writer.wait_json()["prefix"], [2600])
            vm.guest.run(f"stamp verify {stamp} --at-least 2600")
        self.check_image()

    def test_what_was_flushed_before_is_there_after_a_restart(self):
        stamp = "/dev/vda --seed 1 --span 268435456 --block 65536 --direct"
        vm = self.vm_on_small(werror="stop").start()
        vm.guest.run(f"stamp write {stamp} --count 100 --sync-every 10")
        vm.guest.background(f"stamp write {stamp} --resume --sync-every 10")
        vm.qmp.wait_event("BLOCK_IO_ERROR", action="stop")
        vm.kill()
        self.grow()
        with vm.started():
            vm.guest.run(f"stamp verify {stamp} --allow-torn --at-least 100")
        self.check_image()
