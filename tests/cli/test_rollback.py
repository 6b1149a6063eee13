# SPDX-License-Identifier: GPL-2.0-or-later
"""rollback: of an image, of a storage daemon's node, and of a machine that runs; and how it is undone."""
import json
import os
import pty
import shlex
import socket as sockets

from case import SECOND, CliTest, Script
from lib import image
from lib.paths import program as qemu_program
from lib.process import Process, wait_until


class Rollback(CliTest):
    def three_states(self):
        script = Script()
        for number in (1, 2, 3):
            script.wait(60 * SECOND).write(0, 4096, number).flush()
        return self.history(script)

    def content(self, path):
        raw = self.work / "content.raw"
        image.qemu_img("convert", "-f", "predsnap", "-O", "raw", path, raw)
        return raw.read_bytes()[:4096]

    def test_to_a_time_and_undone_with_the_command_it_says(self):
        path = self.three_states()
        newest = self.content(path)
        gone = self.ask("rollback", path, "--to", "2026-11-20 11:02:30", "--yes")
        self.assertEqual((gone["from"], gone["sequence"]), (3, 2))
        self.assertNotEqual(self.content(path), newest)
        words = shlex.split(gone["undo"])
        self.assertEqual(words[:2], ["predsnap", "rollback"])
        self.tool(*words[1:], "--yes")
        self.assertEqual(self.content(path), newest)

    def test_to_a_snapshot_and_a_sequence_number(self):
        path = self.three_states()
        self.tool("rollback", path, "--to", "1", "--yes")
        first = self.content(path)
        self.tool("snapshot", "create", path, "first")
        self.tool("rollback", path, "--to", "3", "--yes")
        self.assertNotEqual(self.content(path), first)
        text = self.tool("rollback", path, "--to", "first", "--yes")
        self.assertSaysAll(text, "snapshot 'first'", "Undo it with: predsnap rollback --image")
        self.assertEqual(self.content(path), first)

    def test_asks_and_without_a_terminal_refuses(self):
        path = self.three_states()
        self.assertSaysAll(self.refusal("rollback", path, "--to", "1"), "--yes", "sequence 1")
        self.assertEqual(self.ask("info", path)["sequence"], 3)
        for answer, sequence in ((b"n\n", 3), (b"\n", 3), (b"y\n", 4)):
            master, slave = pty.openpty()
            os.write(master, answer)
            done = self.run_tool("rollback", path, "--to", "1", stdin=slave)
            os.close(slave)
            os.close(master)
            self.assertIn("[y/N]", done.stderr)
            self.assertEqual(done.returncode, 0 if sequence == 4 else 1)
            self.assertEqual(self.ask("info", path)["sequence"], sequence)

    def test_names_that_could_be_two_things(self):
        path = self.three_states()
        self.tool("snapshot", "create", path, "2")
        self.assertSaysAll(self.refusal("rollback", path, "--to", "2", "--yes"), "snapshot:2", "sequence:2")
        self.assertEqual(self.ask("rollback", path, "--to", "sequence:2", "--yes")["sequence"], 2)
        self.assertEqual(self.ask("rollback", path, "--to", "snapshot:2", "--yes")["sequence"], 3)

    def test_what_cannot_be_reached(self):
        path = self.three_states()
        before = self.refusal("rollback", path, "--to", "2026-11-20 09:00", "--yes")
        self.assertSaysAll(before, "2026-11-20 09:00:00", "before the history", "2026-11-20 11:00:00", "2026-11-20 11:03:00")
        self.assertSaysAll(self.refusal("rollback", path, "--to", "2093-01-01", "--yes"), "has not come yet")
        self.assertSaysAll(self.refusal("rollback", path, "--to", "99", "--yes"), "sequence 99", "ends at 3")
        self.assertSaysAll(self.refusal("rollback", path, "--to", "befor", "--yes"), "'befor'", "it has none")
        self.assertEqual(self.ask("info", path)["sequence"], 3)

    def test_a_storage_daemons_node(self):
        path = self.three_states()
        self.daemon(path)
        gone = self.ask("rollback", self.socket, "--to", "1", "--yes")
        self.assertEqual(gone["sequence"], 1)
        self.assertIn(f"--qmp {self.socket} --node disk0 --to 3", gone["undo"])


class Machine(CliTest):
    """A machine without a guest's system: what it does with its disk is not what this is about."""

    def start(self):
        path = self.disk()
        self.io(path, "write -P 1 0 4k", "flush")
        self.tool("snapshot", "create", path, "good")
        self.io(path, "write -P 2 0 4k", "flush")
        socket = self.work / "tool.qmp"
        process = Process(
            "qemu", [qemu_program("qemu-system-x86_64"), "-accel", "tcg", "-m", "64", "-nodefaults", "-no-user-config", "-display", "none",
                     "-qmp", f"unix:{socket},server=on,wait=off",
                     "-blockdev", json.dumps(image.format_node("disk", "predsnap", path)),
                     "-device", "virtio-blk-pci,drive=disk"], self.work / "qemu.log")
        self.addCleanup(process.kill)
        wait_until(socket.exists, "QEMU's monitor", process=process)
        return process, socket

    def status(self, socket):
        with sockets.socket(sockets.AF_UNIX) as connection:
            connection.connect(str(socket))
            stream = connection.makefile("rw")
            stream.readline()
            answers = []
            for command in ("qmp_capabilities", "query-status"):
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                while "return" not in (answer := json.loads(stream.readline())):
                    pass
                answers.append(answer["return"])
            return answers[1]["status"]

    def test_one_that_runs_is_reset_and_runs_on(self):
        _, socket = self.start()
        gone = self.ask("rollback", socket, "--to", "good", "--yes")
        self.assertEqual(self.status(socket), "running")
        print(f"    pause {gone['pause-us']} us, rollback {gone['rollback-us']} us, reset and go on {gone['after-us']} us", flush=True)

    def test_it_can_stay_paused(self):
        _, socket = self.start()
        self.tool("rollback", socket, "--to", "good", "--pause", "--yes")
        self.assertIn(self.status(socket), ("paused", "prelaunch"))
        self.tool("rollback", socket, "--to", "good", "--yes")
        self.assertIn(self.status(socket), ("paused", "prelaunch"))
        self.tool("rollback", socket, "--to", "good", "--reset", "--yes")
        self.assertEqual(self.status(socket), "running")

    def test_it_can_be_switched_off(self):
        process, socket = self.start()
        self.tool("rollback", socket, "--to", "good", "--stop", "--yes")
        process.wait(20)

    def test_it_runs_on_if_the_rollback_fails(self):
        _, socket = self.start()
        self.tool("view", "open", socket, "good", "--clone", self.work / "clone.qcow2")
        done = self.run_tool("rollback", socket, "--to", "77", "--yes")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.status(socket), "running")

    def test_the_question_says_what_becomes_of_it(self):
        _, socket = self.start()
        self.assertSaysAll(self.refusal("rollback", socket, "--to", "good"), "reset", "boots", "--yes")
