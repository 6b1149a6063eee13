# SPDX-License-Identifier: GPL-2.0-or-later
"""The hook by itself: what it refuses and how it says so, what it makes and leaves, and how long it takes."""
import os
import shutil
import statistics
import subprocess
import threading

import samples
from hook import QEMU_USER, HookTest

from lib import image, paths
from lib.process import wait_until

NODE_IMAGE = "/var/lib/libvirt/images/sample-node-vda.pds"


class TestRefusals(HookTest):
    """Each says which domain, disk and thing it is about, and the domain stays off."""

    def setUp(self):
        self.create("sample-node.raw")
        self.create("sample-daemon.raw")
        self.image = self.host.images / "sample-node-vda.pds"
        for name in ("sample-node-vda.pds", "sample-daemon-vda.pds"):
            (self.host.images / name).unlink(missing_ok=True)

    def node(self, edit):
        return self.define(samples.load("node", edit=edit))

    def daemon(self, edit):
        return self.define(samples.load("daemon", edit=edit))

    def test_metadata_that_is_not_valid(self):
        domain = self.node(lambda root: samples.protected(root).set("weight", "11"))
        self.assert_refused(domain, "domain 'sample-node', disk 'vda', line ", "not valid", "weight")

    def test_unknown_element_in_metadata(self):
        def edit(root):
            samples.part(samples.protected(root), "image").tag = f"{{{samples.PREDSNAP}}}picture"

        self.assert_refused(self.node(edit), "domain 'sample-node', disk 'vda', line ", "not valid")

    def test_disk_that_the_domain_has_not(self):
        domain = self.node(lambda root: samples.protected(root).set("target", "vdz"))
        self.assert_refused(domain, "domain 'sample-node', disk 'vdz'", "no disk with this target")

    def test_emulator_without_the_driver(self):
        def edit(root):
            root.find("devices/emulator").text = "/usr/bin/qemu-system-x86_64"

        self.assert_refused(self.node(edit), "disk 'vda'", "/usr/bin/qemu-system-x86_64 has no predsnap driver", "qemu-predsnap")

    def test_node_that_the_command_line_lacks(self):
        def edit(root):
            root.remove(root.find(f"{{{samples.QEMU}}}commandline"))

        self.assert_refused(self.node(edit), "disk 'vda'", "no -blockdev", "predsnap protect sample-node")

    def test_device_that_is_not_on_the_node(self):
        def edit(root):
            root.remove(root.find(f"{{{samples.QEMU}}}override"))

        self.assert_refused(self.node(edit), "disk 'vda'", "does not set drive of device virtio-disk0", "predsnap protect")

    def test_other_image_on_the_command_line(self):
        def edit(root):
            samples.part(samples.protected(root), "image").set("file", "/var/lib/libvirt/images/other.pds")

        self.assert_refused(self.node(edit), NODE_IMAGE, "the metadata says /var/lib/libvirt/images/other.pds")

    def test_other_uuid(self):
        image.create(self.image, "predsnap", "256M")

        def edit(root):
            samples.part(samples.protected(root), "image").set("uuid", "7dfb056f-28bc-41b8-aadd-ea4f64d760ed")

        self.assert_refused(self.node(edit), f"image {NODE_IMAGE} has the UUID", "7dfb056f-28bc-41b8-aadd-ea4f64d760ed")

    def test_image_that_is_gone(self):
        def edit(root):
            samples.part(samples.protected(root), "image").set("uuid", "7dfb056f-28bc-41b8-aadd-ea4f64d760ed")

        self.assert_refused(self.node(edit), f"image {NODE_IMAGE} is not there", "not mounted")
        self.assertFalse(self.image.exists())

    def test_image_over_another_disk(self):
        image.qemu_img("create", "-q", "-u", "-f", "predsnap", "-b", "/srv/other.raw", "-F", "raw", self.image, "256M")
        self.assert_refused(self.node(None), f"image {NODE_IMAGE} lies over /srv/other.raw", "sample-node.raw", "rebase")

    def test_image_that_is_too_small(self):
        image.create(self.image, "predsnap", "128M")
        self.assert_refused(self.node(None), f"image {NODE_IMAGE} has 134217728 bytes", "268435456", "resize")

    def test_file_that_is_no_image(self):
        self.image.write_bytes(b"no image" * 4096)
        self.assert_refused(self.node(None), f"image {NODE_IMAGE} not a predsnap image")

    def test_disk_below_that_is_gone(self):
        (self.host.images / "sample-daemon.raw").unlink()
        self.assert_refused(self.daemon(None), "domain 'sample-daemon', disk 'vda'", "sample-daemon.raw")
        self.assertEqual(list(self.host.images.glob("sample-daemon-vda.pds*")), [])

    def test_removal_that_was_cut_off(self):
        domain = self.node(lambda root: samples.protected(root).set("state", "removing"))
        self.assert_refused(domain, "disk 'vda'", "predsnap unprotect sample-node --disk vda")

    def test_daemon_needs_shared_memory(self):
        xml = samples.load("daemon", edit=lambda root: root.find("memoryBacking").remove(root.find("memoryBacking/access")))
        status, output = self.call_hook("sample-daemon", "prepare", xml)
        self.assertEqual(status, 1)
        self.assertIn("disk 'vda': a vhostuser disk needs memory that the daemon can see", output)

    def test_image_in_use_says_so_and_leaves_nothing_running(self):
        """By another daemon: what the daemon said of the lock reaches virsh."""
        first = self.define(samples.load("daemon", "first", edit=self.with_image("shared.pds")))
        second = self.define(samples.load("daemon", "second", edit=self.with_image("shared.pds")))
        for name in ("first.raw", "second.raw"):
            self.create(name)
        self.create("shared.pds", "predsnap")
        first.start(wait_boot=False)
        self.assert_refused(second, "domain 'second', disk 'vda': qemu-storage-daemon did not start", 'Failed to get "write" lock')
        self.assertEqual(self.daemon_pids("second") + self.keeper_pids("second"), [])
        self.assertEqual(len(self.daemon_pids("first")), 1)

    @staticmethod
    def with_image(name):
        def edit(root):
            disk = samples.protected(root)
            samples.part(disk, "image").set("file", f"/var/lib/libvirt/images/{name}")

        return edit

    def test_wrong_configuration(self):
        conf = self.host.folder / "etc/predsnap/hook.conf"
        self.addCleanup(conf.unlink)
        conf.write_text("[hook]\nprefx=/usr\n", encoding="ascii")
        domain = self.node(None)
        self.assert_refused(domain, "/etc/predsnap/hook.conf: 'prefx' is not known")
        conf.write_text("[hook]\nprefix=/nowhere\n", encoding="ascii")
        self.assert_refused(domain, "qemu-img with the predsnap driver is not in /nowhere/bin")

    def test_a_domain_that_is_none_of_ours(self):
        status, output = self.call_hook("x", "prepare", "<domain type='qemu'><name>x</name></domain>")
        self.assertEqual((status, output), (0, ""))


