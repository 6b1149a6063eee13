# SPDX-License-Identifier: GPL-2.0-or-later
"""Points, the line above them, and where the rate of change jumps."""
import time
import unittest

from case import BEGIN, SECOND, CliTest, Script


def quiet_then_attack(quiet=300, attack=60):
    """A block every ten seconds; then, 1 MiB a second. The script, and the sequence number and time of the last good point."""
    script = Script()
    for i in range(quiet):
        script.wait(10 * SECOND).write(i % 100 * 65536, 4096).flush()
    good = script.now_us
    for i in range(attack):
        script.wait(SECOND)
        for part in range(8):
            script.write((i % 40 << 20) + (part << 17), 131072)
        script.flush()
    return script, quiet, good


class Points(CliTest):
    def test_the_newest_are_listed(self):
        script = Script()
        for i in range(50):
            script.wait(SECOND).write(i * 4096, 4096).flush()
        path = self.history(script)
        listed = self.ask("points", path)
        self.assertEqual(listed["activity"]["points"], 50)
        self.assertEqual([point["sequence"] for point in listed["points"]], list(range(31, 51)))
        self.assertEqual(len(self.ask("points", path, "--limit", 0)["points"]), 50)
        self.assertEqual(len(self.ask("points", path, "--limit", 3)["points"]), 3)
        self.assertIn("47 before", self.tool("points", path, "-n", 3))

    def test_a_span_of_time(self):
        script = Script()
        for i in range(50):
            script.wait(SECOND).write(i * 4096, 4096).flush()
        path = self.history(script)
        listed = self.ask("points", path, "--since", "2026-11-20 11:00:10", "--until", "2026-11-20T12:00:20+01:00")
        self.assertEqual([point["sequence"] for point in listed["points"]], list(range(10, 21)))
        self.assertEqual(listed["activity"]["points"], 11)

    def test_around_a_time(self):
        script = Script()
        for i in range(50):
            script.wait(SECOND).write(i * 4096, 4096).flush()
        path = self.history(script)
        listed = self.ask("points", path, "--around", f"@{BEGIN + 25 * SECOND + 500_000}", "-n", 2)
        self.assertEqual([point["sequence"] for point in listed["points"]], [24, 25, 26, 27])
        self.assertEqual(listed["around"], 25)
        marked = [line for line in self.tool("points", path, "--around", "2026-11-20 11:00:25").splitlines() if line.startswith(">")]
        self.assertEqual(len(marked), 1)
        self.assertIn(" 25 ", marked[0])

    def test_the_start_of_an_attack_is_found(self):
        script, sequence, good_us = quiet_then_attack()
        path = self.history(script)
        jumps = self.ask("points", path)["jumps"]
        self.assertEqual(len(jumps), 1, jumps)
        self.assertEqual(jumps[0]["last-point-before"], sequence)
        self.assertEqual(jumps[0]["last-time-before"], good_us)
        self.assertGreater(jumps[0]["rate-after"], 100 * jumps[0]["rate-before"])
        self.assertIn(f"sequence {sequence},", self.tool("points", path))

    def test_a_steady_guest_has_no_jump(self):
        path = self.history(quiet_then_attack(attack=0)[0])
        self.assertEqual(self.ask("points", path)["jumps"], [])

    def test_the_line_fits_any_terminal(self):
        path = self.history(quiet_then_attack()[0])
        for width in (30, 80, 211):
            self.environment["COLUMNS"] = str(width)
            lines = self.tool("points", path).splitlines()
            line = next(line for line in lines if "█" in line)
            self.assertEqual(len(line), width - 1)
            self.assertGreaterEqual(line.index("█"), width // 2)
        self.environment["LC_ALL"] = "C"
        self.assertIn("#", self.tool("points", path))

    def test_snapshots_are_named(self):
        path = self.history(Script().wait(SECOND).write(0, 4096).do("S before").wait(SECOND).write(0, 4096).flush())
        self.assertIn("snapshot 'before'", self.tool("points", path))

    def test_an_empty_history(self):
        self.assertIn("0 points", self.tool("points", self.disk()))
        self.assertEqual(self.ask("points", self.disk())["points"], [])

    def test_a_time_outside_the_history_says_what_it_covers(self):
        path = self.history(Script().wait(SECOND).write(0, 4096).flush().wait(60 * SECOND).write(0, 4096).flush())
        for option, when in (("--until", "2026-11-19"), ("--around", "2026-11-20 10:00"), ("--since", "2026-11-20 12:00")):
            self.assertSaysAll(self.refusal("points", path, option, when), "2026-11-20 11:00:01.000 UTC", "2026-11-20 11:01:01.000 UTC")

    def test_times_that_mean_nothing_or_two_things(self):
        path = self.disk()
        self.environment["TZ"] = "Europe/Berlin"
        self.assertSaysAll(self.refusal("points", path, "--since", "2026-10-25 02:30"), "+02:00", "+01:00")
        self.assertSaysAll(self.refusal("points", path, "--since", "2026-03-29 02:30"), "put forward")
        self.assertSaysAll(self.refusal("points", path, "--since", "soonish"), "soonish", "times are like")
        self.assertIn("after", self.refusal("points", path, "--since", "-1h", "--until", "-2h"))

    def test_over_a_monitor(self):
        path = self.history(quiet_then_attack()[0])
        offline = self.ask("points", path)
        self.daemon(path)
        online = self.ask("points", self.socket)
        self.assertEqual(online["points"], offline["points"])
        self.assertEqual(online["jumps"], offline["jumps"])


class Many(CliTest):
    """What it takes is told: at most 200 ms on a machine that does nothing else."""

    def test_100000_points(self):
        script = Script()
        for i in range(100_000):
            script.wait(40_000).write(i * 7919 % 16384 * 4096, 4096).flush()
        path = self.history(script)
        for what, target in (("an image", path), ("a monitor", self.socket)):
            if what == "a monitor":
                self.daemon(path)
            took = []
            for _ in range(3):
                begin = time.monotonic()
                self.assertIn("100,000 points", self.tool("points", target))
                took.append(time.monotonic() - begin)
            print(f"    points of {what} with 100,000: {min(took) * 1000:.0f} ms", flush=True)


if __name__ == "__main__":
    unittest.main()
