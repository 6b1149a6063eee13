# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives replay-client (tools/replay), which does the I/O."""
import json
import os
import subprocess

from lib.process import run

from .settings import BenchError


def program(build, name="replay-client"):
    path = build / "tools/replay" / name
    if not os.access(path, os.X_OK):
        raise BenchError(f"{path} is not there: run ninja -C {build}, or name another folder with --build")
    return path


def describe(build, trace, options):
    """What a trace needs: size of the disk, number of requests and so on."""
    return json.loads(run([program(build), trace, "--describe", *options]))


class ReplayClient:
    """One replay; `with ReplayClient(...) as client: client.run(60)`. Wrong data and failed requests raise."""

    def __init__(self, build, trace, uri, options, log_path):
        self.trace = trace
        self.log_path = log_path
        with open(log_path, "wb") as log:
            self._child = subprocess.Popen(
                [program(build), trace, "--uri", uri, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def command(self, *words):
        try:
            self._child.stdin.write(" ".join(str(word) for word in words) + "\n")
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            said = self.log_path.read_text(encoding="utf-8", errors="replace").strip()
            raise BenchError(f"{self.trace}: replay-client ended in '{words[0]}': {said or 'no message'}")
        answer = json.loads(answer)
        if "error" in answer:
            raise BenchError(f"{self.trace}: {answer['error']}")
        return answer

    def run(self, until_s):
        """Replays what the trace holds before that time, and flushes. True once it has ended."""
        return self.command("run", until_s)["ended"]

    def keep(self, name):
        self.command("keep", name)

    def verify(self, name, uri):
        """Compares an export with what was kept, or with what must be there 'now'; bytes that were read."""
        return self.command("verify", name, uri)["verified_bytes"]

    def measures(self):
        return self.command("measures")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.stdin.close()
        self._child.stdout.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
