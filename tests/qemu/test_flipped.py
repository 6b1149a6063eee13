# SPDX-License-Identifier: GPL-2.0-or-later
"""One flipped bit in stored data: that sector cannot be read, everything else can, and it is said."""
import errno
import json

from case import MIB, QemuTest, content, node
from lib import image
from lib.process import ProcessError


class FlippedBit(QemuTest):
    def setUp(self):
        super().setUp()
        self.data = content("data", 2 * MIB)

    def written(self, name, segment_size):
        """A cleanly closed image, and its map."""
        self.path = self.create(name, "2M", options=[f"segment_size={segment_size}"])
        source = self.raw("data", self.data)
        image.qemu_io(self.path, "predsnap", f"write -s {source} 0 2M", "flush")
        return json.loads(image.qemu_img("map", "--output=json", "-f", "predsnap", self.path))

    def flip(self, offset):
        with open(self.path, "r+b") as f:
            f.seek(offset)
            byte = f.read(1)[0]
            f.seek(offset)
            f.write(bytes([byte ^ 0x10]))

    def flip_guest_byte(self, mapped, at):
        """Flips a bit of what the guest has at that place."""
        part = [p for p in mapped if p["start"] <= at < p["start"] + p["length"]][0]
        self.flip(part["offset"] + at - part["start"])

    def opened(self):
        daemon = self.daemon()
        daemon.add(node("disk", self.path, **{"read-only": True}))
        return daemon, daemon.serve("disk", writable=False)

    def unreadable(self, disk):
        """The sectors that give EIO; all others must hold their data."""
        bad = set()
        for at in range(0, 2 * MIB, 65536):
            try:
                self.assertEqual(disk.read(at, 65536), self.data[at : at + 65536])
            except OSError:
                for sector in range(at, at + 65536, 512):
                    try:
                        held = disk.read(sector, 512)
                        self.assertEqual(held, self.data[sector : sector + 512], sector)
                    except OSError as e:
                        self.assertEqual(e.errno, errno.EIO)
                        bad.add(sector)
        return bad

    def one_unit_is_lost(self, segment_size):
        """The unit of checksums is 4 KiB: no more than that is lost, and nothing but it."""
        mapped = self.written(f"{segment_size}.pds", segment_size)
        at = 5 * 65536 + 3 * 4096 + 700
        self.flip_guest_byte(mapped, at)
        daemon, disk = self.opened()
        block = at // 4096 * 4096
        self.assertEqual(self.unreadable(disk), set(range(block, block + 4096, 512)))
        return daemon

    def test_in_the_newest_segment(self):
        self.one_unit_is_lost("8M")

    def test_in_a_segment_that_has_an_index(self):
        self.one_unit_is_lost("64k")

    def test_event_and_info_tell(self):
        daemon = self.one_unit_is_lost("64k")
        event = daemon.qmp.wait_event("BLOCK_IMAGE_CORRUPTED")["data"]
        self.assertEqual(event["node-name"], "disk")
        self.assertIn("checksum", event["msg"])
        self.assertFalse(event["fatal"])
        self.assertTrue(daemon.info()["corrupt"])
        self.assertGreater(daemon.info()["stats"]["checksum-errors"], 0)

    def test_check_reports_it(self):
        for segment_size in ("64k", "8M"):
            mapped = self.written(f"check-{segment_size}.pds", segment_size)
            self.check()
            self.flip_guest_byte(mapped, MIB + 1000)
            with self.assertRaises(ProcessError) as found:
                image.qemu_img("check", "-f", "predsnap", self.path)
            text = str(found.exception)
            self.assertIn("status 2", text)  # corruption, not a failed check
            place = [p for p in mapped if p["start"] <= MIB < p["start"] + p["length"]][0]
            self.assertIn("offset", text)
            self.assertIn(self.path.name, text)
            self.assertTrue(place["data"])

    def test_written_over_it_reads_again(self):
        mapped = self.written("over.pds", "64k")
        self.flip_guest_byte(mapped, 4096)
        daemon = self.daemon()
        daemon.add(node("disk", self.path))
        disk = daemon.serve("disk")
        with self.assertRaises(OSError):
            disk.read(4096, 4096)
        disk.write(4096, b"n" * 4096)
        self.assertEqual(
            disk.read(0, 12288), self.data[:4096] + b"n" * 4096 + self.data[8192:12288]
        )

    def test_in_the_past_does_not_harm_the_present(self):
        mapped = self.written("past.pds", "64k")
        image.qemu_img("snapshot", "-c", "before", self.path)
        image.qemu_io(self.path, "predsnap", "write -P 7 0 2M", "flush")
        self.flip_guest_byte(mapped, 4096)
        daemon, disk = self.opened()
        self.assertEqual(disk.read(0, 2 * MIB), b"\x07" * (2 * MIB))
        daemon.add_view("old", snapshot="before")
        view = daemon.serve("old", writable=False)
        self.assertEqual(self.unreadable(view), set(range(4096, 8192, 512)))

    def test_newest_write_does_not_silently_turn_into_the_one_before(self):
        path = self.path = self.create(size="1M")
        image.qemu_io(path, "predsnap", "write -P 1 0 4k", "flush", "write -P 2 0 4k", "flush")
        mapped = json.loads(image.qemu_img("map", "--output=json", "-f", "predsnap", path))
        self.flip_guest_byte(mapped, 1000)
        daemon, disk = self.opened()
        with self.assertRaises(OSError) as failure:
            disk.read(0, 4096)
        self.assertEqual(failure.exception.errno, errno.EIO)
