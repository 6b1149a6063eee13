# SPDX-License-Identifier: GPL-2.0-or-later
"""Points, snapshots and rollback through the monitor."""
from case import MIB, QemuTest, after_us, content, node
from lib import image


class HistoryCase(QemuTest):
    def setUp(self):
        super().setUp()
        self.daemon_, self.disk = self.daemon_with_disk(self.create(size="4M"))
        self.states = {}

    def state(self, name):
        """Writes, flushes, and remembers what the disk held and when."""
        for at in range(len(self.states) % 3, 8, 2):
            self.disk.write(at * 65536, content(f"{name} {at}", 4096))
        self.disk.flush()
        point = self.daemon_.points(limit=1)[0]
        self.states[name] = (self.held(), point["sequence"], after_us())

    def held(self):
        return self.disk.read(0, MIB)

    def go_back(self, **where):
        return self.daemon_.rollback(force=True, **where)


class Rollback(HistoryCase):
    def setUp(self):
        super().setUp()
        for name in ("one", "two", "three"):
            self.state(name)

    def test_to_a_sequence(self):
        for name in ("two", "one", "three"):
            held, sequence, _ = self.states[name]
            self.assertEqual(self.go_back(sequence=sequence)["sequence"], sequence)
            self.assertEqual(self.held(), held, name)

    def test_to_a_time(self):
        for name in ("one", "two", "three"):
            held, sequence, time = self.states[name]
            done = self.go_back(time=time)
            self.assertEqual(self.held(), held, name)
            self.assertLessEqual(done["time"], time)
            self.go_back(sequence=self.states["three"][1])

    def test_to_a_snapshot(self):
        self.daemon_.snapshot("kept")
        held = self.held()
        self.state("four")
        self.go_back(snapshot="kept")
        self.assertEqual(self.held(), held)

    def test_to_a_state_between_points(self):
        """Every sequence number is a state, not only those of points."""
        before = self.daemon_.info()["sequence"]
        self.disk.write(0, b"a" * 512)
        between = self.held()
        middle = self.daemon_.info()["sequence"]
        self.disk.write(0, b"b" * 512)
        self.assertGreater(middle, before)
        self.go_back(sequence=middle)
        self.assertEqual(self.held(), between)

    def test_undone_and_undone_again(self):
        newest = self.held()
        first = self.go_back(sequence=self.states["one"][1])
        self.go_back(sequence=first["from"])
        self.assertEqual(self.held(), newest)
        self.go_back(sequence=self.states["two"][1])
        self.assertEqual(self.held(), self.states["two"][0])

    def test_what_was_left_stays_reachable_after_writing_on(self):
        left = self.go_back(sequence=self.states["one"][1])["from"]
        self.state("other")
        branches = self.daemon_.info()["branches"]
        self.assertEqual(len(branches), 2)
        self.assertEqual([b["current"] for b in branches], [False, True])
        self.assertEqual(branches[1]["parent"], self.states["one"][1])
        other = self.held()
        self.go_back(sequence=left)
        self.assertEqual(self.held(), self.states["three"][0])
        self.go_back(sequence=self.states["other"][1])
        self.assertEqual(self.held(), other)

    def test_holds_after_reopening(self):
        self.go_back(sequence=self.states["one"][1])
        self.daemon_.quit()
        again = self.daemon()
        again.add(node("disk", self.path))
        disk = again.serve("disk")
        self.assertEqual(disk.read(0, MIB), self.states["one"][0])
        again.rollback(sequence=self.states["three"][1], force=True)
        self.assertEqual(disk.read(0, MIB), self.states["three"][0])
        again.quit()
        self.check()

    def test_brings_the_size_back(self):
        self.daemon_.snapshot("small")
        self.daemon_.stop_serving("disk")
        self.daemon_.qmp.execute("block_resize", node_name="disk", size=8 * MIB)
        with self.daemon_.serve("disk") as disk:
            disk.write(6 * MIB, b"big" * 512)
        self.daemon_.stop_serving("disk")
        self.assertEqual(self.daemon_.rollback(snapshot="small")["size"], 4 * MIB)
        self.disk = self.daemon_.serve("disk")
        self.assertEqual(self.disk.size, 4 * MIB)
        self.assertEqual(self.held(), self.states["three"][0])

    def test_emits_an_event(self):
        done = self.go_back(sequence=self.states["one"][1])
        event = self.daemon_.qmp.wait_event("PREDSNAP_ROLLBACK")["data"]
        self.assertEqual(event["node-name"], "disk")
        for key in ("from", "sequence", "time", "branch"):
            self.assertEqual(event[key], done[key])

    def test_refused_while_an_export_writes(self):
        held = self.held()
        text = self.refusal(self.daemon_.rollback, sequence=self.states["one"][1])
        self.assertSaysAll(text, "disk", "export", "force")
        self.assertEqual(self.held(), held)
        self.daemon_.stop_serving("disk")
        self.daemon_.rollback(sequence=self.states["one"][1])

    def test_refused_while_a_job_uses_the_disk(self):
        target = self.work / "target.qcow2"
        image.create(target, "qcow2", "4M")
        self.daemon_.add(image.format_node("target", "qcow2", target))
        self.daemon_.qmp.execute(
            "blockdev-mirror",
            job_id="job",
            device="disk",
            target="target",
            sync="full",
            speed=65536,
            auto_dismiss=False,
        )
        self.daemon_.stop_serving("disk")
        text = self.refusal(self.daemon_.rollback, sequence=self.states["one"][1])
        self.assertIn("disk", text)
        self.daemon_.qmp.execute("block-job-cancel", device="job", force=True)
        self.daemon_.qmp.wait_event("BLOCK_JOB_CANCELLED")

    def test_refused_of_what_is_unknown(self):
        where = self.daemon_.info()["sequence"]
        for unknown, words in (
            ({"snapshot": "never-made"}, ("disk", "never-made")),
            ({"sequence": where + 1}, ("disk", where + 1)),
            ({"sequence": (1 << 64) - 1}, ("disk",)),
            ({"time": 1}, ("disk", "history")),
            ({"time": -(1 << 63)}, ("disk",)),
        ):
            with self.subTest(unknown):
                text = self.refusal(self.go_back, **unknown)
                self.assertSaysAll(text, *words)
        self.assertEqual(self.held(), self.states["three"][0])

    def test_takes_exactly_one_of_its_three_ways(self):
        for bad in ({}, {"time": 1, "sequence": 1}, {"snapshot": "s", "sequence": 1}):
            self.assertIn("xactly one", self.refusal(self.go_back, **bad))

    def test_of_another_node_names_the_right_one(self):
        text = self.refusal(self.daemon_.rollback, node_name="nobody", sequence=1)
        self.assertSaysAll(text, "nobody", "query-predsnap")


