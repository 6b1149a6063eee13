# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of `qemu-img bench`: the block layer in one process, without a guest."""
import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass

from lib import paths
from lib.process import ProcessError

from .settings import BLOCK, STRIDE

COMPLETED = re.compile(r"Run completed in ([0-9.]+) seconds")


@dataclass(frozen=True)
class Load:
    """A pattern of requests."""

    write: bool
    depth: int
    flush: bool = False
    length: int = BLOCK
    stride: int | None = STRIDE  # None: one request after the other

    def arguments(self, count):
        options = ["-c", str(count), "-d", str(self.depth), "-s", str(self.length)]
        if self.write:
            options.append("-w")
        if self.flush:
            options += ["--flush-interval", "1"]
        if self.stride:
            options += ["-S", str(self.stride)]
        return options


RANDOM_WRITE = Load(write=True, depth=32)


@dataclass(frozen=True)
class Run:
    """What one process did: how long the requests took, and the CPU of all of its life."""

    count: int
    seconds: float
    user_s: float
    system_s: float

    @property
    def per_second(self):
        return self.count / self.seconds


def run(node, load, count):
    """One process, `count` requests. The time is that of the requests, without open and close."""
    args = [paths.program("qemu-img"), "bench", "-t", "none", "-i", "io_uring"]
    args += [*load.arguments(count), "json:" + json.dumps(node)]
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(
            args, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:  # an interrupt; it must not go on writing
            child.kill()
            child.wait()
            raise
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().strip()
    found = COMPLETED.search(said)
    if child.returncode or not found:
        raise ProcessError(f"'{' '.join(args)}' ended with status {child.returncode}: {said}")
    seconds = max(float(found.group(1)), 0.001)  # it prints milliseconds
    return Run(count, seconds, usage.ru_utime, usage.ru_stime)


def count_for(node, load, seconds, most):
    """How many requests take about so long, found by trying with more and more."""
    count = min(64 * load.depth, most)
    while True:
        tried = run(node, load, count)
        wanted = int(count * seconds / tried.seconds)
        if tried.seconds > seconds / 8 or count >= most:
            return max(1, min(wanted, most))
        count = min(max(4 * count, wanted // 4), most)
