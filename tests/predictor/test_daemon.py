#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""predsnapd run, from outside: logs of a guest in, predictions over QMP out. test_daemon.py PREDSNAPD PREDSNAP"""
import base64
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PREDSNAPD, PREDSNAP = sys.argv[1:3]
CHUNK = 65536
HOT = [3, 70, 71, 500]  # written each 20 s; the others are noise


def trace(span):
    """What a guest did: lines of a trace."""
    noise = random.Random(1)
    yield "time_us,op,offset_bytes,length_bytes"
    for second in range(span):
        if second % 20 == 0:
            for chunk in HOT:
                yield f"{second * 1000000},W,{chunk * CHUNK},4096"
        yield f"{second * 1000000 + 500000},W,{noise.randrange(1000, 9000) * CHUNK},8192"


def unpack(packed):
    """What predsnap-set-predictions takes as `packed`, as a list of its predictions."""
    data = iter(base64.b64decode(packed, validate=True))
    if next(data) != 1:
        raise ValueError("not version 1")

    def number():
        value, shift = 0, 0
        while True:
            byte = next(data)
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    predictions, chunk = [], 0
    try:
        while True:
            chunk += number()
            count = number() + 1
            write, read, change = next(data), next(data), next(data)
            one = {"offset": chunk * CHUNK, "length": count * CHUNK, "write": write / 100, "read": read / 100}
            predictions.append(one if change == 255 else {**one, "change": change / 100})
            chunk += count
    except StopIteration:
        return predictions


class Qmp(threading.Thread):
    """A QMP server that takes predictions, and keeps them. `refuse`: answers with an error. `old`: knows only the list."""

    old = False

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.taken, self.refuse, self.connections = path, [], False, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            self.connections.append(connection)
            try:
                with connection, connection.makefile("rw") as stream:
                    self.serve(stream)
            except (OSError, ValueError):
                pass

    def serve(self, stream):
        def say(what):
            stream.write(json.dumps(what) + "\n")
            stream.flush()

        say({"QMP": {"version": {}, "capabilities": []}})
        for line in stream:
            command = json.loads(line)
            say({"event": "SOMETHING", "timestamp": {"seconds": 0, "microseconds": 0}})
            if command["execute"] == "predsnap-set-predictions":
                arguments = command["arguments"]
                if self.old and "packed" in arguments:
                    say({"error": {"class": "GenericError", "desc": "Parameter 'packed' is unexpected"}})
                    continue
                if "packed" in arguments:
                    arguments["predictions"] += unpack(arguments["packed"])
                self.taken.append(arguments)
                if self.refuse:
                    say({"error": {"class": "GenericError", "desc": "not today"}})
                    continue
            answers = {"query-predsnap": [{"node-name": "disk0"}], "predsnap-query-points": []}
            say({"return": answers.get(command["execute"], {})})

    def hang_up(self):
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it was let go
        self.connections.clear()

    def wait_for(self, count, seconds=100):
        end = time.monotonic() + seconds
        while len(self.taken) < count and time.monotonic() < end:
            time.sleep(0.1)
        if len(self.taken) < count:
            raise AssertionError(f"{len(self.taken)} predictions came, not {count}")
        return self.taken[-1]


class Daemon(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="predsnapd-")
        self.addCleanup(folder.cleanup)
        self.path = lambda name: os.path.join(folder.name, name)
        span = 1500
        with open(self.path("trace.csv"), "w", encoding="ascii") as file:
            file.writelines(line + "\n" for line in trace(span))
        subprocess.run([PREDSNAP, "log", "import", self.path("trace.csv"), self.path("log"), "--begin",
                        str(int(time.time()) - span)], check=True)
        self.qmp = Qmp(self.path("qmp"))

    def start(self, *arguments):
        disk = f"name=d,log={self.path('log')},qmp={self.path('qmp')},node=disk0"
        daemon = subprocess.Popen([PREDSNAPD, "run", "--state", self.path("state"), "--disk", disk, "--tick", "1",
                                   *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop, daemon)
        return daemon

    @staticmethod
    def stop(daemon):
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()
        daemon.stdout.close()

    def assertHotIsLikely(self, arguments, idle=False):
        """`idle`: the guest has written nothing for longer than it ever did before; then other chunks may be as likely."""
        self.assertEqual((arguments["node-name"], arguments["horizon"]), ("disk0", 60))
        self.assertTrue(arguments["model"].startswith("predsnapd "))
        said = {}
        for prediction in arguments["predictions"]:
            self.assertEqual((prediction["offset"] % CHUNK, prediction["length"] % CHUNK), (0, 0))
            for i in range(prediction["length"] // CHUNK):
                said[prediction["offset"] // CHUNK + i] = prediction["write"]
        others = max((p for chunk, p in said.items() if chunk not in HOT), default=0)
        for chunk in HOT:
            self.assertGreater(said.get(chunk, 0), 0)
            (self.assertGreaterEqual if idle else self.assertGreater)(said[chunk], others)

    def test_it_tells_trains_and_goes_on_after_it_was_killed(self):
        daemon = self.start()
        self.assertHotIsLikely(self.qmp.wait_for(1))
        self.assertIn("trained", daemon.stderr.readline())
        self.qmp.wait_for(len(self.qmp.taken) + 2)
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        models = [name for name in os.listdir(self.path("state")) if name.endswith(".model")]
        self.assertIn("d.write-60.model", models)
        self.start()
        self.assertHotIsLikely(self.qmp.wait_for(len(self.qmp.taken) + 2), idle=True)

    def test_it_connects_again_and_bears_refusals(self):
        daemon = self.start()
        self.qmp.wait_for(2)
        self.qmp.hang_up()
        self.qmp.wait_for(len(self.qmp.taken) + 3)
        self.qmp.refuse = True
        self.qmp.wait_for(len(self.qmp.taken) + 3)
        self.assertIsNone(daemon.poll())

    def test_a_qemu_that_knows_only_the_list_is_told_so(self):
        self.qmp.old = True
        self.start()
        arguments = self.qmp.wait_for(2)
        self.assertNotIn("packed", arguments)
        self.assertHotIsLikely(arguments)

    def test_once_without_telling_anybody(self):
        daemon = self.start("--once", "--dry-run", "--json")
        out, err = daemon.communicate(timeout=100)
        self.assertEqual(daemon.returncode, 0, err)
        self.assertHotIsLikely(json.loads(out))
        self.assertEqual(self.qmp.taken, [])

    def test_a_damaged_model_is_set_aside(self):
        self.start("--once", "--dry-run").wait(timeout=100)
        with open(self.path("state/d.write-60.model"), "r+b") as file:
            file.seek(500)
            file.write(b"damage")
        daemon = self.start("--once", "--dry-run")
        _, err = daemon.communicate(timeout=100)
        self.assertEqual(daemon.returncode, 0, err)
        self.assertIn("d.write-60.model is damaged; set aside", err)
        self.assertTrue(os.path.exists(self.path("state/d.write-60.model.corrupt")))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
