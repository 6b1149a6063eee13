# SPDX-License-Identifier: GPL-2.0-or-later
"""tools/bench/replay and what it drives, on a trace made here: that figures are there and that lies are noticed."""
import json
import random
import subprocess
import sys

from case import MIB, QemuTest
from lib import paths, process

sys.path.append(str(paths.CHECKOUT / "tools/bench"))

from suite.replay_client import ReplayClient, program  # noqa: E402
from suite.settings import BenchError  # noqa: E402

REPLAY = paths.CHECKOUT / "tools/bench/replay"
BUILD = paths.CHECKOUT / "build"
HEADER = "time_us,op,offset_bytes,length_bytes\n"
POINTS_S = 10
SPAN_S = 45


def small_trace(seed=1, requests=400, disk=8 * MIB):
    """Requests of whole sectors, some alone and some at once, half of them in a hot sixteenth of the disk."""
    draw = random.Random(seed)
    lines, time_us = [HEADER], 0
    for _ in range(requests):
        time_us += draw.choice((0, 50, SPAN_S * 3_000_000 // requests))
        length = draw.choice((512, 1536, 4096, 4096, 16384, 131072))
        sectors = (disk // draw.choice((1, 16)) - length) // 512
        lines.append(f"{time_us},{draw.choice('WWWR')},{draw.randrange(sectors) * 512},{length}\n")
    return "".join(lines)


class ReplayTest(QemuTest):
    def trace(self, text):
        path = self.work / "small.csv"
        path.write_text(text, encoding="ascii")
        return path

    def replay(self, trace, *arguments):
        command = [REPLAY, trace, "--quick", "--json", "--dir", self.work, "--points", POINTS_S, *arguments]
        return json.loads(process.run(command))["traces"][trace.name]

    def refusal_of(self, *arguments):
        command = [str(argument) for argument in (REPLAY, *arguments, "--dir", self.work)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_every_disk_is_measured_and_verified(self):
        kinds = "predsnap,predsnap-cdp,qcow2-overlays,qcow2-overlays-4k,qcow2-snapshots,raw,engine"
        run = self.replay(self.trace(small_trace()), "--disk", kinds)
        written = run["trace"]["written_bytes"]
        self.assertEqual(list(run["disks"]), kinds.split(","))
        for kind, result in run["disks"].items():
            with self.subTest(kind):
                self.assertEqual(result["client"]["write"]["bytes"], written)
                self.assertEqual(result["client"]["write"]["requests"], run["trace"]["writes"])
                self.assertEqual(result["points"], int(run["trace"]["span_us"] / 1e6 // POINTS_S) + 1)
                self.assertEqual(len(result["verified"]), 1 if kind == "raw" else 4)
                self.assertGreater(min(result["verified"].values()), 0)
                self.assertGreater(result["space"]["quiet"], 0)
                self.assertGreaterEqual(result["written"]["quiet"], written)
                self.assertGreater(result["figures"]["space / qcow2-overlays, quiet"], 0)
        for kind in ("predsnap", "predsnap-cdp", "engine"):
            self.assertGreater(run["disks"][kind]["figures"]["log bytes / guest byte"], 1)

    def test_options_of_the_node_and_the_length_are_taken(self):
        trace = self.trace(small_trace())
        run = self.replay(trace, "-d", "predsnap,engine", "--option", "cdp-window=7", "--until", 21)
        history = run["disks"]["predsnap"]["counters"]["quiet"]["history"]
        self.assertEqual(history["cdp-window"], 7)
        self.assertEqual(run["disks"]["engine"]["points"], 3)
        self.assertLess(run["trace"]["requests"], 400)

    def test_rules_for_old_history_are_taken(self):
        rules = '[{"every": 10, "for": 3600}]'
        run = self.replay(
            self.trace(small_trace()),
            *("-d", "predsnap,engine", "--option", "cdp-window=7", "--option", f"retention={rules}"),
        )
        history = run["disks"]["predsnap"]["counters"]["quiet"]["history"]
        self.assertEqual(history["retention"], json.loads(rules))
        self.assertEqual(len(run["disks"]["engine"]["verified"]), 4)

    def test_without_points_only_the_disk_is_verified(self):
        run = self.replay(self.trace(small_trace()), "-d", "predsnap,engine", "--points", 0)
        for result in run["disks"].values():
            self.assertEqual(result["points"], 0)
            self.assertEqual(list(result["verified"]), ["now"])

    def test_the_pace_is_the_trace_s(self):
        run = self.replay(
            self.trace(HEADER + "0,W,0,4096\n20000000,W,4096,4096\n"),
            *("-d", "raw", "--timing", "scaled", "--speed", "20"),
        )
        self.assertGreater(run["disks"]["raw"]["replay seconds"], 0.95)

    def test_a_trace_that_is_wrong_is_named_with_its_line(self):
        trace = self.trace(HEADER + "0,W,0,4096\n1,W,1,4096\n")
        self.assertIn(f"{trace}:3: offset and length must be multiples of 512", self.refusal_of(trace))
        self.assertIn("No such file", self.refusal_of(self.work / "none.csv"))

    def test_bad_arguments_are_refused(self):
        trace = self.trace(small_trace())
        self.assertIn("no disk 'floppy'", self.refusal_of(trace, "--disk", "floppy"))
        self.assertIn("not a mix", self.refusal_of(trace, "--mix", "50:50:50"))
        self.assertIn("'weight'", self.refusal_of(trace, "--option", "weight=x", "--disk", "predsnap"))


class ReplayClientTest(QemuTest):
    """replay-client on a disk that somebody else writes to, too."""

    def setUp(self):
        super().setUp()
        self.daemon_, self.disk = self.daemon_with_disk()
        trace = self.work / "small.csv"
        trace.write_text(HEADER + "0,W,0,65536\n5000000,R,0,65536\n", encoding="ascii")
        self.assertTrue(program(BUILD))
        self.client = ReplayClient(BUILD, trace, self.daemon_.url("disk"), [], self.work / "client.log")
        self.addCleanup(self.client.__exit__)

    def test_a_read_of_something_else_is_an_error_with_its_offset(self):
        self.assertFalse(self.client.run(1))
        self.disk.write(8192 + 512, bytes([7]) * 512)
        with self.assertRaisesRegex(BenchError, "read of 65536 bytes at offset 0.*offset 8704 must have version 1"):
            self.client.run(6)

    def test_verifying_finds_what_was_written_behind_its_back(self):
        self.client.run(1)
        self.client.keep("p1")
        self.assertGreater(self.client.verify("p1", self.daemon_.url("disk")), 0)
        self.disk.write(MIB // 2, bytes([7]) * 512)  # where the trace has nothing
        with self.assertRaisesRegex(BenchError, f"offset {MIB // 2} must have version 0"):
            self.client.verify("now", self.daemon_.url("disk"))

    def test_a_command_that_is_none_is_refused(self):
        with self.assertRaisesRegex(BenchError, "'fly away' is no command"):
            self.client.command("fly", "away")
