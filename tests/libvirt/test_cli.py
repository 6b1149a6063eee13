# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line on disks of running domains: from the sparkline to the guest that boots again."""
import json
import time

import samples
from test_protect import ProtectTest


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
        """At most a second above the reset itself."""
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
        self.assertLess(min(ours) - min(plain), 1.5)

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
        self.see_other_forms(good)

    def see_other_forms(self, good):
        """QEMU runs as a user of its own, who must get at a clone's file, and may mount nothing."""
        clone = "/var/lib/libvirt/images/clone.qcow2"
        view = self.predsnap_json("view", "open", "sample-live", "good", "--clone", clone)
        copied = self.host.run(["bash", "-c", f"nbdcopy '{view['url']}' - | dd bs=1M iflag=fullblock skip=40 count=4 2>/dev/null | sha256sum"])
        self.assertEqual(copied.split()[0], good)
        self.predsnap("view", "close", view["id"])
        status, _, errors = self.host.try_run(["/opt/predsnap-tools/predsnap", "view", "open", "sample-live", "good", "--fuse",
                                               "/var/lib/libvirt/images/then.raw"])
        self.assertEqual(status, 1)
        self.assertIn("nbdfuse", errors)

    def test_watch_and_threshold(self):
        self.protected()
        line = json.loads(self.predsnap("watch", "sample-live", "--json", "--count", "1"))
        self.assertEqual(line["machine"], "running")
        self.assertFalse(self.predsnap_json("threshold", "sample-live", "--adaptive", "off")["adaptive"])
