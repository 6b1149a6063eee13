# SPDX-License-Identifier: GPL-2.0-or-later
"""Other nodes of QEMU's below and above a predsnap node."""
import errno
import json

from case import MIB, QemuTest, content, node
from lib import image

SECRET = ("--object", "secret,id=key,data=open-sesame")


class Luks(QemuTest):
    """Encrypted by QEMU's own crypto, below the predsnap node."""

    def setUp(self):
        super().setUp()
        self.path = self.work / "disk.luks"
        image.qemu_img(
            *("create", "-q", "-f", "luks", *SECRET, "-o", "key-secret=key,iter-time=10"),
            *(self.path, "48M"),
        )
        self.daemon_ = self.daemon(*SECRET)

    def luks(self):
        return {
            "driver": "luks",
            "node-name": "crypt",
            "key-secret": "key",
            "file": image.file_node(self.path),
        }

    def create_inside(self):
        self.daemon_.add(self.luks())
        options = {"driver": "predsnap", "file": "crypt", "size": 16 * MIB}
        self.daemon_.qmp.execute("blockdev-create", job_id="create", options=options)
        self.daemon_.qmp.wait_job("create")

    def test_content_history_and_snapshots_work_and_nothing_is_in_clear(self):
        self.create_inside()
        self.daemon_.add({"driver": "predsnap", "node-name": "disk", "file": "crypt"})
        disk = self.daemon_.serve("disk")
        plain, later = content(1, 65536), content(2, 65536)
        disk.write(0, plain)
        self.daemon_.snapshot("a-name-to-look-for")
        disk.write(0, later)
        disk.flush()
        self.assertEqual(self.daemon_.read_view(65536, snapshot="a-name-to-look-for"), plain)
        self.daemon_.quit()
        on_disk = self.path.read_bytes()
        for clear in (plain[:64], plain[4096:4160], later[:64], b"a-name-to-look-for", b"PDS\xfb"):
            self.assertNotIn(clear, on_disk)

    def test_opens_again(self):
        self.create_inside()
        self.daemon_.add({"driver": "predsnap", "node-name": "disk", "file": "crypt"})
        data = content(1, MIB)
        self.daemon_.serve("disk").write(0, data)
        self.daemon_.quit()
        again = self.daemon(*SECRET)
        again.add({"driver": "predsnap", "node-name": "disk", "file": self.luks()})
        self.assertEqual(again.serve("disk").read(0, MIB), data)


class Throttle(QemuTest):
    def test_below(self):
        self.path = self.create()
        daemon = self.daemon("--object", "throttle-group,id=slow,x-iops-total=2000")
        below = {"driver": "throttle", "throttle-group": "slow", "file": image.file_node(self.path)}
        daemon.add({"driver": "predsnap", "node-name": "disk", "file": below})
        self.use(daemon, "disk")

    def test_above(self):
        self.path = self.create()
        daemon = self.daemon("--object", "throttle-group,id=slow,x-iops-total=2000")
        daemon.add(node("disk", self.path))
        daemon.add(
            {"driver": "throttle", "node-name": "top", "throttle-group": "slow", "file": "disk"}
        )
        text = self.refusal(daemon.snapshot, "s", node_name="top")
        self.assertSaysAll(text, "top", "throttle", "disk")
        self.use(daemon, "top")

    def use(self, daemon, name):
        data = content(1, MIB)
        disk = daemon.serve(name)
        for at in range(0, MIB, 65536):
            disk.write(at, data[at : at + 65536])
        disk.flush()
        self.assertEqual(disk.read(0, MIB), data)
        daemon.stop_serving(name)
        daemon.quit()
        self.check()


