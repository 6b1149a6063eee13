# SPDX-License-Identifier: GPL-2.0-or-later
"""The capacity image: old history moves there, is read from there, and does no harm when it is full, slow, broken or gone."""
import errno
import os
import random
import time

from case import MIB, content
from lib import image, process
from test_retention import RetentionCase

PIECE = 4 * MIB


def file_node(path):
    return {"driver": "file", "filename": str(path), "discard": "unmap"}


class TiersCase(RetentionCase):
    def setUp(self):
        super().setUp()
        self.slow = self.work / "slow.pdc"
        self.slow.touch()

    def open(self, capacity=None, **options):
        """Without history but for snapshots."""
        if capacity is None:
            capacity = file_node(self.slow)
        if capacity:
            options["capacity"] = capacity
        self.daemon_, self.disk = self.daemon_with_disk(self.path, **{"cdp-window": 0, **options})

    def start(self, size="16M", capacity=None, **options):
        self.path = self.create(size=size, options=[f"segment_size={MIB}"])
        self.written = {}
        self.rounds = 0
        self.open(capacity, **options)

    def close(self):
        self.daemon_.quit()

    def tier(self, which="capacity"):
        return next(t for t in self.daemon_.info()["tiers"] if t["tier"] == which)

    def move(self, name="kept"):
        """A snapshot that lies in the capacity image; what the disk was."""
        self.churn(4)
        self.daemon_.snapshot(name)
        held = self.disk.read(0, PIECE)
        before = self.tier()["streams"]

        def moved():
            self.churn(2)
            return self.tier()["streams"] > before and self.tier("fast")["streams"] == 0

        process.wait_until(moved, "streams to move")
        return held

    def require_then(self, held, name="kept"):
        self.assertEqual(self.daemon_.read_view(PIECE, snapshot=name), held)


class Moves(TiersCase):
    def test_old_history_moves_and_is_read_from_there(self):
        self.start()
        held = self.move()
        self.require_then(held)
        info = self.daemon_.info()
        self.assertEqual([t["tier"] for t in info["tiers"]], ["fast", "capacity"])
        self.assertGreater(info["stats"]["moved-stream-bytes"], 0)
        self.assertGreater(self.tier()["used"], 0)
        # Segments count as a whole; of the last one only what was written is there.
        self.assertLessEqual(self.slow.stat().st_size, 65536 + self.tier()["used"])
        self.close()
        self.check()
        both = f"driver=predsnap,file.filename={self.path},capacity.filename={self.slow}"
        image.qemu_img("check", "--image-opts", both)
        self.open()
        self.assertHolds()
        self.require_then(held)
        self.daemon_.rollback(snapshot="kept", force=True)
        self.assertEqual(self.disk.read(0, PIECE), held)

    def test_space_comes_back(self):
        self.start()
        self.move()
        self.daemon_.qmp.execute("predsnap-snapshot-delete", node_name="disk", name="kept")

        def freed():
            self.churn(2)
            return self.tier()["used"] == 0

        process.wait_until(freed, "the capacity image to be free")
        self.assertLess(os.stat(self.slow).st_blocks * 512, 2 * MIB)

    def test_killed_again_and_again(self):
        self.start()
        dice = random.Random(7)
        kept = {}
        for n in range(12):
            self.churn(2)
            name = f"s{n}"
            self.daemon_.snapshot(name)
            kept[name] = self.disk.read(0, PIECE)
            self.churn(dice.randrange(2, 10))
            time.sleep(dice.random() * 0.05)
            self.daemon_.kill()
            self.open()
            for at, data in self.written.items():  # all of it was flushed
                self.assertEqual(self.disk.read(at, len(data)), data)
            some = dice.choice(list(kept))
            self.require_then(kept[some], some)
        self.churn(8)
        self.assertGreater(self.tier()["streams"], 0)
        for name, held in kept.items():
            self.require_then(held, name)
        self.close()
        self.check()


class Refused(TiersCase):
    def test_that_of_another_disk(self):
        self.start()
        self.close()
        mine = self.path
        self.path = self.create("other.pds", size="16M", options=[f"segment_size={MIB}"])
        daemon = self.daemon()
        node = {"node-name": "disk", "driver": "predsnap", "file": file_node(self.path),
                "capacity": file_node(self.slow)}
        said = self.refusal(daemon.add, node)
        self.assertSaysAll(said, "disk", "belongs to the disk", image.info(mine)["format-specific"]["data"]["uuid"])

    def test_something_else(self):
        self.path = self.create()
        foreign = self.raw("foreign.raw", content("x", MIB))
        daemon = self.daemon()
        node = {"node-name": "disk", "driver": "predsnap", "file": file_node(self.path),
                "capacity": file_node(foreign)}
        self.assertSaysAll(self.refusal(daemon.add, node), "disk", "capacity", "empty")
        self.assertEqual(foreign.read_bytes(), content("x", MIB))


