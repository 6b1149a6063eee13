# SPDX-License-Identifier: GPL-2.0-or-later
"""Slid under a running guest, and taken out again."""
from case import GuestTest

from lib import image

STAMP = "/dev/vda --seed 1 --span 67108864 --direct"


class Overlay(GuestTest):
    def setUp(self):
        super().setUp()
        self.base = self.work / "base.raw"
        image.create(self.base, "raw", "1G")
        self.vm = self.new_vm().add_disk(
            image.format_node("base", "raw", self.base, discard="unmap")
        )

    def slide_in(self):
        overlay = self.work / "overlay"
        image.create(overlay, self.image_format, "1G")
        self.vm.qmp.command("blockdev-add", self.node(overlay, name="over", backing=None))
        self.vm.qmp.execute("blockdev-snapshot", node="base", overlay="over")

    def root_node(self):
        return self.vm.qmp.execute("query-block")[0]["inserted"]["node-name"]

    def test_under_load_and_committed_back(self):
        with self.vm.started() as vm:
            writer = vm.guest.background(f"stamp write {STAMP} --sync-every 20 --read-back 20")
            vm.guest.run("sleep 1")
            self.slide_in()
            self.assertEqual(self.root_node(), "over")
            vm.guest.run("sleep 1")
            self.assertTrue(writer.running())
            vm.qmp.run_job("block-commit", device="over")
            self.assertEqual(self.root_node(), "base")
            vm.qmp.execute("blockdev-del", node_name="over")
            vm.guest.run("sleep 1")
            writer.stop()
            end = writer.wait_json()["prefix"][0]
            vm.guest.run(f"stamp verify {STAMP} --at-least {end} --at-most {end}")

    def test_base_is_not_written_while_it_is_covered(self):
        with self.vm.started() as vm:
            vm.guest.run(f"stamp write {STAMP} --count 200")
            self.slide_in()
            vm.guest.run(f"stamp write {STAMP} --count 300 --resume")
            vm.guest.run(f"stamp verify {STAMP} --at-least 500")
        self.vm = self.new_vm(name="on-base").add_disk(image.format_node("base", "raw", self.base))
        with self.vm.started() as vm:
            vm.guest.run(f"stamp verify {STAMP} --at-least 200 --at-most 200")

    def test_rollback_to_the_moment_it_was_slid_in(self):
        self.needs_predsnap()
        with self.vm.started() as vm:
            vm.guest.run(f"stamp write {STAMP} --count 200")
            self.slide_in()
            self.snapshot(vm, "start", node="over")
            vm.guest.run(f"stamp write {STAMP} --count 300 --resume")
            vm.qmp.execute("stop")
            vm.qmp.execute("predsnap-rollback", node_name="over", snapshot="start")
            vm.restart_guest()
            vm.guest.run(f"stamp verify {STAMP} --at-least 200 --at-most 200")
