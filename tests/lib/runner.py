# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs unittest tests: a line for each, "ok" or "not ok" with the reason, and "N passed, N failed" at the end."""
import argparse
import itertools
import os
import re
import sys
import tempfile
import time
import unittest
from pathlib import Path

from . import paths


class _Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.passed = 0
        self.failed = 0
        self._start_s = 0.0

    def startTest(self, test):
        super().startTest(test)
        self._start_s = time.monotonic()

    def _line(self, verdict, test, note=""):
        took_s = time.monotonic() - self._start_s
        print(f"{verdict} - {name_of(test)}{note} ({took_s:.1f} s)", flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self._line("ok", test)

    def addSkip(self, test, reason):
        self._line("skip", test, f": {reason}")

    def addError(self, test, err):
        self.failed += 1
        self._line("not ok", test)
        for line in self._exc_info_to_string(err, test).rstrip().splitlines():
            print(f"    {line}", flush=True)

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        """Of a failed part; one that went well is not a test of its own."""
        if err:
            self.addError(subtest, err)

    def addExpectedFailure(self, test, err):
        self.addError(test, err)

    def addUnexpectedSuccess(self, test):
        self.addSuccess(test)


def name_of(test):
    return test.id().replace("__main__.", "")


def _flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from _flatten(item)
        else:
            yield item


def find_tests(folder, patterns):
    """All tests in folder/test_*.py whose name contains one of the patterns."""
    found = _flatten(unittest.TestLoader().discover(str(folder), pattern="test_*.py"))
    return [test for test in found if not patterns or any(p in name_of(test) for p in patterns)]


def run_tests(tests):
    result = _Result()
    unittest.TestSuite(tests).run(result)
    print(f"{result.passed} passed, {result.failed} failed", flush=True)
    return 1 if result.failed or not result.passed else 0


class _Classes:
    """Test classes side by side, each in a process of its own; what one printed is shown when it has ended."""

    def __init__(self):
        self.passed = self.failed = 0
        self.running = {}  # by process: its class, and the file it prints to

    def start(self, name, tests):
        output = tempfile.TemporaryFile()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            status = run_tests(tests)
            sys.stderr.flush()
            os._exit(status)
        self.running[pid] = name, output

    def take_one(self):
        pid, status = os.wait()
        name, output = self.running.pop(pid)
        with output:
            output.seek(0)
            text = output.read().decode(errors="replace")
        counts = re.search(r"^(\d+) passed, (\d+) failed\n\Z", text, re.MULTILINE)
        if counts:
            text = text[: counts.start()]
            self.passed += int(counts[1])
            self.failed += int(counts[2])
        else:
            text += f"not ok - {name}: its process ended with status {os.waitstatus_to_exitcode(status)}\n"
            self.failed += 1
        print(text, end="", flush=True)


def class_of(test):
    return f"{type(test).__module__}.{type(test).__qualname__}"


def run_side_by_side(tests, jobs):
    classes = _Classes()
    for name, members in itertools.groupby(tests, class_of):
        if len(classes.running) == jobs:
            classes.take_one()
        classes.start(name, list(members))
    while classes.running:
        classes.take_one()
    print(f"{classes.passed} passed, {classes.failed} failed", flush=True)
    return 1 if classes.failed or not classes.passed else 0


def main(folder, description, programs=(), add_arguments=None, take_arguments=None):
    """A folder's `run` program. programs: those of QEMU's that must be there for any test to make sense."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "pattern", nargs="*", help="run only the tests whose name contains one of these"
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many test classes at the same time (1)")
    parser.add_argument("--list", action="store_true", help="list the tests and stop")
    if add_arguments:
        add_arguments(parser)
    arguments = parser.parse_args()
    if take_arguments:
        take_arguments(arguments)
    tests = find_tests(Path(folder), arguments.pattern)
    if arguments.list:
        print("\n".join(name_of(test) for test in tests))
        return 0
    try:
        for program in programs:
            paths.program(program)
    except paths.MissingError as e:
        print(f"{sys.argv[0]}: {e}", file=sys.stderr)
        print("0 passed, 1 failed")
        return 1
    return run_tests(tests) if arguments.jobs <= 1 else run_side_by_side(tests, arguments.jobs)
