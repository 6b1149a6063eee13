# SPDX-License-Identifier: GPL-2.0-or-later
"""The file system that holds the image is full."""
import errno
import os

from case import MIB, QemuTest, content, node
from lib import image
from lib.process import run

PIECE = 65536


class Full(QemuTest):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("needs root to mount a small file system")
        self.small = self.work / "small"
        self.small.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "size=40m", "predsnap-test", self.small])
        self.addCleanup(run, ["umount", "-l", self.small])
        self.path = self.create("small/disk.pds", "256M", options=["segment_size=1M"])
        self.daemon_ = self.open()
        self.disk = self.daemon_.serve("disk")
        self.written = {}

    def open(self):
        daemon = self.daemon()
        daemon.add(node("disk", self.path))
        return daemon

    def grow(self):
        run(["mount", "-o", "remount,size=1g", self.small])

    def write(self, at, seed=None):
        data = content(at if seed is None else seed, PIECE)
        self.disk.write(at, data)
        self.written[at] = data

    def fill(self):
        """Writes until there is no space; where it ended."""
        at = 0
        with self.assertRaises(OSError) as full:
            while at < 256 * MIB:
                self.write(at)
                at += PIECE
        self.assertEqual(full.exception.errno, errno.ENOSPC, full.exception)
        return at

    def require_written(self, disk=None):
        for at, data in self.written.items():
            self.assertEqual((disk or self.disk).read(at, PIECE), data, f"at {at}")

    def end(self):
        self.daemon_.stop_serving("disk")
        self.daemon_.quit()
        self.check()

    def test_most_of_the_space_can_be_used(self):
        self.assertGreater(self.fill(), 30 * MIB)

    def test_what_was_written_stays_and_can_be_flushed(self):
        self.fill()
        self.disk.flush()
        self.require_written()
        self.daemon_.kill()
        again = self.open()
        self.require_written(again.serve("disk"))

    def test_failed_write_changes_nothing(self):
        at = self.fill()
        self.assertEqual(self.disk.read(at, PIECE), bytes(PIECE))
        with self.assertRaises(OSError):
            self.disk.write(0, b"x" * PIECE)
        self.require_written()

    def test_goes_on_when_there_is_space(self):
        at = self.fill()
        self.grow()
        for more in range(at, at + 8 * MIB, PIECE):
            self.write(more)
        self.disk.flush()
        self.require_written()
        self.end()

    def test_full_again_and_again(self):
        self.fill()
        for size_mb in (48, 56, 64):
            run(["mount", "-o", f"remount,size={size_mb}m", self.small])
            with self.assertRaises(OSError) as full:
                for seed in range(1000):
                    self.write(seed * 7919 % 256 * PIECE, seed=f"{size_mb} {seed}")
            self.assertEqual(full.exception.errno, errno.ENOSPC)
            self.disk.flush()
            self.require_written()
        self.grow()
        self.write(0, seed="last")
        self.require_written()
        self.end()

    def test_opens_for_writing_although_full(self):
        at = self.fill()
        self.daemon_.stop_serving("disk")
        self.daemon_.quit()
        self.daemon_ = self.open()
        self.disk = self.daemon_.serve("disk")
        self.require_written()
        self.grow()
        self.write(at)
        self.disk.flush()
        self.require_written()
        self.end()

    def test_opens_for_writing_although_full_after_a_kill(self):
        at = self.fill()
        self.disk.flush()
        self.daemon_.kill()
        self.daemon_ = self.open()
        self.disk = self.daemon_.serve("disk")
        self.require_written()
        self.grow()
        self.write(at)
        self.require_written()
        self.end()

    def test_history_can_be_seen_although_full(self):
        self.write(0, seed="old")
        self.daemon_.snapshot("before")
        self.write(0, seed="new")
        self.fill()
        self.assertEqual(self.daemon_.read_view(PIECE, snapshot="before"), content("old", PIECE))
        self.assertTrue(self.daemon_.points())

    def test_going_back_works_or_says_that_there_is_no_space(self):
        self.write(0, seed="old")
        self.daemon_.snapshot("before")
        self.fill()
        before = self.disk.read(0, PIECE)
        try:
            self.daemon_.rollback(snapshot="before", force=True)
            self.assertEqual(self.disk.read(0, PIECE), content("old", PIECE))
        except Exception as e:
            self.assertIn("space", str(e))
            self.assertEqual(self.disk.read(0, PIECE), before)
            self.grow()
            self.daemon_.rollback(snapshot="before", force=True)
        self.assertEqual(self.disk.read(0, PIECE), content("old", PIECE))
        self.assertEqual(self.disk.read(PIECE, PIECE), bytes(PIECE))
        self.end()

    def test_creating_an_image_where_none_fits_leaves_none(self):
        self.fill()
        run(["sh", "-c", f"head -c 100M /dev/zero >{self.small}/filler 2>/dev/null; true"])
        new = self.small / "new.pds"
        with self.assertRaisesRegex(Exception, "space"):
            image.create(new, "predsnap", "1G", "-o", "preallocation=full")
        self.assertFalse(new.exists())
