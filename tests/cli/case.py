# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the command line start from."""
import json
import os
import subprocess
import unittest
from pathlib import Path

from lib import image, paths, workdir
from lib.daemon import StorageDaemon

BUILD = paths.CHECKOUT / "build"
SECOND = 1_000_000
BEGIN = 1795172400 * SECOND  # 2026-11-20 11:00:00 UTC


def program():
    return os.environ.get("PREDSNAP") or str(BUILD / "tools/predsnap/predsnap")


class Script:
    """What make-history is told. Times are of its own clock."""

    def __init__(self, begin_us=BEGIN):
        self.now_us = begin_us
        self._lines = [f"T {begin_us}"]
        self._number = 0

    def wait(self, us):
        self.now_us += us
        self._lines.append(f"T {self.now_us}")
        return self

    def write(self, offset, length, number=None):
        self._number += 1
        self._lines.append(f"W {offset} {length} {self._number if number is None else number}")
        return self

    def do(self, line):
        self._lines.append(line)
        return self

    def flush(self):
        return self.do("F")

    def text(self):
        return "\n".join(self._lines) + "\n"


class CliTest(unittest.TestCase):
    """One test: a folder, a runtime folder of its own, and no views left."""

    longMessage = True

    def setUp(self):
        self.work = workdir.WorkDir("cli")
        self.addCleanup(self.work.close)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "TZ")},
            "PREDSNAP_QEMU_BIN": str(paths.qemu_bin_dir()),
            "PREDSNAP_RUNTIME_DIR": str(self.work / "run"),
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }
        self.addCleanup(lambda: self.run_tool("view", "close", "--all"))

    def run_tool(self, *arguments, **options):
        """predsnap's status, output and errors."""
        options = {"stdin": subprocess.DEVNULL, "env": self.environment, "timeout": 120, **options}
        return subprocess.run(
            [program(), *[str(a) for a in arguments]], capture_output=True, text=True, check=False, **options
        )

    def tool(self, *arguments, **options):
        """What it prints; it must succeed."""
        done = self.run_tool(*arguments, **options)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}{done.stdout}")
        return done.stdout

    def ask(self, *arguments):
        """What it prints with --json."""
        return json.loads(self.tool(*arguments, "--json"))

    def refusal(self, *arguments, status=1, **options):
        done = self.run_tool(*arguments, **options)
        self.assertEqual(done.returncode, status, f"{arguments}: {done.stderr}{done.stdout}")
        self.assertEqual(done.stdout, "")
        return done.stderr

    def assertSaysAll(self, text, *words):
        """An error must name the thing and the remedy."""
        for word in words:
            self.assertIn(str(word), text)

    # --- disks ---

    def history(self, script, size=64 << 20, name="disk.pds"):
        """An image with that history."""
        path = self.work / name
        subprocess.run(
            [BUILD / "tests/cli/make-history", path, str(size)], input=script.text(), text=True, check=True
        )
        return path

    def disk(self, name="disk.pds", size="64M"):
        path = self.work / name
        image.create(path, "predsnap", size)
        return path

    def io(self, path, *commands):
        return image.qemu_io(path, "predsnap", *commands)

    def daemon(self, *disks):
        """A daemon with a socket of its own for the tool, and nodes disk0, disk1, ..."""
        daemon = StorageDaemon(
            self.work, "--chardev", f"socket,id=tool,path={self.work}/tool.qmp,server=on,wait=off",
            "--monitor", "chardev=tool",
        )
        self.addCleanup(daemon.kill)
        for i, path in enumerate(disks):
            daemon.qmp.command("blockdev-add", image.format_node(f"disk{i}", "predsnap", path))
        return daemon

    @property
    def socket(self):
        return Path(f"{self.work}/tool.qmp")
