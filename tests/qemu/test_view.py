# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk as it was, as a node of its own."""
import json

from case import MIB, QemuTest, after_us, content, node
from lib import image


class View(QemuTest):
    def setUp(self):
        super().setUp()
        self.daemon_, self.disk = self.daemon_with_disk(self.create(size="4M"))
        self.old = content("old", MIB) + bytes(MIB) + content("old too", 2 * MIB)
        self.disk.write(0, self.old[:MIB])
        self.disk.write(2 * MIB, self.old[2 * MIB :])
        self.disk.flush()
        self.time = after_us()
        self.made = self.daemon_.snapshot("before")

    def write_on(self, seed="new"):
        self.disk.write(0, content(seed, 4 * MIB))

    def view(self, **where):
        self.daemon_.add_view("old", **(where or {"snapshot": "before"}))
        return self.daemon_.serve("old", writable=False)

    def held(self, client, length=4 * MIB):
        return client.read(0, length)

    def test_of_a_snapshot_a_time_and_a_sequence_are_the_same(self):
        self.write_on()
        for where in (
            {"snapshot": "before"},
            {"time": self.time},
            {"sequence": self.made["sequence"]},
        ):
            self.assertEqual(self.daemon_.read_view(4 * MIB, **where), self.old, where)

    def test_does_not_move_while_the_disk_is_written(self):
        view = self.view()
        self.assertEqual(self.held(view), self.old)
        for seed in range(3):
            self.write_on(seed)
            self.disk.trim(MIB, MIB)
            self.disk.flush()
            self.assertEqual(self.held(view), self.old)

    def test_stays_when_the_disk_is_taken_back_and_forth(self):
        self.write_on()
        self.disk.flush()
        newer = self.daemon_.info()["sequence"]
        self.daemon_.add_view("newer", sequence=newer)
        view, newer_view = self.view(), self.daemon_.serve("newer", writable=False)
        self.daemon_.rollback(snapshot="before", force=True)
        self.assertEqual(self.held(view), self.old)
        self.assertEqual(self.held(newer_view), content("new", 4 * MIB))
        self.daemon_.rollback(sequence=newer, force=True)
        self.assertEqual(self.held(view), self.old)
        self.assertEqual(self.held(newer_view), content("new", 4 * MIB))

    def test_has_the_size_of_its_moment(self):
        self.daemon_.stop_serving("disk")
        self.daemon_.qmp.execute("block_resize", node_name="disk", size=8 * MIB)
        view = self.view()
        self.assertEqual(view.size, 4 * MIB)
        self.assertEqual(self.held(view), self.old)

    def test_of_a_bigger_past_shows_what_was_cut_off(self):
        self.daemon_.stop_serving("disk")
        self.daemon_.qmp.execute("block_resize", node_name="disk", size=MIB)
        view = self.view()
        self.assertEqual(view.size, 4 * MIB)
        self.assertEqual(self.held(view), self.old)

    def test_shows_the_backing_where_nothing_was_written(self):
        below = content("below", 4 * MIB)
        base = self.raw("base.raw", below)
        path = self.create("over.pds", size=None, backing=(base, "raw"))
        self.daemon_.add(node("over", path))
        over = self.daemon_.serve("over")
        over.write(MIB, b"1" * 4096)
        self.daemon_.snapshot("s", node_name="over")
        over.write(0, content("later", 4 * MIB))
        self.assertEqual(
            self.daemon_.read_view(4 * MIB, chain="over", snapshot="s"),
            below[:MIB] + b"1" * 4096 + below[MIB + 4096 :],
        )

    def test_block_status_tells_its_holes(self):
        self.write_on()
        self.view()
        mapped = json.loads(
            image.qemu_img("map", "--output=json", "-f", "raw", self.daemon_.url("old"))
        )
        zeros = [(p["start"], p["length"]) for p in mapped if p["zero"]]
        self.assertEqual(zeros, [(MIB, MIB)])

    def test_writable_clone_leaves_disk_and_view_alone(self):
        self.daemon_.add_view("old", snapshot="before")
        path = self.work / "clone.qcow2"
        image.create(path, "qcow2", "4M")
        self.daemon_.add(image.format_node("clone", "qcow2", path, backing="old"))
        clone = self.daemon_.serve("clone")
        self.write_on()
        clone.write(4096, b"c" * 4096)
        self.assertEqual(self.held(clone), self.old[:4096] + b"c" * 4096 + self.old[8192:])
        self.assertEqual(self.held(self.disk), content("new", 4 * MIB))
        self.assertEqual(self.daemon_.read_view(4 * MIB, snapshot="before"), self.old)

    def test_many_at_once(self):
        states = []
        for number in range(12):
            self.write_on(number)
            states.append(self.daemon_.info()["sequence"])
        for number, sequence in enumerate(states):
            self.daemon_.add_view(f"v{number}", sequence=sequence)
        self.assertEqual(self.daemon_.info()["views"], 12)
        for number in (7, 0, 11, 3):
            client = self.daemon_.serve(f"v{number}", writable=False)
            self.assertEqual(self.held(client), content(number, 4 * MIB), number)
        for number in (1, 2, 4):
            self.daemon_.remove(f"v{number}")
        self.assertEqual(self.daemon_.info()["views"], 9)

    def test_outlives_the_deletion_of_its_snapshot(self):
        view = self.view()
        self.write_on()
        self.daemon_.qmp.execute("predsnap-snapshot-delete", node_name="disk", name="before")
        self.write_on("more")
        self.assertEqual(self.held(view), self.old)

    def test_stays_with_its_disk_when_an_overlay_covers_that(self):
        view = self.view()
        path = self.work / "top.qcow2"
        image.create(path, "qcow2", "4M")
        self.daemon_.add(image.format_node("top", "qcow2", path, backing=None))
        self.daemon_.qmp.execute("blockdev-snapshot", node="disk", overlay="top")
        self.write_on()
        self.assertEqual(self.held(view), self.old)
        self.assertEqual(self.daemon_.read_view(4 * MIB, snapshot="before"), self.old)

    def test_cannot_be_written(self):
        self.daemon_.add_view("old", snapshot="before")
        text = self.refusal(self.daemon_.serve, "old")
        self.assertIn("read-only", text.lower())
        text = self.refusal(
            self.daemon_.qmp.execute,
            "blockdev-reopen",
            options=[
                {
                    "driver": "predsnap-view",
                    "node-name": "old",
                    "chain": "disk",
                    "snapshot": "before",
                    "read-only": False,
                }
            ],
        )
        self.assertSaysAll(text, "old", "overlay")

    def test_of_the_unknown_is_refused(self):
        newest = self.daemon_.info()["sequence"]
        for where, words in (
            ({"snapshot": "never-made"}, ("disk", "never-made")),
            ({"sequence": newest + 1}, ("disk", newest + 1)),
            ({"time": 1}, ("disk", "history")),
            ({}, ("xactly one",)),
            ({"time": 1, "sequence": 1}, ("xactly one",)),
        ):
            with self.subTest(where):
                self.assertSaysAll(self.refusal(self.daemon_.add_view, "bad", **where), *words)

    def test_of_another_node_names_the_right_one(self):
        below = {
            "driver": "raw",
            "node-name": "plain",
            "file": image.file_node(self.raw("p", bytes(512))),
        }
        self.daemon_.add(below)
        text = self.refusal(self.daemon_.add_view, "bad", chain="plain", snapshot="s")
        self.assertSaysAll(text, "plain", "predsnap")

    def test_keeps_its_disk_from_being_removed(self):
        self.view()
        self.daemon_.stop_serving("disk")
        text = self.refusal(self.daemon_.remove, "disk")
        self.assertIn("in use", text)