class Points(HistoryCase):
    def test_every_flush_is_one(self):
        for name in range(5):
            self.state(name)
        flushes = [p["sequence"] for p in self.daemon_.points() if p["flush"]]
        for _, sequence, _ in self.states.values():
            self.assertIn(sequence, flushes)

    def test_come_in_order_and_tell_what_changed(self):
        self.disk.write(0, b"a" * 4096)
        self.disk.flush()
        self.disk.write(10 * 65536, b"b" * 512)
        self.disk.write(20 * 65536, b"c" * 512)
        self.disk.trim(30 * 65536, 65536)
        self.disk.flush()
        self.disk.write(0, b"d")
        points = [p for p in self.daemon_.points() if p["flush"]]
        self.assertEqual(len(points), 2)
        first, second = points
        self.assertEqual((first["bytes-changed"], first["chunks-changed"]), (4096, 1))
        self.assertEqual((second["bytes-changed"], second["chunks-changed"]), (1024 + 65536, 3))
        self.assertLess(first["sequence"], second["sequence"])
        self.assertLess(first["time"], second["time"])

    def test_since_until_and_limit(self):
        for name in range(6):
            self.state(name)
        time = {name: state[2] for name, state in self.states.items()}
        number = {state[1]: name for name, state in self.states.items()}

        def names(**which):
            return [
                number[p["sequence"]]
                for p in self.daemon_.points(**which)
                if p["sequence"] in number
            ]

        self.assertEqual(names(), [0, 1, 2, 3, 4, 5])
        self.assertEqual(names(since=time[2]), [3, 4, 5])
        self.assertEqual(names(until=time[2]), [0, 1, 2])
        self.assertEqual(names(since=time[1], until=time[3]), [2, 3])
        self.assertEqual(names(limit=2), [4, 5])
        self.assertEqual(names(until=time[3], limit=2), [2, 3])
        self.assertEqual(names(since=time[5]), [])

    def test_are_made_while_the_guest_does_not_flush(self):
        daemon = self.daemon()
        path = self.create("eager.pds")
        daemon.add(node("disk", path, **{"point-interval": 20}))
        disk = daemon.serve("disk")
        number = 0
        while not [p for p in daemon.points() if not p["flush"]][:-1]:
            disk.write(number % 64 * 4096, number.to_bytes(4, "little") * 1024)
            number += 1
        point = [p for p in daemon.points() if not p["flush"]][0]
        self.assertEqual(daemon.info()["point-interval"], 20)
        daemon.read_view(4096, sequence=point["sequence"])

    def test_event_tells_of_a_point(self):
        self.state("one")
        event = self.daemon_.qmp.wait_event("PREDSNAP_POINT")["data"]
        self.assertEqual(event["node-name"], "disk")
        found = [p for p in self.daemon_.points() if p["sequence"] == event["sequence"]]
        self.assertEqual([p["time"] for p in found], [event["time"]])

    def test_events_are_limited_to_one_a_second(self):
        began = after_us()
        for number in range(300):
            self.disk.write(0, number.to_bytes(4, "little") * 128)
            self.disk.flush()
        took_s = (after_us() - began) / 1e6
        events = [e for e in self.daemon_.qmp.poll_events() if e["event"] == "PREDSNAP_POINT"]
        self.assertGreaterEqual(len(events), 1)
        self.assertLessEqual(len(events), took_s + 1)

    def test_survive_reopening(self):
        for name in range(4):
            self.state(name)
        before = [p for p in self.daemon_.points() if p["flush"]]
        self.daemon_.quit()
        again = self.daemon()
        again.add(node("disk", self.path))
        disk = again.serve("disk")
        for _ in range(2):
            found = {point["sequence"]: point for point in again.points()}
            for point in before:
                kept = found.get(point["sequence"])
                self.assertIsNotNone(kept, f"{point} is gone")
                self.assertEqual(kept["bytes-changed"], point["bytes-changed"])
            for held, sequence, time in self.states.values():
                self.assertEqual(again.read_view(MIB, sequence=sequence), held)
                self.assertEqual(again.read_view(MIB, time=time), held)
            disk.write(0, content("later", MIB))
            disk.flush()


