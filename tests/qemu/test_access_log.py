# SPDX-License-Identifier: GPL-2.0-or-later
"""The access log: what the guest did, in a file, without its ever waiting for it."""
import json
import os
import subprocess

from case import MIB, QemuTest, content, node, now_us
from lib import paths

PREDSNAP = paths.CHECKOUT / "build/tools/predsnap/predsnap"


class AccessLog(QemuTest):
    def setUp(self):
        super().setUp()
        self.log = self.work / "access.log"

    def start(self, **options):
        return self.daemon_with_disk(getattr(self, "path", None), **{"access-log": str(self.log), **options})

    def dump(self, *files):
        out = subprocess.run([PREDSNAP, "log", "dump", "--all", *(files or [self.log])], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        return [line.split(",") for line in out.splitlines()[1:]]

    def records(self, *files):
        """(operation, offset, length) of all records, and their times."""
        rows = self.dump(*files)
        return [(op, int(offset), int(length)) for _, op, offset, length, _ in rows], [int(row[0]) for row in rows]

    def test_requests_are_recorded_in_order_with_their_times(self):
        begin = now_us()
        daemon, disk = self.start()
        disk.write(4096, content("a", 8192))
        disk.read(4096, 512)
        disk.write(MIB, content("b", 512))
        disk.write_zeroes(2 * MIB, 65536)
        disk.trim(3 * MIB, 65536)
        daemon.quit()
        requests, times = self.records()
        expected = [("W", 4096, 8192), ("R", 4096, 512), ("W", MIB, 512), ("Z", 2 * MIB, 65536), ("D", 3 * MIB, 65536)]
        self.assertEqual([r for r in requests if r in expected], expected)
        self.assertEqual(times, sorted(times))
        self.assertTrue(begin <= times[0] and times[-1] <= now_us())

    def test_it_says_how_much_a_write_changed_where_that_is_known(self):
        daemon, disk = self.start(granularity="fine")
        page = bytearray(content("a", 4096))
        disk.write(0, bytes(page))             # nothing is known of what was there before
        page[1024:1536] = bytes(byte ^ 255 for byte in page[1024:1536])
        disk.write(0, bytes(page))             # an eighth
        disk.write(0, bytes(page))             # nothing
        disk.write(0, bytes(byte ^ 255 for byte in page))
        disk.write(MIB, content("b", 512))     # not a whole block
        daemon.quit()
        changed = [row[4] for row in self.dump() if row[1] == "W"]
        self.assertEqual((changed[0], changed[4]), ("", ""))
        self.assertAlmostEqual(float(changed[1]), 0.125, delta=0.01)
        self.assertEqual((float(changed[2]), float(changed[3])), (0, 1))
        out = subprocess.run([PREDSNAP, "log", "stats", "--json", self.log], check=True, stdout=subprocess.PIPE, text=True)
        said = json.loads(out.stdout)
        self.assertEqual(said["writes-compared"], 3)
        self.assertAlmostEqual(said["changed"], 1.125 / 3, delta=0.01)

    def test_a_killed_daemon_loses_at_most_what_waited_and_the_next_goes_on(self):
        daemon, disk = self.start()
        disk.write(0, content("a", 4096))
        self.wait_for_record(("W", 0, 4096))
        daemon.kill()
        with open(self.log, "ab") as file:  # as if it had died while it wrote a block
            file.write(b"PDSa\x00\x01")
        daemon, disk = self.start()
        disk.write(MIB, content("b", 4096))
        daemon.quit()
        requests, _ = self.records()
        self.assertEqual([r for r in requests if r[0] == "W"], [("W", 0, 4096), ("W", MIB, 4096)])

    def wait_for_record(self, record):
        end = now_us() + 10_000_000
        while record not in self.records()[0]:
            self.assertLess(now_us(), end, "the record is not written")

    def test_it_is_rotated_by_size(self):
        daemon, disk = self.start(**{"access-log-size": MIB})
        with open(self.log, "r+b") as file:
            file.truncate(2 * MIB)  # as if it were full: what is zeros is skipped
        daemon.kill()
        daemon, disk = self.start(**{"access-log-size": MIB})
        disk.write(0, content("a", 4096))
        daemon.quit()
        aside = self.work / "access.log.1"
        self.assertEqual(os.path.getsize(aside), 2 * MIB)
        self.assertIn(("W", 0, 4096), self.records()[0])

    def test_another_file_is_not_touched(self):
        self.log.write_bytes(b"a diary\n" * 100)
        path = self.create()
        daemon = self.daemon()
        said = self.refusal(daemon.add, node("disk", path, **{"access-log": str(self.log)}))
        self.assertSaysAll(said, self.log, "no access log", "another name")
        self.assertEqual(self.log.read_bytes(), b"a diary\n" * 100)
        daemon.add(node("disk", path))  # nothing of the failed attempt is left open

    def test_it_cannot_be_changed_by_a_reopen(self):
        daemon, disk = self.start()
        said = self.refusal(daemon.qmp.execute, "blockdev-reopen", options=[node("disk", self.path)])
        self.assertSaysAll(said, "access-log", "disk")
        daemon.qmp.execute("blockdev-reopen", options=[
            node("disk", self.path, **{"access-log": str(self.log), "weight": 7})])
        disk.write(0, content("a", 4096))
        daemon.quit()
        self.assertIn(("W", 0, 4096), self.records()[0])
