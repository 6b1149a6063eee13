# SPDX-License-Identifier: GPL-2.0-or-later
"""predsnap protect and unprotect, on domains whose guests write all the while."""
import json
import random
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import samples
from case import IMAGES, disk_xml
from hook import STAMP, HookTest, install_tools

from lib import image, libvirt

WRITE = f"stamp write {STAMP} --sync-every 20 --read-back 20"


class ProtectTest(HookTest):
    @classmethod
    def prepare_host(cls):
        super().prepare_host()
        install_tools(cls.host)

    def setUp(self):
        for path in self.host.images.glob("*"):
            path.unlink()

    def predsnap(self, *args):
        status, output, said = self.host.try_run(["/opt/predsnap-tools/predsnap", *args])
        self.assertEqual(status, 0, f"predsnap {' '.join(args)}: {said}")
        return output

    def predsnap_json(self, *args):
        return json.loads(self.predsnap(*args, "--json"))

    def assert_fails(self, args, *said):
        status, output, error = self.host.try_run(["/opt/predsnap-tools/predsnap", *args])
        self.assertNotEqual(status, 0, output)
        for part in said:
            self.assertIn(part, error)

    def definition(self, domain):
        """What the next start begins with, without what differs in layout only."""
        root = ElementTree.fromstring(domain.xml("--inactive", "--security-info"))
        for element in root.iter():
            element.text, element.tail = (element.text or "").strip(), ""
        return ElementTree.tostring(root)

    def verify(self, domain, end):
        domain.guest.run(f"stamp verify {STAMP} --at-least {end} --at-most {end}")

    def stopped(self, writer):
        """Ends a writer; how far it came."""
        self.assertTrue(writer.running())
        writer.stop()
        self.report = writer.wait_json()
        return self.report["prefix"][0]

    def kill_after(self, seconds, command):
        """Runs predsnap, and kills it after so many seconds; 1 if it was still there."""
        process = subprocess.Popen(self.host.inside(["/opt/predsnap-tools/predsnap", *command]),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        # The program itself: nsenter, which waits for it, would leave it running.
        pids = self.host.pids_of("^/opt/predsnap-tools/predsnap")
        for pid in pids:
            self.host.try_run(["kill", "-9", pid])  # it may have ended by now
        process.wait()
        return 1 if pids else 0


class TestProtect(ProtectTest):
    def test_live_and_off_again_under_load(self):
        self.create("sample-live.raw")
        domain = self.define(samples.load("live")).start()
        before = self.definition(domain)
        domain.guest.run(f"stamp write {STAMP} --count 100")
        longest_us = {}
        for what, act in (("nothing", None), ("protect", ("protect", "sample-live", "--disk", "vda")),
                          ("unprotect", ("unprotect", "sample-live:vda", "--yes"))):
            writer = domain.guest.background(f"{WRITE} --resume")
            domain.guest.run("sleep 1")
            if act:
                answer = self.predsnap_json(*act)
                self.assertTrue(answer["changed"])
                self.assertFalse(self.predsnap_json(*act)["changed"])
            domain.guest.run("sleep 1")
            self.verify(domain, self.stopped(writer))
            longest_us[what] = self.report["latency_us"]["max"]
            if what == "protect":
                self.check_protected(domain)
        print(f"    longest request of the guest, us: {longest_us}; paused for unprotect: {answer['paused-us']} us")
        self.assertEqual(self.definition(domain), before)
        self.assertNotIn("predsnap:disks", domain.xml())
        self.assertFalse((self.host.images / "sample-live-vda.pds").exists())
        end = self.report["prefix"][0]
        domain.destroy()
        domain.start()
        self.verify(domain, end)

    def check_protected(self, domain):
        self.assertEqual(domain.qmp("query-block")[0]["inserted"]["node-name"], "predsnap-vda")
        self.assertIn("predsnap:disks", domain.xml())
        end = self.report["prefix"][0]
        domain.destroy()
        domain.start()
        self.assertEqual(domain.qmp("query-block")[0]["inserted"]["node-name"], "predsnap-vda")
        self.verify(domain, end)

    def test_from_the_next_start_on_among_other_disks(self):
        """The second of three, over a qcow2 disk: libvirt's numbers of nodes are met, other disks are not touched."""
        self.create("one.raw")
        self.create("three.raw")
        self.create("two.qcow2", "qcow2")
        disks = (disk_xml(f"{IMAGES}/one.raw") + disk_xml(f"{IMAGES}/two.qcow2", "qcow2", "vdb") +
                 disk_xml(f"{IMAGES}/three.raw", target="vdc") +
                 "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>")
        domain = self.define(libvirt.domain_xml("several", disks))
        before = self.definition(domain)
        self.assert_fails(["protect", "several"], "domain 'several'", "vda", "vdb")
        self.assertTrue(self.predsnap_json("protect", "several", "--disk", "vdb", "--window", "3600", "--weight", "7")["changed"])
        # Not booted: firmware waits for the empty drive, half a minute here.
        domain.listen()
        self.host.virsh("start", "several", "--paused")
        roots = {d["qdev"].split("/")[-2]: d["inserted"]["node-name"] for d in domain.qmp("query-block") if d.get("inserted")}
        self.assertEqual(roots["virtio-disk1"], "predsnap-vdb")
        self.assertNotIn("predsnap", roots["virtio-disk0"] + roots["virtio-disk2"])
        self.assertIn("two.qcow2", str(domain.qmp("query-named-block-nodes")))
        domain.destroy()
        self.host.run(["/opt/predsnap/bin/qemu-io", "-f", "predsnap", "-c", "write -P 7 1M 64k", f"{IMAGES}/several-vdb.pds"])
        self.assert_fails(["unprotect", "several", "--disk", "vdb"], "domain 'several', disk 'vdb'", "--yes")
        self.assertTrue(self.predsnap_json("unprotect", "several", "--disk", "vdb", "--yes")["changed"])
        self.assertEqual(self.definition(domain), before)
        image.qemu_io(self.host.images / "two.qcow2", "qcow2", "read -P 7 1M 64k")
        self.assertEqual(list(self.host.images.glob("*.pds")), [])

    def test_way_daemon_and_back(self):
        self.create("stock.raw")
        domain = self.define(libvirt.domain_xml("stock", disk_xml(f"{IMAGES}/stock.raw"), emulator="/usr/bin/qemu-system-x86_64"))
        before = self.definition(domain)
        domain.start(wait_boot=False)
        self.assert_fails(["protect", "stock", "--disk", "vda"], "domain 'stock', disk 'vda'", "no predsnap driver", "--way daemon")
        domain.destroy()
        self.assertTrue(self.predsnap_json("protect", "stock", "--disk", "vda", "--way", "daemon")["changed"])
        domain.start()
        domain.guest.run(f"stamp write {STAMP} --count 200 --sync-every 20")
        self.assert_fails(["unprotect", "stock", "--yes"], "shut it down")
        domain.destroy()
        self.predsnap("unprotect", "stock", "--yes")
        self.assertEqual(self.definition(domain), before)
        domain.start()
        self.verify(domain, 200)

    def test_relative_paths(self):
        """They are meant from where the tool was called: QEMU has another working folder, and so has the hook."""
        self.create("sample-live.raw")
        domain = self.define(samples.load("live")).start()
        command = "mkdir -p mine && cd mine && /opt/predsnap-tools/predsnap protect sample-live --image here.pds --capacity ../there.pdc --json"
        answer = json.loads(self.host.run(["bash", "-c", f"cd {IMAGES} && {command}"]))
        self.assertEqual(answer["image"], f"{IMAGES}/mine/here.pds")
        self.assertEqual({path.name for path in self.host.images.rglob("*.pd?")}, {"here.pds", "there.pdc"})
        disk = samples.protected(ElementTree.fromstring(domain.xml("--inactive")))
        self.assertEqual(samples.part(disk, "capacity").get("file"), f"{IMAGES}/there.pdc")
        domain.guest.run(f"stamp write {STAMP} --count 20")
        domain.destroy()
        domain.start()
        self.verify(domain, 20)
        domain.destroy()
        self.predsnap("unprotect", "sample-live", "--yes")
        self.assertEqual(list(self.host.images.rglob("*.pd?")), [])
        (self.host.images / "mine").rmdir()

    def test_refusals(self):
        self.create("refused.raw")
        domain = self.define(libvirt.domain_xml("refused", disk_xml(f"{IMAGES}/refused.raw")))
        self.assert_fails(["protect", "nobody"], "nobody")
        self.assert_fails(["protect", "refused", "--disk", "vdx"], "vdx", "vda")
        self.assert_fails(["protect", "refused", "--way", "sideways"], "--way is live, start or daemon")
        self.assert_fails(["protect", "refused", "--way", "live"], "does not run")
        self.assert_fails(["protect"], "a domain must be named")
        self.assertFalse(self.predsnap_json("unprotect", "refused")["changed"])
        image.create(self.host.images / "used.pds", "predsnap", "256M")
        image.qemu_io(self.host.images / "used.pds", "predsnap", "write 0 64k")
        self.assert_fails(["protect", "refused", "--image", f"{IMAGES}/used.pds"], f"{IMAGES}/used.pds", "holds data", "--image")
        before = self.definition(domain)
        self.assert_fails(["protect", "refused", "--image", "/nowhere/x.pds"], "/nowhere/x.pds")
        self.assertEqual(self.definition(domain), before)
        self.predsnap("protect", "refused")
        self.assert_fails(["protect", "refused", "--image", f"{IMAGES}/other.pds"], "protected already", "refused-vda.pds")


class TestCutOff(ProtectTest):
    def test_killed_at_any_moment(self):
        """protect and unprotect are killed after times drawn at random, and run again; the guest never notices."""
        rng = random.Random(5)
        self.create("sample-live.raw")
        domain = self.define(samples.load("live")).start()
        before = self.definition(domain)
        domain.guest.run(f"stamp write {STAMP} --count 50")
        killed = 0
        for _ in range(4):
            for command in (["protect", "sample-live"], ["unprotect", "sample-live", "--yes"]):
                writer = domain.guest.background(f"{WRITE} --resume")
                for _ in range(3):
                    killed += self.kill_after(rng.uniform(0.005, 0.15), command)
                self.predsnap(*command)
                self.assertEqual(domain.state(), "running")
                self.verify(domain, self.stopped(writer))
            self.assertEqual(self.definition(domain), before)
        print(f"    killed in the middle: {killed} of 24")
        self.assertGreater(killed, 0)

    def test_start_is_refused_until_unprotect_is_through(self):
        self.create("sample-node.raw")
        domain = self.define(samples.load("node")).start()
        domain.guest.run(f"stamp write {STAMP} --count 60 --sync-every 20")
        domain.destroy()
        marked = samples.protected(root := ElementTree.fromstring(domain.xml("--inactive")))
        marked.set("state", "removing")
        self.host.define(ElementTree.tostring(root, encoding="unicode"))
        self.assert_refused(domain, "predsnap unprotect sample-node --disk vda")
        self.assert_fails(["protect", "sample-node"], "cut off", "unprotect")
        self.predsnap("unprotect", "sample-node", "--yes")
        domain.start()
        self.verify(domain, 60)

    def mark(self, domain, state, xml):
        """The definition as an unprotect that was cut off leaves it."""
        root = ElementTree.fromstring(xml)
        samples.protected(root).set("state", state)
        self.host.define(ElementTree.tostring(root, encoding="unicode"))

    def check_gone_on(self, domain, before, end):
        self.predsnap("unprotect", "sample-live", "--yes")
        self.assertEqual(domain.state(), "running")
        self.assertEqual(domain.qmp("query-jobs"), [])
        self.assertEqual(self.definition(domain), before)
        self.assertEqual(list(self.host.images.rglob("*.pd?")), [])
        self.verify(domain, end)

    def merge_as_unprotect(self, domain, status):
        """Begins its merge, and waits until the job is so."""
        domain.qmp("block-commit", **{"job-id": "predsnap-unprotect-vda", "device": "predsnap-vda", "auto-dismiss": False})
        self.wait_for_job(domain, status)

    def wait_for_job(self, domain, status):
        for _ in range(600):
            if domain.qmp("query-jobs")[0]["status"] == status:
                return
            time.sleep(0.1)
        self.fail(domain.qmp("query-jobs"))

    def test_cut_off_at_each_step(self):
        """What a merge that was ready, or had ended already, and a pause of a killed unprotect leave is taken up in one call."""
        self.create("sample-live.raw")
        domain = self.define(samples.load("live")).start()
        before, end = self.definition(domain), 0
        for step in ("ready", "completed", "cancelled", "leaving"):
            with self.subTest(step):
                self.predsnap("protect", "sample-live")
                end += 50
                domain.guest.run(f"stamp write {STAMP} --resume --count 50")
                marked = domain.xml("--inactive")
                if step == "leaving":
                    self.predsnap("unprotect", "sample-live", "--yes", "--keep-image")
                    marked = self.with_metadata_of(marked, domain.xml("--inactive"))
                else:
                    self.merge_as_unprotect(domain, "ready")
                self.mark(domain, {"leaving": "leaving", "completed": "merged"}.get(step, "removing"), marked)
                self.host.virsh("suspend", "sample-live")
                if step == "completed":
                    domain.qmp("job-complete", id="predsnap-unprotect-vda")
                if step == "cancelled":
                    domain.qmp("block-job-cancel", device="predsnap-unprotect-vda")
                if step in ("completed", "cancelled"):
                    self.wait_for_job(domain, "concluded")
                self.check_gone_on(domain, before, end)

    def with_metadata_of(self, protected, plain):
        """The plain definition with the metadata of the protected one."""
        root = ElementTree.fromstring(plain)
        self.assertIsNone(root.find("metadata"))
        root.append(ElementTree.fromstring(protected).find("metadata"))
        return ElementTree.tostring(root, encoding="unicode")
