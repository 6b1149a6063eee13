# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read ahead of time, from the capacity image and from the backing disk."""

from case import MIB, QemuTest, content, node
from lib import process
from test_tiers import PIECE, TiersCase

PAGE = 4096
CHUNK = 64 << 10


def settled(daemon):
    prefetch = daemon.info()["prefetch"]
    return prefetch["queue"] == 0 and prefetch["running"] == 0


class FromTheCapacityImage(TiersCase):
    def test_a_rollback_brings_back_what_is_read_next(self):
        self.start()
        held = self.move()
        self.assertEqual(self.daemon_.info()["prefetch"]["wanted"], 0)
        self.daemon_.rollback(snapshot="kept", force=True)
        process.wait_until(lambda: settled(self.daemon_), "what was restored to be fetched")
        self.assertGreater(self.daemon_.info()["prefetch"]["done"], 0)
        self.assertEqual(self.disk.read(0, PIECE), held)
        prefetch = self.daemon_.info()["prefetch"]
        self.assertEqual(prefetch["bytes"], prefetch["done"] * PAGE)
        self.assertEqual(prefetch["used"], prefetch["done"])
        self.assertEqual(prefetch["unused"], 0)
        self.assertEqual(prefetch["failed"], 0)


class FromTheBackingDisk(QemuTest):
    def start(self, slow=False, **options):
        self.data = content("base", 8 * MIB)
        base = self.raw("base.raw", self.data)
        self.path = self.create(backing=(base, "raw"), size=None)
        self.daemon_ = self.daemon()
        backing = {"driver": "raw", "file": {"driver": "file", "filename": str(base)}}
        if slow:
            self.daemon_.qmp.execute("object-add", qom_type="throttle-group", id="slow", limits={"iops-total": 1})
            self.daemon_.add({"driver": "throttle", "node-name": "below", "throttle-group": "slow", "file": backing})
            backing = "below"
        self.daemon_.add(node("disk", self.path, backing=backing, **options))
        self.disk = self.daemon_.serve("disk")

    def hint(self, offset, length):
        self.daemon_.qmp.execute("predsnap-hint", node_name="disk", offset=offset, length=length, kind="will-read")

    def prefetch(self):
        return self.daemon_.info()["prefetch"]

    def test_what_is_hinted_is_there(self):
        self.start()
        self.disk.write(PAGE, b"new" * 1024 + bytes(1024))
        self.hint(0, MIB)
        process.wait_until(lambda: settled(self.daemon_), "what was hinted to be fetched")
        self.assertEqual(self.prefetch()["done"], MIB // PAGE - 1)
        self.assertEqual(self.disk.read(CHUNK, MIB - CHUNK), self.data[CHUNK:MIB])
        self.assertEqual(self.disk.read(0, PAGE), self.data[:PAGE])
        self.assertEqual(self.prefetch()["used"], (MIB - CHUNK) // PAGE + 1)
        staging = self.daemon_.info()["staging"]["prefetch"]
        self.assertEqual(staging["admitted"], self.prefetch()["done"])

    def test_what_is_predicted_to_be_read_is_there(self):
        self.start()
        self.disk.write(7 * MIB, bytes(PAGE))
        predictions = [{"offset": 3 * CHUNK, "length": 2 * CHUNK, "read": 0.9},
                       {"offset": 9 * CHUNK, "length": CHUNK, "read": 0.01}]
        self.daemon_.qmp.execute("predsnap-set-predictions", node_name="disk", model="test", horizon=60,
                                 base_sequence=self.daemon_.info()["sequence"], predictions=predictions)
        process.wait_until(lambda: settled(self.daemon_), "what was predicted to be fetched")
        prefetch = self.prefetch()
        self.assertEqual((prefetch["done"], prefetch["refused"]), (2 * CHUNK // PAGE, CHUNK // PAGE))
        self.assertEqual(self.disk.read(3 * CHUNK, 2 * CHUNK), self.data[3 * CHUNK : 5 * CHUNK])
        self.assertEqual(self.prefetch()["used"], 2 * CHUNK // PAGE)

    def test_slow_it_holds_nothing_up(self):
        self.start(slow=True)
        self.hint(0, 8 * MIB)  # some 30 requests, that is seconds
        for n in range(8):
            self.disk.write(n * CHUNK, bytes(PAGE))
            self.disk.flush()
            self.assertEqual(self.disk.read(n * CHUNK, PAGE), bytes(PAGE))
        self.daemon_.snapshot("s")
        self.assertGreater(self.prefetch()["queue"], 0)
        self.daemon_.quit()  # what is being read is waited for, what is not begun is not
        self.check()
