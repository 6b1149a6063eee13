# SPDX-License-Identifier: GPL-2.0-or-later
"""The samples as they are: valid, and each one works with a guest that reads, writes and checks."""
import os
import subprocess

import samples
from hook import QEMU_USER, STAMP, HookTest

from lib import image


class TestSamples(HookTest):
    def test_valid(self):
        for sample in ("node", "live", "daemon"):
            done = subprocess.run(["virt-xml-validate", samples.FOLDER / f"{sample}.xml", "domain"],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, f"{sample}: {done.stdout}{done.stderr}")

    def write_and_check(self, domain, count, resume=False):
        domain.guest.run(f"stamp write {STAMP} --count {count} --sync-every 20" + (" --resume" if resume else ""))
        total = getattr(self, "total", 0) + count
        self.total = total
        domain.guest.run(f"stamp verify {STAMP} --at-least {total} --at-most {total}")

    def test_node(self):
        self.create("sample-node.raw")
        domain = self.define(samples.load("node"))
        domain.start()
        self.write_and_check(domain, 300)
        path = self.host.images / "sample-node-vda.pds"
        self.assertEqual(os.stat(path).st_uid, QEMU_USER)
        below = self.host.images / "sample-node.raw"
        self.host.run(["cmp", "-n", below.stat().st_size, "/var/lib/libvirt/images/sample-node.raw", "/dev/zero"])
        drop_in = (self.host.run_folder / "predsnap/disks.d/sample-node-vda.conf").read_text()
        self.assertIn("log=/var/log/predsnap/sample-node/vda.log", drop_in)
        self.assertTrue((self.host.folder / "log/predsnap/sample-node/vda.log").exists())
        self.assertTrue((self.host.folder / "lib/libvirt/qemu/sample-node-predsnap.qmp").exists())
        domain.destroy()
        self.assertFalse((self.host.run_folder / "predsnap/disks.d/sample-node-vda.conf").exists())
        self.check_image("/var/lib/libvirt/images/sample-node-vda.pds")
        domain.start()
        self.write_and_check(domain, 50, resume=True)

    def test_daemon(self):
        self.create("sample-daemon.raw")
        domain = self.define(samples.load("daemon"))
        domain.start()
        self.write_and_check(domain, 300)
        self.assertEqual(len(self.daemon_pids(domain.name)), 1)
        cache = domain.guest.run("cat /sys/block/vda/queue/write_cache").strip()
        self.assertEqual(cache, "write back")
        domain.destroy()
        self.assertEqual(self.daemon_pids(domain.name), [])
        self.assertEqual(self.keeper_pids(domain.name), [])
        self.assertFalse((self.host.run_folder / "predsnap/sample-daemon").exists())
        self.check_image("/var/lib/libvirt/images/sample-daemon-vda.pds")
        domain.start()
        self.write_and_check(domain, 50, resume=True)

    def test_live(self):
        self.create("sample-live.raw")
        domain = self.define(samples.load("live"))
        domain.start()
        self.write_and_check(domain, 100)
        image.qemu_img("create", "-q", "-u", "-f", "predsnap", "-b", "/var/lib/libvirt/images/sample-live.raw", "-F", "raw",
                       self.host.images / "sample-live-vda.pds", "256M")
        os.chown(self.host.images / "sample-live-vda.pds", QEMU_USER, QEMU_USER)
        domain.qmp("blockdev-add", driver="predsnap", node_name="predsnap-vda", backing=None, discard="unmap",
                   file={"driver": "file", "filename": "/var/lib/libvirt/images/sample-live-vda.pds"})
        domain.qmp("blockdev-snapshot", node="libvirt-1-format", overlay="predsnap-vda")
        self.write_and_check(domain, 100, resume=True)
        self.assertGreater(domain.qmp("query-predsnap")[0]["stats"]["batches"], 0)