class Snapshots(HistoryCase):
    def test_says_what_it_made(self):
        self.state("one")
        made = self.daemon_.snapshot("first", horizon=600)
        self.assertEqual(made["name"], "first")
        self.assertEqual(made["horizon"], 600)
        self.assertEqual(made["size"], 4 * MIB)
        self.assertEqual(made["vm-state-size"], 0)
        shown = self.daemon_.info()["snapshots"][0]
        self.assertEqual(shown.pop("forecast")["horizon"], 600)
        self.assertEqual(shown, made)
        second = self.daemon_.snapshot("second")
        self.assertGreater(second["id"], made["id"])
        self.assertNotIn("horizon", second)

    def test_points_name_them(self):
        self.state("one")
        made = self.daemon_.snapshot("named")
        self.state("two")
        named = [p for p in self.daemon_.points() if p.get("snapshot")]
        self.assertEqual(
            [(p["snapshot"], p["sequence"]) for p in named], [("named", made["sequence"])]
        )

    def test_name_clash_is_refused(self):
        self.daemon_.snapshot("taken")
        text = self.refusal(self.daemon_.snapshot, "taken")
        self.assertSaysAll(text, "disk", "taken", "another name")
        self.assertEqual(len(self.daemon_.info()["snapshots"]), 1)

    def test_names_have_1_to_255_bytes(self):
        self.daemon_.snapshot("n" * 255)
        for bad in ("", "n" * 256):
            self.assertSaysAll(self.refusal(self.daemon_.snapshot, bad), "disk", "255")

    def test_deleted_name_can_be_used_again(self):
        self.state("one")
        self.daemon_.snapshot("s")
        self.daemon_.qmp.execute("predsnap-snapshot-delete", node_name="disk", name="s")
        self.assertEqual(self.daemon_.info()["snapshots"], [])
        text = self.refusal(
            self.daemon_.qmp.execute, "predsnap-snapshot-delete", node_name="disk", name="s"
        )
        self.assertSaysAll(text, "disk", "'s'")
        self.state("two")
        self.daemon_.snapshot("s")
        self.state("three")
        self.go_back(snapshot="s")
        self.assertEqual(self.held(), self.states["two"][0])

    def test_takes_what_was_written_but_not_flushed(self):
        self.disk.write(0, b"unflushed" * 512)
        held = self.held()
        self.daemon_.snapshot("s")
        self.disk.write(0, bytes(8192))
        self.daemon_.kill()
        again = self.daemon()
        again.add(node("disk", self.path))
        self.assertEqual(again.read_view(MIB, snapshot="s"), held)

    def test_qemus_own_commands_make_and_delete_them(self):
        made = self.daemon_.qmp.execute(
            "blockdev-snapshot-internal-sync", device="disk", name="own"
        )
        self.assertIsNone(made or None)
        self.assertEqual([s["name"] for s in self.daemon_.info()["snapshots"]], ["own"])
        deleted = self.daemon_.qmp.execute(
            "blockdev-snapshot-delete-internal-sync", device="disk", name="own"
        )
        self.assertEqual(deleted["name"], "own")
        self.assertEqual(self.daemon_.info()["snapshots"], [])


