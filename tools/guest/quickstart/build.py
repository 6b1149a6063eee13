# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes sure that QEMU with predsnap and the guest are there."""
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading

from lib import paths

from .screen import Progress

LOG_TAIL_LINES = 25


class BuildError(Exception):
    """A build step failed; the text holds the end of its log and what to do."""


def ensure_built(with_libvirt=False):
    """Runs what takes seconds when nothing is to be done. With libvirt: also its packages, and the predsnap command."""
    if with_libvirt:
        _ensure_command()
    if os.environ.get("PREDSNAP_QEMU_BIN"):
        paths.program("qemu-system-x86_64")
    else:
        _step(
            "Debian packages",
            ["tools/setup", "build"],
            "see what apt says above; it may need root or the network",
        )
        _step(
            "QEMU with predsnap",
            ["tools/build-qemu"],
            "run tools/build-qemu by itself to see all of it",
        )
    _step(
        "Linux guest",
        ["tools/guest/build-guest"],
        "run tools/guest/build-guest by itself to see all of it",
    )


def command_path():
    """The predsnap command of the checkout."""
    return paths.CHECKOUT / "build/tools/predsnap/predsnap"


def _ensure_command():
    remedy = "run tests/run engine to see all of it"
    _step("Debian packages, with libvirt", ["tools/setup", "build", "test"], remedy)
    build = paths.CHECKOUT / "build"
    if not (build / "build.ninja").exists():
        _step("meson", [shutil.which("meson"), "setup", build], remedy)
    target = command_path().relative_to(build)
    _step("the predsnap command", [shutil.which("ninja"), "-C", build, target], remedy)


def _step(what, command, remedy):
    progress = Progress(what)
    with tempfile.NamedTemporaryFile("w+", prefix="predsnap-", suffix=".log") as log:
        status = _run_watched(command, log, progress)
        if status == 0:
            progress.end()
            return
        progress.end("failed")
        log.seek(0)
        tail = "".join(log.readlines()[-LOG_TAIL_LINES:])
    raise BuildError(f"{tail}\n'{' '.join(map(str, command))}' ended with status {status}: {remedy}")


def _run_watched(command, log, progress):
    """Runs it with its output in the log and its newest line on the screen; its exit status."""
    # A process group of its own can be ended whole; but sudo, in setup, must reach the terminal.
    own_group = command[0] != "tools/setup"
    child = subprocess.Popen(
        [paths.CHECKOUT / command[0], *command[1:]],
        cwd=paths.CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0 if own_group else None,
    )
    lines = queue.Queue()
    threading.Thread(target=_forward_lines, args=(child.stdout, lines), daemon=True).start()
    newest = ""
    try:
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                line = newest  # only the clock moves
            else:
                if line is None:
                    return child.wait()
                log.write(line)
            newest = line.strip() or newest
            progress.update(newest)
    except BaseException:
        if own_group:
            os.killpg(child.pid, signal.SIGTERM)
        else:
            child.terminate()
        child.wait()
        raise


def _forward_lines(stream, lines):
    for line in stream:
        lines.put(line)
    lines.put(None)
