# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk as it was, handed to the guest as a second disk."""
from case import Files, GuestTest, make_file_system, now_us

from lib import image


class View(GuestTest):
    def setUp(self):
        super().setUp()
        self.needs_predsnap()

    def vm_with_slot(self):
        return self.vm_with_disk().add_device("pcie-root-port", id="slot0", chassis=1)

    def add_view(self, vm, **where):
        vm.qmp.command(
            "blockdev-add",
            {"driver": "predsnap-view", "node-name": "old", "chain": "disk", **where},
        )

    def add_clone(self, vm):
        """A writable disk over the view; ext4 needs it to replay its journal."""
        path = self.work / "clone.qcow2"
        image.create(path, "qcow2", "1G")
        vm.qmp.command("blockdev-add", image.format_node("clone", "qcow2", path, backing="old"))

    def plug(self, vm, node):
        """It is /dev/vdb in the guest when this returns."""
        vm.qmp.command(
            "device_add",
            {"driver": "virtio-blk-pci", "bus": "slot0", "id": "second", "drive": node},
        )
        vm.guest.run("until test -b /dev/vdb; do sleep 0.2; done")

    def test_deleted_files_are_fetched_from_a_clone_of_a_moment(self):
        with self.vm_with_slot().started() as vm:
            make_file_system(vm)
            files = Files(vm.guest, "/mnt")
            files.write("kept")
            files.write("lost")
            before_us = now_us()
            vm.guest.run("sleep 0.1; rm -r /mnt/lost; sync")
            self.add_view(vm, time=before_us)
            self.add_clone(vm)
            self.plug(vm, "clone")
            vm.guest.run("mkdir /old && mount /dev/vdb /old")
            vm.guest.run("cp -r /old/lost /mnt/ && sync")
            self.assertTrue(files.holds("lost"))
            self.assertTrue(files.holds("kept"))
        self.check_image()

    def test_view_does_not_move_while_the_guest_writes(self):
        stamp = "--seed 1 --span 16777216 --direct"
        with self.vm_with_slot().started() as vm:
            vm.guest.run(f"stamp write /dev/vda {stamp} --count 300")
            self.snapshot(vm, "s")
            writer = vm.guest.background(
                f"stamp write /dev/vda {stamp} --resume --sync-every 20 --read-back 20"
            )
            self.add_view(vm, snapshot="s")
            self.plug(vm, "old")
            for _ in range(3):
                vm.guest.run(f"stamp verify /dev/vdb {stamp} --at-least 300 --at-most 300")
            writer.stop()
            writer.wait()
        self.check_image()
