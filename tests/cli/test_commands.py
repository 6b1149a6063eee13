# SPDX-License-Identifier: GPL-2.0-or-later
"""snapshot, info, stats, threshold, coalesce, check, watch."""
import json
import signal
import subprocess
import time

from case import CliTest, program
from lib import image


class Snapshots(CliTest):
    def test_made_listed_and_deleted(self):
        path = self.disk()
        self.io(path, "write -P 1 0 4k", "flush")
        self.assertEqual(self.ask("snapshot", "create", path, "a", "--horizon", 60)["horizon"], 60)
        self.tool("snapshot", "create", path, "b")
        self.assertEqual([s["name"] for s in self.ask("snapshot", "list", path)], ["a", "b"])
        self.assertSaysAll(self.tool("snapshot", "list", path), "NAME", "a ", "b ")
        self.tool("snapshot", "delete", path, "a", "--yes")
        self.assertEqual([s["name"] for s in self.ask("snapshot", "list", path)], ["b"])

    def test_refusals(self):
        path = self.disk()
        self.tool("snapshot", "create", path, "a")
        self.assertSaysAll(self.refusal("snapshot", "create", path, "a"), "'a'", "already")
        self.assertSaysAll(self.refusal("snapshot", "delete", path, "a"), "--yes")
        self.assertSaysAll(self.refusal("snapshot", "delete", path, "b", "--yes"), "'b'", "'a'")
        self.assertNotIn("--yes", self.refusal("snapshot", "delete", path, "b"))  # nobody is asked about what is not there
        self.assertEqual(len(self.ask("snapshot", "list", path)), 1)

    def test_of_an_open_disk(self):
        self.daemon(self.disk())
        self.tool("snapshot", "create", self.socket, "a")
        self.assertEqual([s["name"] for s in self.ask("snapshot", "list", self.socket)], ["a"])


class Facts(CliTest):
    def test_info(self):
        path = self.disk()
        self.assertIn("nothing yet", self.tool("info", path))
        self.io(path, "write -P 1 0 4k", "flush")
        self.tool("rollback", path, "--to", "0", "--yes")
        self.assertSaysAll(self.tool("info", path), "64 MiB", "everything, without limit", "to sequence 0, leaving 1", "fast image")
        self.assertEqual(self.ask("info", path)["branch"], 1)

    def test_stats(self):
        path = self.disk()
        self.daemon(path)
        self.assertSaysAll(self.tool("stats", self.socket), "batches", "staging", "hits")
        self.assertIn("batches", self.ask("stats", self.socket)["stats"])

    def test_threshold(self):
        self.daemon(self.disk())
        self.assertIn("adaptive", self.tool("threshold", self.socket))
        changed = self.ask("threshold", self.socket, "--set", "0.25", "--adaptive", "off", "--max", "0.5")
        self.assertEqual((changed["threshold"], changed["adaptive"], changed["max"]), (0.25, False, 0.5))
        self.assertIn("0.25, fixed", self.tool("threshold", self.socket))
        # Shown is what is in force, not what was asked for.
        self.tool("threshold", self.socket, "--set", "0.9", "--adaptive", "on", "--max", "0.5")
        self.assertIn("threshold 0.5, adaptive", self.tool("threshold", self.socket))
        self.assertIn("0.5, adaptive", self.tool("watch", self.socket, "--count", 1))
        self.assertEqual(json.loads(self.tool("watch", self.socket, "--count", 1, "--json"))["threshold"], 0.5)
        for wrong in (("--set", "2"), ("--set", "x"), ("--adaptive", "maybe")):
            self.assertNotEqual(self.refusal("threshold", self.socket, *wrong), "")
        self.assertIn("open disk", self.refusal("threshold", self.disk("other.pds")))


class Check(CliTest):
    def test_a_sound_image(self):
        path = self.disk()
        self.io(path, "write -P 1 0 1M", "flush")
        self.assertIn("is sound", self.tool("check", path))
        self.assertEqual(self.ask("check", path)["check-errors"], 0)

    def test_a_damaged_one(self):
        path = self.disk()
        self.io(path, "write -P 0x77 0 1M", "flush", "write -P 1 8M 4k", "flush")
        data = path.read_bytes()
        at = data.index(b"\x77" * 65536) + 5000
        path.write_bytes(data[:at] + b"\x00" + data[at + 1:])
        done = self.run_tool("check", path)
        self.assertEqual(done.returncode, 1)
        self.assertSaysAll(done.stdout, "damaged place", str(path))

    def test_one_in_use(self):
        path = self.disk()
        daemon = self.daemon(path)
        self.assertSaysAll(self.refusal("check", path), "in use", str(daemon.pid))
        self.assertIn("end the machine", self.refusal("check", self.socket))

    def test_a_repair_asks(self):
        self.assertSaysAll(self.refusal("check", self.disk(), "--repair"), "copy", "--yes")
        self.assertIn("is sound", self.tool("check", self.work / "disk.pds", "--repair", "--yes"))


class Coalesce(CliTest):
    def overwritten(self):
        path = self.work / "disk.pds"
        image.qemu_img("create", "-q", "-f", "predsnap", "-o", "segment_size=64k", path, "64M")
        for number in range(1, 9):
            self.io(path, f"write -P {number} 0 1M", "flush")
        return path

    def test_history_is_dropped(self):
        path = self.overwritten()
        self.assertSaysAll(self.refusal("coalesce", path, "--until", "now"), "for good", "--yes")
        before = self.ask("points", path)["activity"]["points"]
        self.assertFalse(self.ask("coalesce", path, "--until", "now", "--yes")["cancelled"])
        self.assertGreater(self.ask("info", path)["history"]["sequence"], 0)
        self.assertLess(self.ask("points", path)["activity"]["points"], before / 2)
        self.io(path, "read -P 8 0 1M")
        self.assertIn("is sound", self.tool("check", path))

    def test_ctrl_c_does_no_harm(self):
        path = self.overwritten()
        process = subprocess.Popen([program(), "coalesce", path, "--until", "now", "--yes"], env=self.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.15)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        self.io(path, "read -P 8 0 1M")
        self.assertIn("is sound", self.tool("check", path))


class Watch(CliTest):
    def test_lines_of_json(self):
        self.daemon(self.disk())
        lines = self.tool("watch", self.socket, "--json", "--count", 3, "--interval", "100ms").splitlines()
        self.assertEqual(len(lines), 3)
        self.assertEqual(json.loads(lines[0])["machine"], "none")

    def test_text(self):
        path = self.disk()
        self.io(path, "write -P 1 0 1M", "flush")
        self.assertSaysAll(self.tool("watch", path, "--count", 1), "sequence", "history", "staging", "a mark is")
        self.assertIn("--interval", self.refusal("watch", path, "--interval", "1ms"))