class Trouble(TiersCase):
    def test_without_it_the_disk_works_and_says_what_is_missing(self):
        self.start()
        held = self.move()
        self.close()
        self.open(capacity=False)
        self.assertFalse(self.tier()["attached"])
        self.assertGreater(self.tier()["streams"], 0)
        self.assertHolds()
        self.churn(6)
        self.assertHolds()
        for _ in range(2):
            said = self.refusal(self.daemon_.rollback, snapshot="kept", force=True)
            self.assertSaysAll(said, "disk", "open it with 'capacity'", self.tier()["uuid"])
        event = self.daemon_.qmp.wait_event("PREDSNAP_TIER_ERROR")["data"]
        self.assertEqual((event["node-name"], event["tier"]), ("disk", "capacity"))
        self.assertEqual(self.events("PREDSNAP_TIER_ERROR"), 0)
        self.close()
        self.open()
        self.assertHolds()
        self.require_then(held)

    def events(self, name):
        return sum(event["event"] == name for event in self.daemon_.qmp.poll_events())

    def test_full_it_leaves_streams_where_they_are(self):
        with open(self.slow, "r+b") as file:
            file.truncate(MIB + MIB // 2)
        small = {"driver": "raw", "size": MIB + MIB // 2, "file": file_node(self.slow)}
        self.start(capacity=small)
        self.churn(4)
        self.daemon_.snapshot("kept")
        held = self.disk.read(0, PIECE)
        self.churn(40)
        event = self.daemon_.qmp.wait_event("PREDSNAP_TIER_FULL")["data"]
        self.assertEqual((event["node-name"], event["tier"]), ("disk", "capacity"))
        self.assertTrue(self.tier()["full"])
        self.assertGreater(self.tier("fast")["streams"], 0)
        self.require_then(held)
        self.close()
        with open(self.slow, "r+b") as file:
            file.truncate(64 * MIB)
        self.open()
        process.wait_until(lambda: self.churn(2) or self.tier("fast")["streams"] == 0, "streams to move")
        self.require_then(held)

    def test_errors_there_are_no_errors_of_the_disk(self):
        self.start()
        self.move()
        self.close()
        # The first block of content in its first segment.
        broken = {"driver": "blkdebug", "image": file_node(self.slow),
                  "inject-error": [{"event": "none", "iotype": "read", "errno": errno.EIO, "sector": 136,
                                    "immediately": False}]}
        self.open(capacity=broken)
        self.assertHolds()
        self.churn(6)
        self.assertHolds()
        self.daemon_.add_view("then", snapshot="kept")
        with self.daemon_.serve("then", writable=False) as client:
            with self.assertRaises(OSError):
                client.read(0, PIECE)
        event = self.daemon_.qmp.wait_event("PREDSNAP_TIER_ERROR")["data"]
        self.assertIn("cannot be read", event["reason"])
        self.assertFalse(self.daemon_.info()["corrupt"])
        self.daemon_.stop_serving("then")
        self.daemon_.remove("then")

    def test_slow_it_holds_nothing_up(self):
        self.start(capacity=False)
        self.churn(4)
        self.daemon_.snapshot("kept")
        held = self.disk.read(0, PIECE)
        self.churn(30)
        self.assertGreater(self.tier("fast")["streams"], 0)
        self.close()
        path, self.path = self.path, None
        daemon = self.daemon()
        daemon.qmp.execute("object-add", qom_type="throttle-group", id="slow", limits={"iops-total": 2})
        throttled = {"driver": "throttle", "throttle-group": "slow", "file": file_node(self.slow)}
        begin = time.monotonic()
        daemon.add({"node-name": "disk", "driver": "predsnap", "file": file_node(path), "cdp-window": 0,
                    "capacity": throttled})
        self.path, self.daemon_ = path, daemon
        self.disk = daemon.serve("disk")
        opened = time.monotonic() - begin
        begin = time.monotonic()
        slowest = 0
        for n in range(40):
            since = time.monotonic()
            self.churn(1)
            slowest = max(slowest, time.monotonic() - since)
            if n % 10 == 0:
                since = time.monotonic()
                self.daemon_.snapshot(f"s{n}")
                slowest = max(slowest, time.monotonic() - since)
        self.assertLess(opened, 15)
        self.assertLess(slowest, 5, "a write or a snapshot waits for the capacity image")
        self.assertHolds()
        self.require_then(held)