class Faults(QemuTest):
    """blkdebug below: the storage fails now and then."""

    def start(self, *rules):
        self.path = self.create()
        faulty = {
            "driver": "blkdebug",
            "node-name": "faulty",
            "image": image.file_node(self.path),
            "inject-error": list(rules),
        }
        self.daemon_ = self.daemon()
        self.daemon_.add({"driver": "predsnap", "node-name": "disk", "file": faulty})
        self.disk = self.daemon_.serve("disk")

    def fails(self, code, what, *arguments):
        with self.assertRaises(OSError) as failure:
            what(*arguments)
        self.assertEqual(failure.exception.errno, code, failure.exception)

    def end(self):
        self.daemon_.stop_serving("disk")
        self.daemon_.quit()
        self.check()
        return self.work / "disk.pds"

    def test_failed_write_is_reported_and_the_next_one_works(self):
        self.start({"event": "none", "iotype": "write", "errno": errno.EIO, "once": True})
        self.fails(errno.EIO, self.disk.write, 0, b"1" * 4096)
        self.disk.write(4096, b"2" * 4096)
        self.disk.flush()
        self.assertEqual(self.disk.read(0, 8192), bytes(4096) + b"2" * 4096)
        self.same_content(
            self.end(), "predsnap", self.raw("expected", bytes(4096) + b"2" * 4096), "raw"
        )

    def test_failed_flush_is_reported_and_what_was_written_is_still_there(self):
        self.start({"event": "none", "iotype": "flush", "errno": errno.EIO, "once": True})
        self.disk.write(0, b"1" * 4096)
        self.fails(errno.EIO, self.disk.flush)
        self.disk.flush()
        self.assertEqual(self.disk.read(0, 4096), b"1" * 4096)
        self.same_content(self.end(), "predsnap", self.raw("expected", b"1" * 4096), "raw")

    def test_read_error_of_the_storage_is_passed_on(self):
        # Small segments, so that this data is in one that opening does not read again.
        self.path = self.create(options=["segment_size=256k"])
        image.qemu_io(self.path, "predsnap", "write -P 1 0 64k", "write -P 2 1M 4M", "flush")
        place = json.loads(image.qemu_img("map", "--output=json", "-f", "predsnap", self.path))
        sector = place[0]["offset"] // 512 + 8
        faulty = {
            "driver": "blkdebug",
            "image": image.file_node(self.path),
            "inject-error": [
                {"event": "none", "iotype": "read", "errno": errno.EIO, "sector": sector}
            ],
        }
        daemon = self.daemon()
        daemon.add({"driver": "predsnap", "node-name": "disk", "file": faulty})
        disk = daemon.serve("disk")
        self.fails(errno.EIO, disk.read, 4096, 4096)
        self.assertEqual(disk.read(MIB, 65536), b"\x02" * 65536)
        self.assertEqual(disk.read(32768, 32768), b"\x01" * 32768)


class Children(QemuTest):
    def test_image_on_a_fixed_size_device_ends_in_enospc_and_stays_whole(self):
        """As on a logical volume, whose length does not follow."""
        room = self.raw("room.raw", bytes(24 * MIB))
        fixed = {
            "driver": "raw",
            "node-name": "room",
            "size": 24 * MIB,
            "file": image.file_node(room),
        }
        daemon = self.daemon()
        daemon.add(fixed)
        options = {"driver": "predsnap", "file": "room", "size": 64 * MIB, "segment-size": MIB}
        daemon.qmp.execute("blockdev-create", job_id="create", options=options)
        daemon.qmp.wait_job("create")
        daemon.add({"driver": "predsnap", "node-name": "disk", "file": "room"})
        disk = daemon.serve("disk")
        done = 0
        with self.assertRaises(OSError) as full:
            while True:
                disk.write(done, content(done, 65536))
                done += 65536
        self.assertEqual(full.exception.errno, errno.ENOSPC)
        self.assertGreater(done, 16 * MIB)
        disk.flush()
        for at in range(0, done, 65536):
            self.assertEqual(disk.read(at, 65536), content(at, 65536))
        daemon.stop_serving("disk")
        daemon.quit()
        self.check(room)