class Info(HistoryCase):
    def test_tells_of_each_node(self):
        self.daemon_.add(node("second", self.create("second.pds", "1M")))
        listed = self.daemon_.qmp.execute("query-predsnap")
        self.assertEqual(sorted(n["node-name"] for n in listed), ["disk", "second"])
        self.assertEqual([n["size"] for n in listed if n["node-name"] == "second"], [MIB])

    def test_follows_what_is_done(self):
        self.state("one")
        info = self.daemon_.info()
        self.assertTrue(info["writable"] and info["active"])
        self.assertFalse(info["corrupt"])
        self.assertEqual(info["durable"], info["sequence"])
        self.assertGreater(info["live-extents"], 0)
        self.assertGreater(info["map-memory"], 0)
        self.assertGreaterEqual(info["stats"]["points"], 1)
        point = self.daemon_.points(limit=1)[0]
        self.assertEqual(info["newest-point"], point["time"])
        self.disk.write(0, b"x" * 512)
        self.assertGreater(self.daemon_.info()["sequence"], self.daemon_.info()["durable"])

    def test_image_does_not_grow_far_beyond_what_is_written(self):
        self.disk.write(0, content(1, 3 * MIB))
        self.disk.flush()
        self.daemon_.quit()
        self.assertLess(self.path.stat().st_blocks * 512, 128 * MIB)

    def test_query_named_block_nodes_has_it(self):
        nodes = self.daemon_.qmp.execute("query-named-block-nodes")
        mine = [n for n in nodes if n["node-name"] == "disk"][0]
        self.assertEqual(mine["image"]["format-specific"]["type"], "predsnap")
        self.assertEqual(mine["drv"], "predsnap")

    def test_query_blockstats_has_its_counters(self):
        self.state("one")
        stats = self.daemon_.qmp.execute("query-blockstats", query_nodes=True)
        mine = [s for s in stats if s.get("node-name") == "disk"][0]
        self.assertEqual(mine["driver-specific"]["driver"], "predsnap")
        self.assertGreater(mine["driver-specific"]["batches"], 0)
        self.assertGreaterEqual(mine["driver-specific"]["points"], 1)
