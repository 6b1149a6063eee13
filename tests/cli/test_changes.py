# SPDX-License-Identifier: GPL-2.0-or-later
"""diff, and the command of the driver it stands on: to the sector, whatever happened between."""
import random

from case import SECOND, CliTest, Script
from lib import image
from lib.qmp import QmpError

SECTOR = 512
DISK = 8 << 20


class Model:
    """What each sector of each state was written with."""

    def __init__(self, sectors):
        self.states = [[0] * sectors]
        self.script = Script()
        self._random = random.Random(7)

    @property
    def now(self):
        return self.states[-1]

    def _next(self, first, count, value):
        content = list(self.now)
        for sector in range(first, first + count):
            content[sector] = value(sector) if callable(value) else value
        self.states.append(content)

    def step(self):
        choose = self._random.random()
        first = self._random.randrange(len(self.now))
        count = min(self._random.choice((1, 3, 8, 8, 16, 100)), len(self.now) - first)
        number = self._random.randrange(1, 4)  # few, so that the same content comes again
        if choose < 0.1:
            self.script.do(f"Z {first * SECTOR} {count * SECTOR}")
            self._next(first, count, 0)
        elif choose < 0.2:
            self.script.do(f"D {first * SECTOR} {count * SECTOR}")
            self._next(first, count, 0)
        elif choose < 0.24:
            target = self._random.randrange(len(self.states))
            self.script.do(f"R {target}")
            self.states.append(list(self.states[target]))
        else:
            self.script.write(first * SECTOR, count * SECTOR, number)
            self._next(first, count, number)

    def difference(self, a, b):
        ranges = []
        for sector, (x, y) in enumerate(zip(self.states[a], self.states[b])):
            if x != y:
                if ranges and ranges[-1][0] + ranges[-1][1] == sector * SECTOR:
                    ranges[-1][1] += SECTOR
                else:
                    ranges.append([sector * SECTOR, SECTOR])
        return ranges


class Diff(CliTest):
    def ranges(self, *arguments):
        found = self.ask("diff", *arguments)
        self.assertEqual(found["bytes"], sum(r["length"] for r in found["ranges"]))
        return [[r["offset"], r["length"]] for r in found["ranges"]]

    def test_any_two_states_to_the_sector(self):
        model = Model(DISK // SECTOR)
        for _ in range(300):
            model.step()
        path = self.history(model.script, size=DISK)
        self.assertEqual(self.ask("info", path)["sequence"], 300)
        pick = random.Random(3)
        for _ in range(12):
            a, b = pick.randrange(301), pick.randrange(301)
            self.assertEqual(self.ranges(path, f"sequence:{a}", f"sequence:{b}"), model.difference(a, b), f"{a}, {b}")
        self.assertEqual(self.ranges(path, "sequence:17"), model.difference(17, 300))
        self.assertEqual(self.ranges(path, "sequence:300"), [])

    def test_in_pieces_it_is_the_same(self):
        model = Model(DISK // SECTOR)
        for _ in range(100):
            model.step()
        path = self.history(model.script, size=DISK)
        daemon = self.daemon(path)
        ranges, offset, calls = [], 0, 0
        while offset is not None:
            part = daemon.qmp.execute(
                "predsnap-query-changes", node_name="disk0", **{"from": {"sequence": 10}}, to={"sequence": 90}, offset=offset,
                limit=5, compare=65536,
            )
            for found in part["ranges"]:
                if ranges and sum(ranges[-1]) == found["offset"]:
                    ranges[-1][1] += found["length"]
                else:
                    ranges.append([found["offset"], found["length"]])
            offset = part.get("next")
            calls += 1
        self.assertEqual(ranges, model.difference(10, 90))
        self.assertGreater(calls, 3)

    def test_what_lies_below_counts(self):
        base = self.work / "base.raw"
        base.write_bytes(b"\x11" * (1 << 20))
        path = self.work / "over.pds"
        image.qemu_img("create", "-q", "-f", "predsnap", "-b", base, "-F", "raw", path)
        self.io(path, "write -P 0x11 0 64k", "flush", "write -P 0x22 128k 4k", "flush")
        self.assertEqual(self.ranges(path, "sequence:0"), [[131072, 4096]])

    def test_another_size(self):
        path = self.disk(size="1M")
        self.io(path, "write -P 1 0 4k", "flush")
        self.tool("snapshot", "create", path, "small")
        image.qemu_img("resize", "-q", "-f", "predsnap", path, "2M")
        self.assertEqual(self.ranges(path, "small"), [[1 << 20, 1 << 20]])

    def test_after_the_history_was_put_away(self):
        path = self.work / "disk.pds"
        image.qemu_img("create", "-q", "-f", "predsnap", "-o", "segment_size=64k", path, "8M")
        self.io(path, "write -P 1 0 1M", "flush")
        self.tool("snapshot", "create", path, "first")
        self.io(path, "write -P 2 512k 1M", "flush")
        self.tool("snapshot", "create", path, "second")
        self.io(path, "write -P 3 0 4k", "flush")
        daemon = self.daemon(path)
        daemon.qmp.command("blockdev-reopen", {"options": [image.format_node("disk0", "predsnap", path, **{"cdp-window": 0})]})
        self.tool("coalesce", self.socket)
        self.assertGreater(self.ask("info", self.socket)["history"]["streams"], 0)
        self.assertEqual(self.ranges(self.socket, "first", "second"), [[512 << 10, 1 << 20]])
        self.assertEqual(self.ranges(self.socket, "second"), [[0, 4096]])

    def test_text(self):
        path = self.history(Script().wait(SECOND).write(4096, 8192).flush().wait(SECOND).write(65536, 512).flush())
        text = self.tool("diff", path, 0)
        self.assertSaysAll(text, "8.5 KiB differ, in 2 ranges", "4096           8192", "65536            512")
        self.assertIn("1 more", self.tool("diff", path, 0, "-n", 1))

    def test_refusals(self):
        path = self.history(Script().wait(SECOND).write(0, 4096).flush())
        self.assertSaysAll(self.refusal("diff", path, "sequence:9"), "sequence 9", "ends at 1")
        self.assertSaysAll(self.refusal("diff", path, "2020-01-01"), "2020-01-01", "before the history", "2026-11-20 11:00")
        self.assertSaysAll(self.refusal("diff", path, "nosuch"), "'nosuch'", "it has none")
        daemon = self.daemon(path)
        for wrong, word in (({"offset": 5}, "512"), ({"limit": 0}, "limit"), ({"to": {}}, "Exactly one")):
            with self.assertRaises(QmpError) as refused:
                daemon.qmp.execute("predsnap-query-changes", node_name="disk0", **{"from": {"sequence": 0}, **wrong})
            self.assertIn(word, refused.exception.desc)
