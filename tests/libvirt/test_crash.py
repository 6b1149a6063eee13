# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be killed is killed, in the middle of what a guest writes."""
import json

import samples
from hook import STAMP, HookTest

from lib.process import wait_until

WRITE = f"stamp write {STAMP} --sync-every 20 --read-back 20"


class TestKills(HookTest):
    """Two domains at once, one with a node and one with a daemon, that write all the time."""

    def setUp(self):
        self.domains = {}
        for sample in ("node", "daemon"):
            self.create(f"sample-{sample}.raw")
            self.domains[sample] = self.define(samples.load(sample)).start()
        self.synced = {}
        for sample, domain in self.domains.items():
            domain.guest.run(f"stamp write {STAMP} --count 200 --sync-every 20")
            self.synced[sample] = 200

    def writers(self, *samples):
        """In all domains, or in these."""
        return {sample: domain.guest.background(f"{WRITE} --resume") for sample, domain in self.domains.items()
                if sample in samples or not samples}

    def finish(self, writers):
        """Ends the writers and checks every sector."""
        for sample, writer in writers.items():
            if not writer.running():
                self.fail(f"the writer in '{sample}' has ended: {writer.wait()}")
            writer.stop()
            end = writer.wait_json()["prefix"][0]
            self.assertGreater(end, self.synced[sample])
            self.domains[sample].guest.run(f"stamp verify {STAMP} --at-least {end} --at-most {end}")
            self.synced[sample] = end

    def test_everything_in_turn(self):
        daemon = self.domains["daemon"].name
        with self.subTest("libvirtd"):
            writers = self.writers()
            qsd = self.daemon_pids(daemon)
            self.host.kill_libvirtd()
            for domain in self.domains.values():
                domain.guest.run("sleep 0.5")
            self.host.start_libvirtd()
            self.assertEqual(self.daemon_pids(daemon), qsd)
            self.finish(writers)
        with self.subTest("qemu-storage-daemon: its keeper starts another"):
            writers = self.writers()
            self.domains["daemon"].guest.run("sleep 0.5")
            self.host.kill(qsd[0])
            another = self.wait_daemon(daemon, qsd)
            self.domains["daemon"].guest.run("dd if=/dev/vda of=/dev/null bs=4k count=1 skip=20000 iflag=direct 2>&1")
            self.finish(writers)
        with self.subTest("the keeper: its daemon ends in order; libvirtd's next start brings both back"):
            # QEMU's export keeps no list of requests in flight: one that meets its orderly end may fail. See docs/libvirt.md.
            writers = self.writers("node")
            self.host.kill(self.keeper_pids(daemon)[0])
            wait_until(lambda: not self.daemon_pids(daemon), "the end of the daemon without a keeper")
            self.host.kill_libvirtd()
            self.host.start_libvirtd()
            self.assertNotEqual(self.wait_daemon(daemon), another)
            self.domains["daemon"].guest.run("dd if=/dev/vda of=/dev/null bs=4k count=1 skip=20001 iflag=direct 2>&1")
            self.finish(writers)
            writers = self.writers("daemon")
            self.domains["daemon"].guest.run("sleep 0.5")
            self.finish(writers)
        with self.subTest("the whole host"):
            self.writers()
            for domain in self.domains.values():
                domain.guest.run("sleep 0.5")
            self.host.crash()
            self.host.start()
            for sample, domain in self.domains.items():
                self.assertEqual(domain.state(), "shut off")
                domain.start()
                domain.guest.run(f"stamp verify {STAMP} --at-least {self.synced[sample]}")
                domain.destroy()
                self.check_image(f"/var/lib/libvirt/images/sample-{sample}-vda.pds")


class TestFlushes(HookTest):
    """The write-cache trap: what the guest has flushed is durable in the image, and only that makes points."""

    def monitor(self, *commands):
        """QMP to the daemon, from inside; the last answer."""
        script = "import json, socket, sys\ns = socket.socket(socket.AF_UNIX)\n" \
                 "s.connect('/run/predsnap/sample-daemon/vda.qmp')\nf = s.makefile('rw')\nf.readline()\n" \
                 "for c in sys.argv[1:]:\n    f.write(json.dumps({'execute': c}) + '\\n'); f.flush()\n" \
                 "    a = json.loads(f.readline())\n    while 'event' in a: a = json.loads(f.readline())\nprint(json.dumps(a))"
        return json.loads(self.host.run(["/usr/bin/python3", "-c", script, "qmp_capabilities", *commands]))["return"]

    def state(self):
        return self.monitor("query-predsnap")[0]

    def test_flush_reaches_the_image(self):
        self.create("sample-daemon.raw")
        domain = self.define(samples.load("daemon")).start()
        domain.guest.run("dd if=/dev/urandom of=/dev/vda bs=64k count=16 oflag=direct 2>&1")
        written = self.state()
        self.assertLess(written["durable"], written["sequence"], "a write without a flush was made durable: slow")
        domain.guest.run("dd if=/dev/urandom of=/dev/vda bs=64k count=1 seek=16 conv=fsync 2>&1")
        flushed = self.state()
        self.assertGreaterEqual(flushed["durable"], written["sequence"])
        self.assertGreater(flushed["stats"]["points"], 0)
        want = domain.guest.run("head -c 1114112 /dev/vda | sha256sum")
        self.host.kill(self.keeper_pids(domain.name)[0])
        self.host.kill(domain.pid)
        domain.wait()
        domain.start()
        self.assertEqual(domain.guest.run("head -c 1114112 /dev/vda | sha256sum"), want)

    def test_without_config_wce_no_write_is_answered_before_it_is_durable(self):
        def edit(root):
            root.remove(root.find(f"{{{samples.QEMU}}}override"))

        self.create("sample-daemon.raw")
        domain = self.define(samples.load("daemon", edit=edit)).start()
        self.assertEqual(domain.guest.run("cat /sys/block/vda/queue/write_cache").strip(), "write through")
        domain.guest.run("dd if=/dev/urandom of=/dev/vda bs=64k count=4 oflag=direct 2>&1")
        state = self.state()
        self.assertEqual(state["durable"], state["sequence"])
