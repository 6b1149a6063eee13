# SPDX-License-Identifier: GPL-2.0-or-later
"""How much history is kept: cdp-window and cdp-bytes; and that the image does not grow for ever."""
from case import MIB, QemuTest, content, node
from lib import process

SEGMENT = MIB
BLOCK = 65536


class RetentionCase(QemuTest):
    """An image of small segments, of which a test soon fills many."""

    def start(self, size="16M", **options):
        path = self.create(size=size, options=[f"segment_size={SEGMENT}"])
        self.daemon_, self.disk = self.daemon_with_disk(path, **options)
        self.written = {}
        self.rounds = 0

    def write(self, at, seed):
        self.written[at] = content(seed, BLOCK)
        self.disk.write(at, self.written[at])

    def churn(self, megabytes, span=4 * MIB):
        """Writes over the disk's first bytes again and again."""
        for at in range(0, megabytes * MIB, BLOCK):
            self.write(at % span, f"{self.rounds} {at}")
            if at % MIB == 0:
                self.disk.flush()
        self.rounds += 1
        self.disk.flush()

    def assertHolds(self):
        for at, data in self.written.items():
            self.assertEqual(self.disk.read(at, BLOCK), data, f"at {at}")

    def reopen(self, **options):
        self.daemon_.qmp.execute(
            "blockdev-reopen", options=[node("disk", self.path, **options)]
        )

    def begins_after(self, sequence):
        """Waits until history begins after a state: it is dropped in the background, as the guest writes."""

        def dropped():
            self.churn(2)
            return self.daemon_.info()["history"]["sequence"] > sequence

        process.wait_until(dropped, f"history after {sequence}")


class Window(RetentionCase):
    def test_everything_is_kept_unless_asked_otherwise(self):
        self.start()
        self.churn(12)
        history = self.daemon_.info()["history"]
        self.assertEqual(history, {"sequence": 0, "streams": 0, "retention": []})
        self.assertEqual({point["kept"] for point in self.daemon_.points()}, {"all"})

    def test_no_window_keeps_no_history_and_the_image_stays_small(self):
        self.start(**{"cdp-window": 0})
        self.churn(160)
        info = self.daemon_.info()
        self.assertGreater(info["history"]["sequence"], 0)
        self.assertEqual(info["history"]["cdp-window"], 0)
        self.assertGreater(info["stats"]["reclaimed-segments"], 50)
        self.assertLess(info["image-size"], 48 * MIB)
        self.assertHolds()
        said = self.refusal(self.daemon_.rollback, sequence=1, force=True)
        self.assertSaysAll(said, "disk", "1", "begins at")
        self.assertHolds()
        self.daemon_.quit()
        self.check()

    def test_a_window_is_kept(self):
        self.start(**{"cdp-window": 3600})
        self.churn(4)
        early = self.daemon_.info()["sequence"]
        held = self.disk.read(0, MIB)
        self.churn(24)
        self.assertEqual(self.daemon_.info()["history"]["sequence"], 0)
        self.assertEqual({point["kept"] for point in self.daemon_.points()}, {"window"})
        self.assertEqual(self.daemon_.read_view(MIB, sequence=early), held)

    def test_a_snapshot_outlives_the_window(self):
        self.start(**{"cdp-window": 0})
        self.churn(4)
        self.daemon_.snapshot("kept")
        held = self.disk.read(0, 4 * MIB)
        self.churn(40)
        self.assertIn("snapshot", {point["kept"] for point in self.daemon_.points()})
        self.assertEqual(self.daemon_.read_view(4 * MIB, snapshot="kept"), held)
        info = self.daemon_.info()
        kept = info["snapshots"][0]["sequence"]
        self.assertGreater(info["history"]["sequence"], kept)
        self.assertGreater(info["history"]["streams"], 0)
        newest = self.disk.read(0, 4 * MIB)
        left = self.daemon_.rollback(snapshot="kept", force=True)["from"]
        self.assertEqual(self.disk.read(0, 4 * MIB), held)
        self.daemon_.rollback(sequence=left, force=True)
        self.assertEqual(self.disk.read(0, 4 * MIB), newest)
        self.daemon_.qmp.execute("predsnap-snapshot-delete", node_name="disk", name="kept")

        def dropped():
            self.churn(2)
            return self.daemon_.info()["history"]["streams"] == 0

        process.wait_until(dropped, "the stream to be dropped")
        self.assertHolds()
        self.daemon_.quit()
        self.check()


