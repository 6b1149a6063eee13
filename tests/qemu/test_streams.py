# SPDX-License-Identifier: GPL-2.0-or-later
"""How old history is kept: compression-level, and what its points say of what changed."""
from case import MIB, QemuTest, content, node
from lib import process

BLOCK = 65536


class StreamsCase(QemuTest):
    def start(self, **options):
        path = self.create(size="16M", options=[f"segment_size={MIB}"])
        self.daemon_, self.disk = self.daemon_with_disk(path, **{"cdp-window": 0, **options})

    def reopen(self, **options):
        self.daemon_.qmp.execute("blockdev-reopen", options=[node("disk", self.path, **options)])

    def write_text(self, seed):
        lines = "".join(f"{seed} {i * i % 9973} the quick brown fox {i % 97};" for i in range(200000))
        self.disk.write(0, lines.encode()[: 4 * MIB])
        self.disk.flush()

    def until_old(self, name):
        """Writes until the snapshot lies before where history begins."""
        [snapshot] = [s for s in self.daemon_.info()["snapshots"] if s["name"] == name]

        def old():
            for at in range(4 * MIB, 8 * MIB, BLOCK):
                self.disk.write(at, content(f"{name} {at}", BLOCK))
            self.disk.flush()
            return self.daemon_.info()["history"]["sequence"] > snapshot["sequence"]

        process.wait_until(old, f"history after {name}")


class CompressionLevel(StreamsCase):
    def sealed(self, level):
        """What a byte of the same history takes at that level."""
        self.start(**{"compression-level": level})
        self.write_text("one")
        self.daemon_.snapshot("old")
        self.write_text("two")
        self.until_old("old")
        stats = self.daemon_.info()["stats"]
        self.daemon_.rollback(snapshot="old", force=True)
        first = self.disk.read(0, 100)
        self.assertTrue(first.startswith(b"one 0 the quick"), first)
        self.daemon_.quit()
        self.check()
        return stats["stream-bytes"] / stats["sealed-bytes"]

    def test_a_higher_one_makes_old_history_smaller(self):
        self.assertLess(self.sealed(19), self.sealed(1))

    def test_it_is_shown_and_reopen_changes_it(self):
        self.start()
        self.assertEqual(self.daemon_.info()["compression-level"], 1)
        self.reopen(**{"compression-level": 7})
        self.assertEqual(self.daemon_.info()["compression-level"], 7)
        self.reopen()
        self.assertEqual(self.daemon_.info()["compression-level"], 1)

    def test_nonsense_is_refused(self):
        path = self.create(size="16M")
        daemon = self.daemon()
        for level in (0, 20):
            said = self.refusal(daemon.add, node("disk", path, **{"compression-level": level}))
            self.assertSaysAll(said, "compression-level", "1", "19")


class Changes(StreamsCase):
    def change_of(self, name):
        [point] = [p for p in self.daemon_.points() if p.get("snapshot") == name]
        kinds = [point[f"chunks-{kind}"] for kind in ("added", "modified", "discarded")]
        self.assertEqual(point["chunks-changed"], sum(kinds))
        return kinds + [point["bytes-changed"]]

    def test_points_say_what_became_of_chunks_also_when_they_are_old(self):
        self.start()
        self.disk.write(0, b"a" * (2 * BLOCK))
        self.daemon_.snapshot("first")
        self.disk.write(BLOCK, b"b" * (3 * BLOCK))
        self.disk.write(BLOCK, b"c" * 512)
        self.disk.write_zeroes(0, BLOCK)
        self.daemon_.snapshot("second")
        self.assertEqual(self.change_of("second"), [2, 1, 1, 4 * BLOCK + 512])
        self.until_old("second")
        self.assertEqual(self.change_of("first"), [0, 0, 0, 0])  # what was before is not known
        self.assertEqual(self.change_of("second"), [2, 1, 1, 4 * BLOCK])
