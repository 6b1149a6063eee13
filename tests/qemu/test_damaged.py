# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged images: whatever is wrong with them, an error that says where, or the right data; never a crash, a
hang, or data that was never there."""
import json
import random
import subprocess

from case import QemuTest, Settings, content, node
from lib import image, paths
from lib.qmp import QmpError

SIZE = 1 << 20
SEGMENT = 65536
PER_KIND = 40
CHECK_SECONDS_MAX = 120  # a hang, not a slow machine


class Damaged(QemuTest):
    """`self.good` is a cleanly closed image with everything in it."""

    def setUp(self):
        super().setUp()
        self.draw = random.Random(Settings.seed)
        self.good = self.create("good.pds", str(SIZE), options=[f"segment_size={SEGMENT}"])
        self.live(self.good)
        self.bytes = self.good.read_bytes()
        self.damaged = self.work / "damaged.pds"
        self.looker = None

    def live(self, path):
        """Writes, zeroes, discards, snapshots, a rollback, a checkpoint in the middle."""
        daemon = self.daemon()
        daemon.add(node("disk", path))
        disk = daemon.serve("disk")
        for number in range(40):
            disk.write(number % 16 * SEGMENT + number * 512, content(number, 24576))
            if number % 7 == 0:
                disk.flush()
        self.old = disk.read(0, SIZE)
        daemon.snapshot("before")
        disk.write_zeroes(100_352, 50_176)
        disk.trim(500_224, 65_536)
        daemon.rollback(snapshot="before", force=True)
        daemon.stop_serving("disk")
        # Becoming read-only writes a checkpoint.
        for read_only in (True, False):
            daemon.qmp.execute(
                "blockdev-reopen", options=[node("disk", path, **{"read-only": read_only})]
            )
        disk = daemon.serve("disk")
        for number in range(40, 60):
            disk.write(number % 16 * SEGMENT + number * 512, content(number, 12288))
        daemon.snapshot("after")
        disk.write(0, content("last", 8192))
        disk.flush()
        self.new = disk.read(0, SIZE)
        daemon.stop_serving("disk")
        daemon.quit()

    def blocks_in_use(self):
        """Places that matter: blocks that are not all zeros."""
        used = [at for at in range(0, len(self.bytes), 4096) if any(self.bytes[at : at + 4096])]
        return used

    def places(self, count):
        """The superblocks and the first blocks of segments, and any others."""
        used = self.blocks_in_use()
        headers = [at for at in used if at < 8192 or (at - 65536) % SEGMENT < 8192]
        return [
            self.draw.choice(headers if i % 2 else used) + self.draw.randrange(4096)
            for i in range(count)
        ]

    def require_harmless(self, what):
        """Looks at the damaged image in every way there is."""
        with self.subTest(what):
            try:
                self.looker = self.looker or self.daemon()
                self.look()
            except BaseException:
                if self.looker:
                    self.looker.kill()
                    self.looker = None
                raise

    def look(self):
        daemon = self.looker
        try:
            daemon.add(node("disk", self.damaged, **{"read-only": True}))
        except QmpError as e:
            self.assertGreater(len(e.desc), 20, e.desc)
            return
        self.same_or_error(daemon, "disk", self.new)
        for name, was in (("before", self.old), ("after", None)):
            try:
                daemon.add_view("view", snapshot=name)
            except QmpError:
                continue
            if was:
                self.same_or_error(daemon, "view", was)
            daemon.remove("view")
        try:
            daemon.points()
        except QmpError as e:
            self.assertIn("disk", e.desc)
        daemon.remove("disk")

    def same_or_error(self, daemon, name, expected):
        with daemon.serve(name, writable=False) as disk:
            for at in range(0, SIZE, 16384):
                try:
                    held = disk.read(at, 16384)
                except OSError:
                    continue
                self.assertEqual(held, expected[at : at + 16384], f"{name} at {at}")
        daemon.stop_serving(name)

    def check_ends(self, what, *options):
        """qemu-img check says something sensible: sound, corrupt, or cannot be opened."""
        done = subprocess.run(
            [paths.program("qemu-img"), "check", *options, "-f", "predsnap", str(self.damaged)],
            capture_output=True,
            text=True,
            check=False,
            timeout=CHECK_SECONDS_MAX,
        )
        self.assertIn(done.returncode, (0, 1, 2), f"{what}: {done.stderr}")
        return done

    def damage(self, at, data):
        self.damaged.write_bytes(self.bytes[:at] + data + self.bytes[at + len(data) :])

    def damage_everywhere(self, kind, make):
        for number, at in enumerate(self.places(PER_KIND)):
            data = make(at)
            self.damage(at, data)
            what = f"seed {Settings.seed}: {kind} of {len(data)} bytes at {at}"
            self.require_harmless(what)
            if number % 8 == 0:
                self.check_ends(what)

    def test_undamaged_it_is_right(self):
        self.damaged.write_bytes(self.bytes)
        self.require_harmless("undamaged")
        self.check(self.damaged)

    def test_flipped_bit(self):
        self.damage_everywhere(
            "flipped bit", lambda at: bytes([self.bytes[at] ^ 1 << self.draw.randrange(8)])
        )

    def test_zeroed_block(self):
        self.damage_everywhere("zeroing", lambda at: bytes(self.draw.choice((8, 512, 4096))))

    def test_garbage(self):
        self.damage_everywhere(
            "garbage", lambda at: self.draw.randbytes(self.draw.choice((8, 512, 4096, 65536)))
        )

    def test_block_from_elsewhere(self):
        """A misdirected write: everything in it is sound, but not there."""
        self.damage_everywhere("block from elsewhere", self.elsewhere)

    def elsewhere(self, _):
        at = self.draw.choice(self.blocks_in_use())
        return self.bytes[at : at + 4096]

    def test_block_of_an_older_time(self):
        """A lost write: what was there before is still there."""
        older = bytearray(self.bytes)
        used = self.blocks_in_use()
        for number in range(PER_KIND):
            at = self.draw.choice(used)
            source = self.draw.choice((at - SEGMENT, at + SEGMENT)) % len(older)
            self.damage(at, self.bytes[source // 4096 * 4096 :][:4096])
            self.require_harmless(f"seed {Settings.seed}: block {source} at {at}")

    def test_truncated(self):
        end = len(self.bytes)
        lengths = [0, 1, 511, 4095, 4096, 8192, 65535, 65536, 65536 + 4096]
        lengths += [self.draw.randrange(end) for _ in range(PER_KIND)]
        for length in lengths:
            self.damaged.write_bytes(self.bytes[:length])
            self.require_harmless(f"seed {Settings.seed}: cut to {length} bytes")

    def test_repair_never_makes_wrong_data(self):
        for at in self.places(12):
            self.damage(at, self.draw.randbytes(512))
            what = f"seed {Settings.seed}: garbage of 512 bytes at {at}, repaired"
            done = self.check_ends(what, "-r", "all")
            if done.returncode == 0:
                self.check(self.damaged)

    def test_writing_to_it_does_no_harm(self):
        """Opened for writing, a damaged image must not crash the daemon either."""
        for at in self.places(12):
            self.damage(at, self.draw.randbytes(64))
            with self.subTest(f"seed {Settings.seed}: garbage at {at}"):
                daemon = self.daemon()
                try:
                    daemon.add(node("disk", self.damaged))
                except QmpError:
                    daemon.kill()
                    continue
                disk = daemon.serve("disk")
                for sector in range(0, 64):
                    disk.write(sector * 16384, b"w" * 512)
                disk.flush()
                self.assertEqual(disk.read(0, 512), b"w" * 512)
                daemon.stop_serving("disk")
                daemon.quit()