class TestPhases(HookTest):
    def setUp(self):
        self.create("sample-node.raw")
        self.create("sample-daemon.raw")
        self.addCleanup(self.host.try_run, ["rm", "-rf", "/run/predsnap"])

    def test_time_of_prepare(self):
        """What it takes is told: at most 100 ms where nothing else runs."""
        domain = self.define(samples.load("node"))
        xml = domain.xml()
        image_file = self.host.images / "sample-node-vda.pds"
        for what, is_made in (("image there", False), ("image made", True)):
            took_ms = []
            for _ in range(20):
                if is_made:
                    image_file.unlink()
                took_ms.append(self.time_prepare_ms("sample-node", xml))
            print(f"    prepare, way node, {what}: {statistics.median(took_ms):.0f} ms")

    def test_prepare_and_release_again_and_again(self):
        xml = self.define(samples.load("daemon")).xml()
        for _ in range(2):
            self.assertEqual(self.call_hook("sample-daemon", "prepare", xml), (0, ""))
        daemon = self.daemon_pids("sample-daemon")
        self.assertEqual(len(daemon), 1)
        self.assertEqual(self.call_hook("sample-daemon", "reconnect", xml), (0, ""))
        self.assertEqual(self.daemon_pids("sample-daemon"), daemon, "a living daemon was not left alone")
        for _ in range(2):
            self.assertEqual(self.call_hook("sample-daemon", "release", xml, "end", "shutdown"), (0, ""))
        self.assertEqual(self.daemon_pids("sample-daemon"), [])
        self.assertEqual(list((self.host.run_folder / "predsnap").glob("daemons/*")), [])

    def test_changed_options_take_a_new_daemon(self):
        xml = self.define(samples.load("daemon")).xml()
        self.assertEqual(self.call_hook("sample-daemon", "prepare", xml), (0, ""))
        before = self.daemon_pids("sample-daemon")
        changed = xml.replace('window="604800"', 'window="3600"')
        self.assertEqual(self.call_hook("sample-daemon", "prepare", changed), (0, ""))
        self.assertNotEqual(self.daemon_pids("sample-daemon"), before)
        self.call_hook("sample-daemon", "release", changed, "end")

    def test_daemon_that_was_ended_is_started_again(self):
        xml = self.define(samples.load("daemon")).xml()
        self.assertEqual(self.call_hook("sample-daemon", "prepare", xml), (0, ""))
        before = self.daemon_pids("sample-daemon")
        self.host.kill(before[0], "TERM")
        self.wait_daemon("sample-daemon", before)
        self.call_hook("sample-daemon", "release", xml, "end")
        self.assertEqual(self.daemon_pids("sample-daemon"), [])

    def test_its_log_is_rotated(self):
        """logrotate itself, with the file that is installed: daemon and keeper write on to what was cut, and access logs stay."""
        self.create("sample-daemon.raw")
        domain = self.define(samples.load("daemon")).start(wait_boot=False)
        folder = self.inside("/var/log/predsnap/sample-daemon")
        log, first = folder / "vda-daemon.log", self.wait_daemon(domain.name)
        self.host.kill(first[0])
        second = self.wait_daemon(domain.name, first)
        wait_until(lambda: "started again" in log.read_text(), "what the keeper says")
        conf = self.inside("/etc/logrotate.d")
        conf.mkdir(exist_ok=True)
        shutil.copy(paths.CHECKOUT / "tools/services/predsnap.logrotate", conf / "predsnap")
        (conf / "predsnap").chmod(0o644)
        rotate = ["/usr/sbin/logrotate", "--force", "--state", "/var/lib/predsnap/rotated", "/etc/logrotate.d/predsnap"]
        said, owner = log.read_text(), log.stat()
        self.host.run(rotate)
        self.assertEqual((folder / "vda-daemon.log.1").read_text(), said)
        self.assertEqual((log.read_text(), log.stat().st_ino, log.stat().st_mode), ("", owner.st_ino, owner.st_mode))
        self.host.kill(second[0])
        self.wait_daemon(domain.name, [*first, *second])
        wait_until(lambda: log.read_text().count("started again") == 1, "what the keeper says to the cut file")
        self.assertNotIn("\0", log.read_text())  # appended, not written where it was before
        self.host.run(rotate)
        self.assertEqual(len(list(folder.glob("vda-daemon.log.2.gz"))), 1)
        self.assertEqual([path.name for path in folder.glob("vda.log*")], ["vda.log"])

    def test_concurrent_starts(self):
        """Of one domain: one image, one daemon, whoever comes first."""
        xml = self.define(samples.load("daemon")).xml()
        results = []
        threads = [threading.Thread(target=lambda: results.append(self.call_hook("sample-daemon", "prepare", xml)))
                   for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [(0, "")] * 4)
        self.assertEqual(len(self.daemon_pids("sample-daemon")), 1)
        self.assertEqual(len(self.keeper_pids("sample-daemon")), 1)
        self.call_hook("sample-daemon", "release", xml, "end")

    def test_leftovers_of_a_crash(self):
        """Sockets, pid files with somebody else's number and half an image are no hindrance, and nobody else is ended."""
        run = self.host.run_folder / "predsnap"
        (run / "sample-daemon").mkdir(parents=True)
        (run / "daemons").mkdir()
        os.chown(run / "sample-daemon", QEMU_USER, QEMU_USER)
        innocent = self.host.daemon_pid("virtlogd")
        (run / "daemons/sample-daemon-vda.pid").write_text(f"{innocent}\n", encoding="ascii")
        (run / "sample-daemon/vda.ready").write_text(f"{innocent}\n", encoding="ascii")
        for name in ("vda.sock", "vda.qmp"):
            subprocess.run(["python3", "-c", "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])",
                            run / "sample-daemon" / name], check=True)
        xml = self.define(samples.load("daemon")).xml()
        self.assertEqual(self.call_hook("sample-daemon", "prepare", xml), (0, ""))
        self.assertEqual(len(self.daemon_pids("sample-daemon")), 1)
        self.call_hook("sample-daemon", "release", xml, "end")
        self.assertEqual(self.host.try_run(["kill", "-0", innocent])[0], 0)

    def test_without_config_wce_each_write_is_durable(self):
        def edit(root):
            root.remove(root.find(f"{{{samples.QEMU}}}override"))

        xml = self.define(samples.load("daemon", edit=edit)).xml()
        self.assertEqual(self.call_hook("sample-daemon", "prepare", xml), (0, ""))
        pid = self.daemon_pids("sample-daemon")[0]
        self.assertIn("writethrough=on", self.host.run(["cat", f"/proc/{pid}/cmdline"]))
        self.call_hook("sample-daemon", "release", xml, "end")

    def test_daemon_is_not_root(self):
        xml = self.define(samples.load("daemon")).xml()
        self.call_hook("sample-daemon", "prepare", xml)
        for pid in self.daemon_pids("sample-daemon") + self.keeper_pids("sample-daemon"):
            status = self.host.run(["cat", f"/proc/{pid}/status"])
            self.assertIn(f"Uid:\t{QEMU_USER}\t{QEMU_USER}\t{QEMU_USER}\t{QEMU_USER}", status)
            self.assertIn("NoNewPrivs:\t1", status)
        self.call_hook("sample-daemon", "release", xml, "end")

    def test_migration_of_a_daemon_disk_is_refused(self):
        xml = self.define(samples.load("daemon")).xml()
        status, output = self.call_hook("sample-daemon", "migrate", xml)
        self.assertEqual(status, 1)
        self.assertIn("domain 'sample-daemon', disk 'vda'", output)

    def test_dead_fuse_mount_is_taken_down(self):
        folder = self.host.run_folder / "predsnap/views"
        folder.mkdir(parents=True)
        (folder / "then").touch()
        self.create("view.raw", "raw", "16M")
        daemon = subprocess.Popen(self.host.inside([
            "/opt/predsnap/bin/qemu-storage-daemon", "--blockdev", "file,node-name=view,filename=/var/lib/libvirt/images/view.raw",
            "--export", "fuse,id=view,node-name=view,mountpoint=/run/predsnap/views/then"]))
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        mounted = lambda: "/run/predsnap/views/then" in self.host.run(["cat", "/proc/self/mounts"])
        wait_until(mounted, "the FUSE mount")
        for pid in self.host.pids_of("mountpoint=/run/predsnap/views/then"):
            self.host.kill(pid)
        self.assertTrue(mounted())
        xml = self.define(samples.load("node")).xml()
        self.assertEqual(self.call_hook("sample-node", "prepare", xml), (0, ""))
        self.assertFalse(mounted())

    def test_own_prefix(self):
        """Where the package put it: beside the programs, and linked from libvirt's folder."""
        bin_folder = self.host.folder / "lib/prefix"
        shutil.copytree(self.host.hooks, bin_folder, dirs_exist_ok=True)
        status, output, _ = self.host.try_run(["/var/lib/prefix/qemu", "--help"])
        self.assertEqual(status, 0)
        self.assertIn("predsnap-hook(8)", output)