class Limits(RetentionCase):
    def test_they_can_be_changed_and_are_stored_in_the_image(self):
        self.start()
        self.churn(12)
        self.reopen(**{"cdp-window": 0, "cdp-bytes": 64 * MIB})
        self.begins_after(0)
        self.daemon_.quit()
        self.daemon_, self.disk = self.daemon_with_disk(self.path)
        history = self.daemon_.info()["history"]
        self.assertEqual(history["cdp-window"], 0)
        self.assertEqual(history["cdp-bytes"], 64 * MIB)
        self.assertGreater(history["sequence"], 0)
        self.assertGreater(history["time"], 0)
        self.reopen(**{"cdp-window": -1, "cdp-bytes": 0})
        history = self.daemon_.info()["history"]
        self.assertNotIn("cdp-window", history)
        self.assertNotIn("cdp-bytes", history)
        self.assertHolds()

    def test_what_is_not_given_stays(self):
        self.start(**{"cdp-window": 77})
        self.reopen(**{"cdp-bytes": 64 * MIB})
        history = self.daemon_.info()["history"]
        self.assertEqual((history["cdp-window"], history["cdp-bytes"]), (77, 64 * MIB))

    def test_bytes_shorten_the_window_and_it_is_said(self):
        self.start(**{"cdp-window": 3600, "cdp-bytes": 8 * SEGMENT})
        self.churn(32)
        data = self.daemon_.qmp.wait_event("PREDSNAP_WINDOW_SHRUNK")["data"]
        self.assertEqual(data["node-name"], "disk")
        self.assertEqual(data["cdp-window"], 3600)
        self.assertGreater(data["sequence"], 0)
        self.assertIn("bytes", data["reason"])
        segments = self.daemon_.info()["segments"]
        self.assertLessEqual(segments["log"] - segments["past"], 12)
        self.assertHolds()

    def test_those_that_cannot_work_are_refused_with_the_least(self):
        path = self.create(options=[f"segment_size={SEGMENT}"])
        daemon = self.daemon()
        said = self.refusal(daemon.add, node("disk", path, **{"cdp-bytes": SEGMENT}))
        self.assertSaysAll(said, 4 * SEGMENT)
        said = self.refusal(daemon.add, node("disk", path, **{"cdp-window": -2}))
        self.assertSaysAll(said, "cdp-window", "-1")
        daemon.add(node("disk", path))
        self.path, self.daemon_ = path, daemon
        said = self.refusal(self.reopen, **{"cdp-bytes": 2 * SEGMENT})
        self.assertSaysAll(said, "disk", "cdp-bytes", 4 * SEGMENT)

    def test_rules_that_contradict_are_refused(self):
        path = self.create(options=[f"segment_size={SEGMENT}"])
        daemon = self.daemon()
        rule = {"every": 60, "for": 600}
        said = self.refusal(daemon.add, node("disk", path, retention=[rule]))
        self.assertSaysAll(said, "window")
        wrong = {"cdp-window": 700, "retention": [rule]}
        self.assertSaysAll(self.refusal(daemon.add, node("disk", path, **wrong)), "700 s", "600 s")
        wrong = {"cdp-window": 0, "retention": [{"every": 0, "for": 600}]}
        self.assertSaysAll(self.refusal(daemon.add, node("disk", path, **wrong)), "every", "from 1")
        wrong = {"cdp-window": 0, "retention": [{"every": 60}]}
        self.assertSaysAll(self.refusal(daemon.add, node("disk", path, **wrong)), "for")
        daemon.add(node("disk", path))
        self.path, self.daemon_ = path, daemon
        self.assertSaysAll(self.refusal(self.reopen, retention=[rule]), "disk", "retention", "window")
        self.reopen(**{"cdp-window": 60, "retention": [rule, {"every": 3600, "for": 7200}]})
        rules = daemon.info()["history"]["retention"]
        self.assertEqual(rules, [rule, {"every": 3600, "for": 7200}])
        self.reopen(retention=[])
        self.assertEqual(daemon.info()["history"]["retention"], [])

    def test_rules_keep_points_beyond_the_window(self):
        self.start(**{"point-interval": 0, "cdp-window": 1, "retention": [{"every": 2, "for": 20}]})
        held = {}

        def old_points():
            points = self.daemon_.points()
            return [point for point in points if point["kept"] == "rule"]

        def enough():
            for at in range(0, 4 * MIB, BLOCK):
                self.write(at, f"{self.rounds} {at}")
            self.rounds += 1
            self.disk.flush()
            # The newest point of all may be what background work has made since, with the same content.
            held[[p["sequence"] for p in self.daemon_.points() if p["flush"]][-1]] = dict(self.written)
            return len(old_points()) >= 3

        process.wait_until(enough, "points that a rule keeps")
        old = old_points()
        periods = [point["time"] // 2_000_000 for point in old]
        self.assertEqual(len(periods), len(set(periods)), old)
        self.daemon_.kill()
        self.daemon_, self.disk = self.daemon_with_disk(self.path)
        self.assertHolds()
        kept = [point["sequence"] for point in old if point["flush"]]
        self.assertGreaterEqual(len(kept), len(old) - 1, "beside the empty disk only flushes")
        for sequence in kept:
            self.daemon_.add_view(f"view-{sequence}", sequence=sequence)
            with self.daemon_.serve(f"view-{sequence}", writable=False) as client:
                for at, data in held[sequence].items():
                    self.assertEqual(client.read(at, BLOCK), data, f"at {at}")

    def test_an_open_view_stays_what_it_is(self):
        self.start(**{"cdp-window": 0})
        self.churn(4)
        held = self.disk.read(0, 4 * MIB)
        self.daemon_.add_view("then", sequence=self.daemon_.info()["sequence"])
        self.begins_after(self.daemon_.info()["sequence"])
        self.churn(24)
        with self.daemon_.serve("then", writable=False) as client:
            self.assertEqual(client.read(0, 4 * MIB), held)

    def test_killed_in_the_middle(self):
        self.start(**{"cdp-window": 0})
        for _ in range(4):
            self.churn(24)
            self.daemon_.kill()
            self.daemon_, self.disk = self.daemon_with_disk(self.path)
            self.assertHolds()
        self.daemon_.quit()
        self.check()
