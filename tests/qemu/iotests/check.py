# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one iotest with QEMU's own `check`, in folders of its own, and ends whatever it leaves behind."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from lib import paths

PROGRAMS = {
    "QEMU_PROG": "qemu-system-x86_64",
    "QEMU_IMG_PROG": "qemu-img",
    "QEMU_IO_PROG": "qemu-io",
    "QEMU_NBD_PROG": "qemu-nbd",
    "QSD_PROG": "qemu-storage-daemon",
}
DETAIL_LINES = 100


@dataclass
class Outcome:
    verdict: str  # "ok", "not ok" or "skip"
    reason: str = ""
    took_s: float = 0.0
    detail: list = field(default_factory=list)
    cases_not_run: list = field(default_factory=list)


class Checker:
    def __init__(self, iotests, work, image_format, timeout_s):
        self._iotests = iotests
        self._work = work
        self._format = image_format
        self._timeout_s = timeout_s
        self._children = set()
        self._stopping = False

    def stop(self):
        """Ends the running tests, and lets no other begin."""
        self._stopping = True
        for child in list(self._children):
            kill_group(child)

    def run(self, test):
        images = self._work / test.name
        images.mkdir()
        # A socket's path must be short.
        sockets = Path(tempfile.mkdtemp(prefix="pds-", dir="/tmp"))
        start_s = time.monotonic()
        try:
            outcome = self._check(test, images, sockets)
        finally:
            end_processes(images)
            for folder in (images, sockets):
                unmount(folder)
            shutil.rmtree(sockets, ignore_errors=True)
        if not self._work.keep:
            shutil.rmtree(images, ignore_errors=True)
        outcome.took_s = time.monotonic() - start_s
        return outcome

    def _check(self, test, images, sockets):
        command = [sys.executable, self._iotests / "check", "--color", "off", f"-{self._format}"]
        command += ["--source-dir", self._iotests, "--build-dir", self._iotests, test.name]
        environment = dict(
            os.environ, TEST_DIR=str(images), SOCK_DIR=str(sockets), TMPDIR=str(images)
        )
        for variable, program in PROGRAMS.items():
            environment[variable] = paths.program(program)
        output = images / "check.log"
        with open(output, "wb") as log:
            # check keeps times in its current folder.
            child = subprocess.Popen(
                [str(word) for word in command],
                cwd=images,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._children.add(child)
            if self._stopping:
                kill_group(child)
            timed_out = not ended_within(child, self._timeout_s)
            self._children.discard(child)
        text = output.read_text(encoding="utf-8", errors="replace")
        if timed_out:
            return Outcome(
                "not ok", f"did not end within {self._timeout_s} s", detail=progress(images)
            )
        return read_outcome(test.name, text)


def ended_within(child, timeout_s):
    """False if it had to be killed, with its process group."""
    try:
        child.wait(timeout_s)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        kill_group(child)


def kill_group(child):
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def progress(images):
    """How far a test came that did not end: the end of its output."""
    lines = []
    for path in images.glob("*/*.out.bad"):
        lines += path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
    return lines


def read_outcome(name, text):
    """What `check` said of the one test it ran."""
    lines = text.replace("\r", "\n").splitlines()
    result = re.compile(
        rf"{re.escape(name)}\s+(pass|fail|not run)\s+(?:\[[\d:]+\]\s+)+\S+\s*(?:\(last.*?\)\s*)?(.*)"
    )
    found = [match for match in map(result.fullmatch, lines) if match]
    if not found:
        return Outcome("not ok", "check said nothing of it", detail=lines[-DETAIL_LINES:])
    verdict, reason = found[-1].groups()
    cases = [line.split("]", 1)[1].strip() for line in lines if "[case not run]" in line]
    if verdict == "pass":
        return Outcome("ok", cases_not_run=cases)
    if verdict == "not run":
        return Outcome("skip", reason.strip())
    at = lines.index(found[-1].group(0))
    return Outcome("not ok", reason.strip(), detail=lines[at + 1 : at + 1 + DETAIL_LINES])


def end_processes(images):
    """Kills what still runs with this test's folder in its environment: daemons leave their process group."""
    mark = f"TEST_DIR={images}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(v == mark or v.startswith(mark + b"/") for v in variables):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended, or is somebody else's


def unmount(folder):
    """FUSE exports stay mounted when their process is killed."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        mounted = line.split()[4]
        if mounted.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", mounted], stderr=subprocess.DEVNULL, check=False)
