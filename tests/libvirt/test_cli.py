# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line on disks of running domains: from the sparkline to the guest that boots again."""
import json
import random
import time

import samples
from test_protect import ProtectTest

from lib.process import wait_until

MIB = 1 << 20


class TestCommandLine(ProtectTest):
    def setUp(self):
        super().setUp()
        for log in self.inside("/var/log/predsnap").glob("*/*"):  # of another test's image
            log.unlink()

    def protected(self):
        self.create("sample-live.raw")
        domain = self.define(samples.load("live")).start()
        self.predsnap("protect", "sample-live", "--disk", "vda")
        return domain

    def write(self, domain, number, where, count=1):
        """So many MiB of noise at a place in MiB, durable when it returns."""
        domain.guest.run(f"dd if=/dev/urandom of=/dev/vda bs=1M seek={where} count={count} oflag=direct conv=notrunc,fsync 2>/dev/null; sync")

    def digest(self, domain, where=40, count=4):
        return domain.guest.run(f"dd if=/dev/vda iflag=direct bs=1M skip={where} count={count} 2>/dev/null | sha256sum").split()[0]

    def test_names(self):
        self.protected()
        self.assertEqual(self.predsnap_json("info", "sample-live:vda")["node-name"], self.predsnap_json("info", "sample-live")["node-name"])
        self.assertEqual(self.predsnap_json("info", "--domain", "sample-live", "--disk", "vda")["size"], 256 * MIB)
        self.assert_fails(("info", "sample-live:vdz"), "vdz", "'vda'")
        self.assert_fails(("info", "sample-dead"), "sample-dead", "'sample-live'")

    def test_one_that_is_not_protected_or_does_not_run(self):
        self.create("sample-live.raw")
        domain = self.define(samples.load("live"))
        self.assert_fails(("info", "sample-live"), "does not run", "--image")
        domain.start()
        self.assert_fails(("info", "sample-live"), "predsnap protect")

    def test_roll_back_and_undo(self):
        domain = self.protected()
        self.write(domain, 1, 40, 4)
        good = self.digest(domain)
        self.predsnap("snapshot", "create", "sample-live", "good")
        self.write(domain, 2, 40, 4)
        bad = self.digest(domain)
        self.assertNotEqual(good, bad)
        self.assertEqual(self.predsnap_json("diff", "sample-live", "good")["bytes"], 4 * MIB)
        self.assertIn("snapshot 'good'", self.predsnap("points", "sample-live"))
        self.assert_fails(("rollback", "sample-live", "--to", "good"), "--yes", "reset")

        begin = time.monotonic()
        gone = self.predsnap_json("rollback", "sample-live", "--to", "good", "--yes")
        back_s = time.monotonic() - begin
        domain.guest.wait_boot()
        print(f"    rollback {back_s * 1000:.0f} ms (pause {gone['pause-us']} us, back {gone['rollback-us']} us, "
              f"reset and resume {gone['after-us']} us), booted after {time.monotonic() - begin:.2f} s", flush=True)
        self.assertEqual(self.digest(domain), good)
        self.assertIn("running", domain.state())
        self.assertIn("sample-live:vda --to", gone["undo"])
        self.predsnap("rollback", "sample-live:vda", "--to", str(gone["from"]), "--yes")
        domain.guest.wait_boot()
        self.assertEqual(self.digest(domain), bad)

    def test_time_to_the_kernels_start(self):
        """Told beside that of the reset itself: at most a second above it, where nothing else runs."""
        domain = self.protected()
        self.predsnap("snapshot", "create", "sample-live", "good")
        self.write(domain, 1, 40, 4)

        def boot(act):
            begin = time.monotonic()
            act()
            domain.guest.wait_boot()
            return time.monotonic() - begin

        plain = [boot(lambda: self.host.virsh("reset", "sample-live")) for _ in range(2)]
        ours = [boot(lambda: self.predsnap("rollback", "sample-live", "--to", "good", "--yes")) for _ in range(2)]
        print(f"    from command to guest: reset {min(plain):.2f} s, rollback {min(ours):.2f} s", flush=True)

    def test_a_view_of_a_running_domain(self):
        domain = self.protected()
        self.write(domain, 1, 40, 4)
        good = self.digest(domain)
        self.predsnap("snapshot", "create", "sample-live", "good")
        self.write(domain, 2, 40, 4)
        view = self.predsnap_json("view", "open", "sample-live", "good")
        self.addCleanup(lambda: self.host.try_run(["/opt/predsnap-tools/predsnap", "view", "close", "--all"]))
        self.assertIn("/var/lib/libvirt/qemu/domain-", view["socket"])
        copied = self.host.run(["bash", "-c", f"nbdcopy '{view['url']}' - | dd bs=1M iflag=fullblock skip=40 count=4 2>/dev/null | sha256sum"])
        self.assertEqual(copied.split()[0], good)
        self.predsnap("view", "close", view["id"])
        self.assertEqual(json.loads(self.predsnap("view", "list", "--json")), [])
        self.assertEqual(self.digest(domain), self.digest(domain))
        self.see_a_clone(good)

    def see_a_clone(self, good):
        """QEMU runs as a user of its own, who must get at a clone's file."""
        clone = "/var/lib/libvirt/images/clone.qcow2"
        view = self.predsnap_json("view", "open", "sample-live", "good", "--clone", clone)
        copied = self.host.run(["bash", "-c", f"nbdcopy '{view['url']}' - | dd bs=1M iflag=fullblock skip=40 count=4 2>/dev/null | sha256sum"])
        self.assertEqual(copied.split()[0], good)
        self.predsnap("view", "close", view["id"])

    def test_which_files_differ(self):
        """While the guest has the file system mounted: what it has synced counts, though most of it is in the journal only."""
        domain = self.protected()
        domain.guest.run("mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && mkdir /mnt/docs && seq 1000 >/mnt/docs/letter && seq 9 >/mnt/docs/old && sync")
        self.predsnap("snapshot", "create", "sample-live", "good")
        domain.guest.run("cd /mnt/docs && seq 2000 >new && mv old older && seq 5 | dd of=letter bs=1 seek=100 conv=notrunc 2>/dev/null && sync; cd /")
        answer = self.predsnap_json("diff", "sample-live", "good", "--files")
        (found,) = answer["file-systems"]
        changes = {(file["change"], file["path"], file.get("path-before")) for file in found["files"]}
        self.assertEqual(changes, {("added", "/docs/new", None), ("moved", "/docs/older", "/docs/old"), ("changed", "/docs/letter", None)})
        domain.guest.run("umount /mnt")
        self.assertEqual(self.views(), {})
        self.assertEqual(domain.qmp("query-block-exports"), [])

    def open_file(self, name="then.raw"):
        """A view as a file; its record, and the file inside and as seen by processes there."""
        path = f"/var/tmp/{name}"
        view = self.predsnap_json("view", "open", "sample-live", "good", "--fuse", path)
        self.addCleanup(lambda: self.host.try_run(["/opt/predsnap-tools/predsnap", "view", "close", "--all"]))
        return view, path

    def content_of(self, path, where=40, count=4):
        return self.host.run(["bash", "-c", f"dd if={path} bs=1M skip={where} count={count} 2>/dev/null | sha256sum"]).split()[0]

    def views(self):
        return {view["id"]: view["served"] for view in json.loads(self.predsnap("view", "list", "--json"))}

    def assert_nothing_left(self, domain, path):
        self.assertEqual(self.views(), {})
        self.assertNotEqual(self.host.try_run(["ls", "-d", path])[0], 0)
        self.assertEqual(self.host.pids_of("qemu-storage-daemon.*/run/predsnap/v"), [])
        names = [node["node-name"] for node in domain.qmp("query-named-block-nodes", flat=True)]
        self.assertEqual([name for name in names if name.startswith("predsnap-view")], [])
        self.assertEqual(domain.qmp("query-block-exports"), [])

    def with_history(self):
        """A running guest, whose disk had a file system with a file in it, which it has overwritten since."""
        disk = self.create("sample-live.raw")
        self.host.run(["bash", "-c", f"mkdir -p /tmp/tree && echo 'as it was' >/tmp/tree/letter && mkfs.ext4 -q -d /tmp/tree {disk} 200M"])
        domain = self.define(samples.load("live")).start()
        self.predsnap("protect", "sample-live", "--disk", "vda")
        self.write(domain, 1, 240, 4)
        good = self.digest(domain, 240)
        self.predsnap("snapshot", "create", "sample-live", "good")
        self.write(domain, 2, 240, 4)
        self.write(domain, 3, 0, 20)  # the file system is gone
        return domain, good

    def test_a_file_of_a_running_domains_past(self):
        """Its QEMU may mount nothing, so a daemon of the view's own makes the file."""
        domain, good = self.with_history()
        view, path = self.open_file()
        self.assertEqual(self.content_of(path, 240), good)
        self.assertEqual(self.host.run(["stat", "-c", "%s", path]).strip(), str(256 * MIB))
        self.assertEqual(self.host.run(["debugfs", "-R", "cat /letter", path]).strip(), "as it was")
        status, _, _ = self.host.try_run(["dd", "if=/dev/zero", f"of={path}", "bs=4k", "count=1", "conv=notrunc"])
        self.assertNotEqual(status, 0)
        # Beside one over NBD, whose server they share.
        other = self.predsnap_json("view", "open", "sample-live", "now")
        self.assertEqual(other["socket"], view["socket"])
        self.predsnap("view", "close", other["id"])
        self.assertEqual(self.content_of(path, 240), good)
        writer = domain.guest.background("stamp write /dev/vda --seed 1 --span 33554432 --direct --sync-every 20")
        self.assertEqual(self.content_of(path, 240), good)
        self.predsnap("view", "close", view["id"])
        self.stopped(writer)
        self.assert_nothing_left(domain, path)

    def close_beside_another(self, domain, view, path, good):
        """A view that is gone is closed while another one is open, which stays what it is."""
        second, other = self.open_file("second.raw")
        self.assertEqual(self.content_of(other, 240), good)
        self.predsnap("view", "close", view["id"])
        self.assertEqual(self.content_of(other, 240), good)
        self.predsnap("view", "close", second["id"])
        self.assert_nothing_left(domain, path)
        self.assert_nothing_left(domain, other)

    def test_a_file_whose_daemon_is_killed(self):
        domain, good = self.with_history()
        view, path = self.open_file()
        daemon = self.host.pids_of("qemu-storage-daemon.*/run/predsnap/v")
        self.assertEqual(len(daemon), 1)
        self.host.kill(daemon[0])
        wait_until(lambda: self.views() == {view["id"]: False}, "the view to be seen as gone")
        self.close_beside_another(domain, view, path, good)

    def test_a_file_whose_machine_is_killed(self):
        domain, good = self.with_history()
        view, path = self.open_file()
        self.host.kill(domain.pid)
        wait_until(lambda: self.views() == {view["id"]: False}, "the view to be seen as gone")
        domain.close()
        wait_until(lambda: domain.state() == "shut off", "libvirt to see the end of the machine")
        domain.start()
        self.close_beside_another(domain, view, path, good)

    def test_a_file_when_opening_is_killed(self):
        """At times drawn at random; what is left is closed, and the guest goes on."""
        domain, good = self.with_history()
        rng = random.Random(8)
        for _ in range(6):
            self.kill_after(rng.uniform(0.005, 0.4), ["view", "open", "sample-live", "good", "--fuse", "/var/tmp/then.raw"])
            self.predsnap("view", "close", "--all")
            self.assert_nothing_left(domain, "/var/tmp/then.raw")
        _, path = self.open_file()
        self.assertEqual(self.content_of(path, 240), good)
        self.predsnap("view", "close", "--all")
        self.assertEqual(domain.state(), "running")

    def test_watch_and_threshold(self):
        self.protected()
        line = json.loads(self.predsnap("watch", "sample-live", "--json", "--count", "1"))
        self.assertEqual(line["machine"], "running")
        self.assertFalse(self.predsnap_json("threshold", "sample-live", "--adaptive", "off")["adaptive"])
