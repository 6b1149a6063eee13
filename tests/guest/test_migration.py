# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migration between two QEMU processes that share the image."""
from case import GuestTest

STAMP = "/dev/vda --seed 1 --span 33554432 --direct"


class Migration(GuestTest):
    def setUp(self):
        super().setUp()
        self.path = self.create()
        self.uri = f"unix:{self.work}/migration"

    def new_end(self, name):
        return self.new_vm(name=name).add_disk(self.node(self.path))

    def migrate(self, source, target):
        """Both run; afterwards the guest runs in target."""
        source.qmp.execute("migrate-set-parameters", max_bandwidth=1 << 30, downtime_limit=2000)
        source.qmp.execute(
            "migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}]
        )
        source.qmp.execute("migrate", uri=self.uri)
        end = source.qmp.wait_event("MIGRATION", status="completed", timeout_s=300)
        self.assertEqual(end["data"]["status"], "completed")
        target.qmp.wait_event("RESUME")

    def start_both(self):
        source = self.new_end("source").start()
        target = self.new_end("target").start(wait_boot=False, extra=("-incoming", self.uri))
        return source, target

    def test_writer_goes_on_over_the_migration(self):
        source, target = self.start_both()
        writer = source.guest.background(f"stamp write {STAMP} --sync-every 20 --read-back 20")
        source.guest.run("sleep 1")
        self.migrate(source, target)
        source.quit()
        writer.use_guest(target.guest)
        target.guest.run("sleep 1")
        self.assertTrue(writer.running())
        writer.stop()
        end = writer.wait_json()["prefix"][0]
        target.guest.run(f"stamp verify {STAMP} --at-least {end} --at-most {end}")
        target.quit()
        self.check_image()

    def test_snapshots_made_before_are_there_after(self):
        self.needs_predsnap()
        source, target = self.start_both()
        source.guest.run(f"stamp write {STAMP} --count 100")
        self.snapshot(source, "before")
        source.guest.run(f"stamp write {STAMP} --count 50 --resume")
        self.migrate(source, target)
        source.quit()
        target.qmp.execute("stop")
        target.qmp.execute("predsnap-rollback", node_name="disk", snapshot="before")
        target.restart_guest()
        target.guest.run(f"stamp verify {STAMP} --at-least 100 --at-most 100")
        target.quit()
        self.check_image()

    def test_cancelled_migration_leaves_the_source_writing(self):
        source, target = self.start_both()
        writer = source.guest.background(f"stamp write {STAMP} --sync-every 20 --read-back 20")
        source.qmp.execute("migrate-set-parameters", max_bandwidth=1 << 20)
        source.qmp.execute("migrate", uri=self.uri)
        source.guest.run("sleep 1")
        source.qmp.execute("migrate_cancel")
        target.process.wait()
        source.guest.run("sleep 1")
        writer.stop()
        end = writer.wait_json()["prefix"][0]
        source.guest.run(f"stamp verify {STAMP} --at-least {end} --at-most {end}")
        source.quit()
        self.check_image()
