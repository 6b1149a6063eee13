# SPDX-License-Identifier: GPL-2.0-or-later
"""A predsnap disk, and what it was, served to others."""
import os
import shutil
import subprocess

from case import MIB, QemuTest, content, node
from lib import image, paths
from lib.process import Process, run, wait_until
from lib.vm import Vm


class Nbd(QemuTest):
    def test_content_through_another_client(self):
        daemon, disk = self.daemon_with_disk(self.create(size="4M"))
        data = content(1, 3 * MIB)
        disk.write(0, data)
        out = self.work / "out.raw"
        image.qemu_img("convert", "-f", "raw", "-O", "raw", daemon.url("disk"), out)
        self.assertEqual(out.read_bytes(), data + bytes(MIB))

    def test_read_only_export_takes_no_writes(self):
        daemon, disk = self.daemon_with_disk()
        disk.write(0, b"1" * 4096)
        daemon.stop_serving("disk")
        disk = daemon.serve("disk", writable=False)
        with self.assertRaises(OSError):
            disk.write(0, b"2" * 4096)
        self.assertEqual(disk.read(0, 4096), b"1" * 4096)

    def test_write_with_fua_survives_a_kill(self):
        daemon, disk = self.daemon_with_disk()
        disk.write(0, b"1" * 4096, fua=True)
        daemon.kill()
        again = self.daemon()
        again.add(node("disk", self.path))
        self.assertEqual(again.serve("disk").read(0, 4096), b"1" * 4096)

    def test_qemu_nbd_serves_the_disk_and_a_snapshot(self):
        path = self.create(size="1M")
        old, new = content(1, MIB), content(2, MIB)
        for data in (old, new):
            source = self.raw("source", data)
            image.qemu_io(path, "predsnap", f"write -s {source} 0 1M")
            if data is old:
                image.qemu_img("snapshot", "-c", "before", path)
        for options, expected in (((), new), (("-l", "before"), old)):
            socket = self.work / "nbd.socket"
            server = Process(
                "qemu-nbd",
                [paths.program("qemu-nbd"), "-r", "-f", "predsnap", *options, "-k", socket, path],
                self.work / "nbd.log",
            )
            self.addCleanup(server.kill)
            wait_until(socket.exists, "qemu-nbd", process=server)
            out = self.work / "out.raw"
            run(
                [
                    paths.program("qemu-img"),
                    "convert",
                    "-O",
                    "raw",
                    f"nbd+unix:///?socket={socket}",
                    out,
                ]
            )
            self.assertEqual(out.read_bytes(), expected, options)
            self.assertEqual(server.wait(), 0)
            self.assertFalse(socket.exists())


class Fuse(QemuTest):
    def setUp(self):
        super().setUp()
        if not os.access("/dev/fuse", os.R_OK | os.W_OK) or not shutil.which("fusermount3"):
            self.skipTest("needs /dev/fuse and fusermount3 (package fuse3)")
        self.mount = self.raw("mounted", b"")
        self.addCleanup(self.unmount)

    def unmount(self):
        """Also of a mount whose daemon is gone; a test may have ended before there was one."""
        subprocess.run(
            ["fusermount3", "-u", "-z", str(self.mount)], stderr=subprocess.DEVNULL, check=False
        )

    def mount_node(self, daemon, name, **options):
        daemon.qmp.command(
            "block-export-add",
            {
                "type": "fuse",
                "id": "fuse",
                "node-name": name,
                "mountpoint": str(self.mount),
                **options,
            },
        )

    def test_reads_and_writes_through_the_mount(self):
        self.path = self.create(size="4M")
        daemon = self.daemon()
        daemon.add(node("disk", self.path))
        self.mount_node(daemon, "disk", writable=True)
        first, second = content(1, MIB), content(2, 1000)
        self.assertEqual(self.mount.stat().st_size, 4 * MIB)
        with open(self.mount, "r+b") as disk:
            disk.write(first)
            disk.seek(MIB + 100)
            disk.write(second)
            disk.flush()
            os.fsync(disk.fileno())
        expected = first + bytes(100) + second
        self.assertEqual(self.mount.read_bytes()[: len(expected)], expected)
        points = daemon.points()
        self.assertTrue(points[-1]["flush"], points)
        daemon.quit()
        self.same_content(self.path, "predsnap", self.raw("expected", expected), "raw")

    def test_view_through_the_mount(self):
        daemon, disk = self.daemon_with_disk(self.create(size="1M"))
        old = content(1, MIB)
        disk.write(0, old)
        daemon.snapshot("before")
        disk.write(0, content(2, MIB))
        daemon.add_view("old", snapshot="before")
        self.mount_node(daemon, "old")
        self.assertEqual(self.mount.read_bytes(), old)
        disk.write(0, content(3, MIB))
        done = subprocess.run(["cmp", str(self.mount), str(self.raw("expected", old))], check=False)
        self.assertEqual(done.returncode, 0)

    def test_hole_can_be_punched(self):
        self.path = self.create(size="1M")
        daemon = self.daemon()
        daemon.add(node("disk", self.path))
        self.mount_node(daemon, "disk", writable=True)
        data = content(1, MIB)
        with open(self.mount, "r+b") as disk:
            disk.write(data)
        run(["fallocate", "--punch-hole", "-o", "65536", "-l", "65536", self.mount])
        expected = data[:65536] + bytes(65536) + data[131072:]
        self.assertEqual(self.mount.read_bytes(), expected)


class VhostUser(QemuTest):
    """A real guest whose disk is in another process."""

    STAMP = "/dev/vda --seed 1 --span 16777216 --direct"

    def vm_on(self, name, socket):
        vm = Vm(self.work, name=name)
        vm.add("-object", "memory-backend-memfd,id=memory,size=192M,share=on")
        vm.add("-machine", "memory-backend=memory")
        vm.add("-chardev", f"socket,id=blk,path={socket}")
        # Otherwise QEMU lets the guest believe that there is no cache to flush.
        vm.add_device("vhost-user-blk-pci", chardev="blk", config_wce=False)
        self.addCleanup(vm.kill)
        return vm

    def serve(self, daemon, export_id, socket):
        daemon.qmp.command(
            "block-export-add",
            {
                "type": "vhost-user-blk",
                "id": export_id,
                "node-name": "disk",
                "addr": {"type": "unix", "path": str(socket)},
                "writable": True,
            },
        )

    def test_guest_writes_and_is_taken_back(self):
        self.path = self.create(size="64M")
        daemon = self.daemon()
        daemon.add(node("disk", self.path))
        socket = self.work / "blk.socket"
        self.serve(daemon, "vhost", socket)
        with self.vm_on("first", socket).started() as vm:
            vm.guest.run(f"stamp write {self.STAMP} --count 100 --sync-every 10")
            daemon.snapshot("before")
            vm.guest.run(f"stamp write {self.STAMP} --count 100 --resume --sync-every 10")
            text = self.refusal(daemon.rollback, snapshot="before")
            self.assertSaysAll(text, "disk", "export", "force")
            vm.guest.run(f"stamp verify {self.STAMP} --at-least 200 --at-most 200")
        daemon.qmp.execute("block-export-del", id="vhost", mode="hard")
        daemon.qmp.wait_event("BLOCK_EXPORT_DELETED", id="vhost")
        flushes = [point for point in daemon.points() if point["flush"]]
        self.assertGreaterEqual(len(flushes), 20)
        daemon.rollback(snapshot="before")
        self.serve(daemon, "vhost2", socket)
        with self.vm_on("second", socket).started() as vm:
            vm.guest.run(f"stamp verify {self.STAMP} --at-least 100 --at-most 100")
