# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back, as an administrator does it after a bad day."""
from case import Files, GuestTest, damage, make_file_system, now_us

from lib.qmp import QmpError


class Rollback(GuestTest):
    def setUp(self):
        super().setUp()
        self.needs_predsnap()

    def go_back(self, vm, **where):
        """Stops the guest, goes back, and boots it again from what the disk is now. What the rollback returned."""
        vm.qmp.execute("stop")
        done = vm.qmp.execute("predsnap-rollback", node_name="disk", **where)
        vm.qmp.wait_event("PREDSNAP_ROLLBACK", sequence=done["sequence"])
        vm.restart_guest()
        vm.guest.run("mount /dev/vda /mnt")
        return done

    def test_damaged_guest_boots_again_after_rollback_to_a_snapshot(self):
        with self.vm_with_disk().started() as vm:
            make_file_system(vm)
            files = Files(vm.guest, "/mnt")
            files.write("kept")
            self.snapshot(vm, "before")
            files.write("later")
            damage(vm)
            self.go_back(vm, snapshot="before")
            self.assertTrue(files.holds("kept"))
            self.assertTrue(files.gone("later"))
        self.check_image()

    def test_rollback_by_time_finds_the_moment_between_two_writes(self):
        with self.vm_with_disk().started() as vm:
            make_file_system(vm)
            files = Files(vm.guest, "/mnt")
            files.write("first")
            self.snapshot(vm, "before")
            files.write("second")
            between_us = now_us()
            files.write("third")
            damage(vm)
            self.go_back(vm, time=between_us)
            self.assertTrue(files.holds("first"))
            self.assertTrue(files.holds("second"))
            self.assertTrue(files.gone("third"))

    def test_rollback_can_be_undone(self):
        with self.vm_with_disk().started() as vm:
            make_file_system(vm)
            files = Files(vm.guest, "/mnt")
            files.write("first")
            self.snapshot(vm, "before")
            files.write("second")
            left = self.go_back(vm, snapshot="before")["from"]
            self.assertTrue(files.gone("second"))
            self.go_back(vm, sequence=left)
            self.assertTrue(files.holds("second"))

    def test_refused_while_the_guest_runs(self):
        with self.vm_with_disk().started() as vm:
            vm.guest.run("stamp write /dev/vda --seed 1 --span 16777216 --direct --count 100")
            self.snapshot(vm, "before")
            vm.guest.run(
                "stamp write /dev/vda --seed 1 --span 16777216 --direct --count 50 --resume"
            )
            with self.assertRaises(QmpError) as refusal:
                vm.qmp.execute("predsnap-rollback", node_name="disk", snapshot="before")
            self.assertIn("disk", refusal.exception.desc)
            self.assertIn("force", refusal.exception.desc)
            vm.guest.run("stamp verify /dev/vda --seed 1 --span 16777216 --direct --at-least 150")

    def test_forced_rollback_changes_the_disk_under_the_running_guest(self):
        with self.vm_with_disk().started() as vm:
            stamp = "/dev/vda --seed 1 --span 16777216 --direct"
            vm.guest.run(f"stamp write {stamp} --count 100")
            self.snapshot(vm, "before")
            vm.guest.run(f"stamp write {stamp} --count 50 --resume")
            vm.qmp.execute("predsnap-rollback", node_name="disk", snapshot="before", force=True)
            vm.guest.run(f"stamp verify {stamp} --at-least 100 --at-most 100")
            vm.guest.run(f"stamp write {stamp} --count 30 --resume")
            vm.guest.run(f"stamp verify {stamp} --at-least 130 --at-most 130")

    def test_unknown_points_are_refused_by_name(self):
        with self.vm_with_disk().started() as vm:
            vm.qmp.execute("stop")
            for where in ({"snapshot": "never-made"}, {"sequence": 1 << 60}, {"time": 1}):
                with self.assertRaises(QmpError, msg=str(where)) as refusal:
                    vm.qmp.execute("predsnap-rollback", node_name="disk", **where)
                self.assertIn("disk", refusal.exception.desc)

    def test_snapshot_of_a_writing_guest_is_one_moment(self):
        stamp = "/dev/vda --seed 1 --span 16777216 --block 0 --direct"
        with self.vm_with_disk().started() as vm:
            vm.guest.run(f"stamp write {stamp} --count 200")
            writer = vm.guest.background(
                f"stamp write {stamp} --resume --sync-every 16 --read-back 10"
            )
            self.snapshot(vm, "during")
            vm.guest.run("sleep 1")
            writer.stop()
            end = writer.wait_json()["prefix"][0]
            vm.qmp.execute("stop")
            vm.qmp.execute("predsnap-rollback", node_name="disk", snapshot="during")
            vm.restart_guest()
            vm.guest.run(f"stamp verify {stamp} --at-least 200 --at-most {end}")
