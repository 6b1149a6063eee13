# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest requests of every shape, compared with a plain array of bytes, and what the disk says of itself."""
import json
import random
import shutil

from case import MIB, QemuTest, Settings, content, node
from lib import image
from lib.nbd import CMD_WRITE
from lib.process import run


class Requests(QemuTest):
    def test_single_sectors_at_every_place_of_a_block(self):
        daemon, disk = self.daemon_with_disk(self.create(size="1M"))
        expected = bytearray(MIB)
        for number in range(64):
            at = (number * 17 % 128) * 512
            expected[at : at + 512] = data = content(number, 512)
            disk.write(at, data)
            self.assertEqual(disk.read(at, 512), data)
        self.assertEqual(disk.read(0, MIB), expected)
        self.assertEqual(disk.read(512, 131 * 512), expected[512 : 132 * 512])

    def test_small_writes_are_appended_as_they_are(self):
        """No read-modify-write: a sector costs its block and the batch's; a segment may begin too."""
        daemon, disk = self.daemon_with_disk(self.create(size="1M"))
        before = daemon.info()["stats"]["batch-bytes"]
        for number in range(16):
            disk.write(number * 4096 + 512, b"s" * 512)
        stats = daemon.info()["stats"]
        self.assertLessEqual(stats["batch-bytes"] - before, 17 * 8192)

    def test_bytes_that_are_not_whole_sectors(self):
        daemon, disk = self.daemon_with_disk(self.create(size="1M"))
        disk.write(0, b"a" * 4096)
        disk.write(100, b"b" * 1000)
        self.assertEqual(disk.read(0, 2000), b"a" * 100 + b"b" * 1000 + b"a" * 900)
        self.assertEqual(disk.read(99, 2), b"ab")

    def test_random_mix_against_an_array(self):
        seed = Settings.seed
        draw = random.Random(seed)
        size = 2 * MIB
        base = content("base", size)
        path = self.create(
            size=None, options=["segment_size=256k"], backing=(self.raw("base.raw", base), "raw")
        )
        daemon, disk = self.daemon_with_disk(path)
        expected = bytearray(base)
        for number in range(1500):
            length = draw.choice((512, 512, 1024, 4096, 4096, 8192, 65536)) * draw.randint(1, 3)
            at = draw.randrange(0, (size - length) // 512 + 1) * 512
            kind = draw.random()
            if kind < 0.6:
                expected[at : at + length] = data = content(number, length)
                disk.write(at, data)
            elif kind < 0.7:
                expected[at : at + length] = bytes(length)
                disk.write_zeroes(at, length, may_unmap=draw.random() < 0.5)
            elif kind < 0.75:
                disk.flush()
            else:
                self.assertEqual(disk.read(at, length), expected[at : at + length], f"seed {seed}")
        self.assertEqual(disk.read(0, size), expected, f"seed {seed}")
        daemon.quit()
        self.same_content(path, "predsnap", self.raw("expected", expected), "raw")
        self.check()

    def test_discarded_space_reads_as_zeros_even_over_a_backing_file(self):
        base = content("base", MIB)
        path = self.create(size=None, backing=(self.raw("base.raw", base), "raw"))
        daemon, disk = self.daemon_with_disk(path)
        disk.write(0, b"x" * 8192)
        disk.trim(4096, 65536)
        held = disk.read(0, MIB)
        self.assertEqual(held[:4096], b"x" * 4096)
        self.assertEqual(held[4096 : 4096 + 65536], bytes(65536))
        self.assertEqual(held[4096 + 65536 :], base[4096 + 65536 :])

    def test_big_requests(self):
        daemon, disk = self.daemon_with_disk(self.create(size="64M"))
        data = content(1, 30 * MIB + 512)
        disk.write(MIB + 512, data)
        self.assertEqual(disk.read(MIB + 512, len(data)), data)

    def test_many_requests_in_flight_go_out_together(self):
        daemon, disk = self.daemon_with_disk(self.create(size="64M"))
        for number in range(1024):
            disk.start(CMD_WRITE, number * 8192, 4096, content(number, 4096))
            if number >= 64:
                self.assertEqual(disk.finish()[1], 0)
        for _ in range(64):
            self.assertEqual(disk.finish()[1], 0)
        for number in range(1024):
            self.assertEqual(disk.read(number * 8192, 4096), content(number, 4096))
        self.assertLess(daemon.info()["stats"]["batches"], 1024)

    def test_requests_past_the_end_are_refused(self):
        daemon, disk = self.daemon_with_disk(self.create(size="1M"))
        for at, length in (
            (MIB, 512),
            (MIB - 512, 1024),
            ((1 << 63) - 4096, 4096),
            ((1 << 64) - 512, 512),
        ):
            with self.assertRaises(OSError, msg=str(at)):
                disk.write(at, bytes(length))
        self.assertEqual(disk.read(0, MIB), bytes(MIB))


class Status(QemuTest):
    """What NBD clients and convert are told of each part of the disk."""

    def setUp(self):
        super().setUp()
        base = self.work / "base.raw"
        with open(base, "wb") as f:
            f.write(content("base", 2 * MIB))
            f.truncate(6 * MIB)
        self.path = self.create(size="8M", backing=(base, "raw"))
        self.daemon_, self.disk = self.daemon_with_disk(self.path)
        self.disk.write(512, b"1" * 512)
        self.disk.write(MIB, b"2" * 65536)
        self.disk.write_zeroes(MIB + 4096, 4096)
        self.disk.trim(MIB + 65536, 65536)
        self.disk.write(5 * MIB, b"3" * 1536)
        self.disk.write(7 * MIB, bytes(4096))
        # offset, length, zero?
        self.expected = [
            (0, MIB + 4096, False),
            (MIB + 4096, 4096, True),
            (MIB + 8192, 65536 - 8192, False),
            (MIB + 65536, 65536, True),
            (MIB + 131072, MIB - 131072, False),
            (2 * MIB, 3 * MIB, True),
            (5 * MIB, 1536, False),
            (5 * MIB + 1536, 2 * MIB - 1536, True),
            (7 * MIB, 4096, False),
            (7 * MIB + 4096, MIB - 4096, True),
        ]

    def merged(self, parts):
        joined = []
        for start, length, zero in parts:
            if joined and joined[-1][2] == zero:
                start, length = joined[-1][0], joined.pop()[1] + length
            joined.append((start, length, zero))
        return joined

    def test_as_qemu_img_sees_it_over_nbd(self):
        mapped = json.loads(
            image.qemu_img("map", "--output=json", "-f", "raw", self.daemon_.url("disk"))
        )
        self.assertEqual(
            self.merged((p["start"], p["length"], p["zero"]) for p in mapped), self.expected
        )

    def test_as_nbdinfo_sees_it(self):
        if not shutil.which("nbdinfo"):
            self.skipTest("needs nbdinfo (package libnbd-bin)")
        mapped = json.loads(run(["nbdinfo", "--map", "--json", self.daemon_.url("disk")]))
        self.assertEqual(
            self.merged((p["offset"], p["length"], bool(p["type"] & 2)) for p in mapped),
            self.expected,
        )

    def test_depth_tells_the_layer(self):
        self.daemon_.stop_serving("disk")
        self.daemon_.quit()
        mapped = json.loads(image.qemu_img("map", "--output=json", "-f", "predsnap", self.path))
        own = [p for p in mapped if p["depth"] == 0 and p["present"]]
        self.assertEqual(
            [(p["start"], p["length"]) for p in own],
            [
                (512, 512),
                (MIB, 4096),
                (MIB + 4096, 4096),
                (MIB + 8192, 65536 - 8192),
                (MIB + 65536, 65536),
                (5 * MIB, 1536),
                (7 * MIB, 4096),
            ],
        )

    def test_every_sector_of_a_checkerboard(self):
        daemon = self.daemon()
        path = self.create("board.pds", "64k")
        daemon.add(node("disk", path))
        disk = daemon.serve("disk")
        for sector in range(0, 128, 2):
            disk.write(sector * 512, b"b" * 512)
        mapped = json.loads(image.qemu_img("map", "--output=json", "-f", "raw", daemon.url("disk")))
        self.assertEqual(
            self.merged((p["start"], p["length"], p["zero"]) for p in mapped),
            [(sector * 512, 512, sector % 2 == 1) for sector in range(128)],
        )
