# SPDX-License-Identifier: GPL-2.0-or-later
"""The self-checking writer itself: a check that catches nothing proves nothing."""
import subprocess

from case import GuestTest

from lib import paths

SECTOR = 512
SPAN = 8 << 20
OPTIONS = ("--seed", "1", "--block", "0", "--threads", "2")


class Stamp(GuestTest):
    def setUp(self):
        super().setUp()
        self.file = self.work / "file"
        self.write("--span", str(SPAN), "--count", "500", "--read-back", "30")

    def stamp(self, verb, *options):
        command = [paths.guest_dir() / "stamp", verb, self.file, *OPTIONS, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def write(self, *options):
        done = self.stamp("write", *options)
        self.assertEqual(done.returncode, 0, done.stderr)

    def assert_good(self, *options):
        done = self.stamp("verify", *options)
        self.assertEqual(done.returncode, 0, done.stderr)

    def assert_caught(self, fault, *options):
        done = self.stamp("verify", *options)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(fault, done.stderr)

    def sectors(self):
        """The sectors that were written, by number."""
        content = self.file.read_bytes()
        parts = (content[at : at + SECTOR] for at in range(0, SPAN, SECTOR))
        return {number: part for number, part in enumerate(parts) if any(part)}

    def replace(self, sector, data):
        with open(self.file, "r+b") as f:
            f.seek(sector * SECTOR)
            f.write(data)

    def test_accepts_what_was_written(self):
        self.assert_good("--at-least", "500", "--at-most", "500")

    def test_goes_on_after_what_is_there(self):
        self.write("--resume", "--count", "10")
        self.assert_good("--at-least", "510", "--at-most", "510")

    def test_catches_a_lost_end(self):
        self.assert_caught("expected 501 to", "--at-least", "501")

    def test_catches_a_sector_of_another_place(self):
        (one, _), (_, content_of_other) = list(self.sectors().items())[:2]
        self.replace(one, content_of_other)
        self.assert_caught(f"sector {one} is misplaced")

    def test_catches_a_flipped_bit(self):
        one, content = next(iter(self.sectors().items()))
        data = bytearray(content)
        data[300] ^= 1
        self.replace(one, data)
        self.assert_caught(f"sector {one} is damaged")

    def test_catches_an_older_version(self):
        before = self.sectors()
        self.write("--resume", "--count", "500")
        after = self.sectors()
        one = next(number for number in before if before[number] != after[number])
        self.replace(one, before[one])
        self.assert_caught(f"sector {one} is stale")

    def test_catches_a_lost_sector(self):
        one = next(iter(self.sectors()))
        self.replace(one, bytes(SECTOR))
        self.assert_caught(f"sector {one} is all zeroes")

    def test_catches_another_run(self):
        command = [paths.guest_dir() / "stamp", "verify", self.file, "--seed", "2", *OPTIONS[2:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("belongs to another run", done.stderr)
