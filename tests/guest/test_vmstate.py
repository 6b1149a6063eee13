# SPDX-License-Identifier: GPL-2.0-or-later
"""snapshot-save, -load and -delete: the whole machine, memory included."""
from case import GuestTest

from lib import image

STAMP = "/dev/vda --seed 1 --span 16777216 --direct"


class VmState(GuestTest):
    def save(self, vm):
        vm.qmp.run_job("snapshot-save", tag="machine", vmstate="disk", devices=["disk"])

    def load(self, vm):
        vm.qmp.run_job("snapshot-load", tag="machine", vmstate="disk", devices=["disk"])
        if vm.qmp.execute("query-status")["status"] != "running":
            vm.qmp.execute("cont")

    def test_memory_and_disk_go_back_together(self):
        """A writer that is in the middle of its work knows from memory what is on the disk."""
        with self.vm_with_disk().started() as vm:
            vm.guest.run("echo then >/tmp/memory")
            writer = vm.guest.background(f"stamp write {STAMP} --sync-every 50 --read-back 50")
            vm.guest.run("sleep 1")
            self.save(vm)
            vm.guest.run("echo now >/tmp/memory; sleep 1")
            self.load(vm)
            self.assertEqual(vm.guest.run("cat /tmp/memory"), "then\n")
            vm.guest.run("sleep 1")
            self.assertTrue(writer.running())
            writer.stop()
            end = writer.wait_json()["prefix"][0]
            vm.guest.run(f"stamp verify {STAMP} --at-least {end} --at-most {end}")
        self.check_image()

    def test_saved_machine_loads_in_another_process(self):
        vm = self.vm_with_disk()
        with vm.started():
            vm.guest.run(f"echo then >/tmp/memory; stamp write {STAMP} --count 200")
            self.save(vm)
            vm.guest.run(f"echo now >/tmp/memory; stamp write {STAMP} --count 100 --resume")
        with vm.started():
            self.load(vm)
            self.assertEqual(vm.guest.run("cat /tmp/memory"), "then\n")
            vm.guest.run(f"stamp verify {STAMP} --at-least 200 --at-most 200")

    def test_deleted_machine_snapshot_is_gone(self):
        with self.vm_with_disk().started() as vm:
            self.save(vm)
            vm.qmp.run_job("snapshot-delete", tag="machine", devices=["disk"])
        self.assertNotIn("machine", [s["name"] for s in image.info(self.path).get("snapshots", [])])
        self.check_image()
