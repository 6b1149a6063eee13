# SPDX-License-Identifier: GPL-2.0-or-later
"""What the user sees: numbered steps with one column of times for each disk."""
import os
import shutil
import sys
import textwrap
import time

LABEL_WIDTH = 56
COLUMN_WIDTH = 12


def _styled(code, text):
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\033[{code}m{text}\033[0m"


def bold(text):
    return _styled("1", text)


def dim(text):
    return _styled("2", text)


def red(text):
    return _styled("31", text)


def green(text):
    return _styled("32", text)


def duration(seconds):
    """A time that is easy to compare: three digits or so, and its unit."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s"


def clock(time_us):
    """A time of day, to the millisecond."""
    text = time.strftime("%H:%M:%S", time.localtime(time_us // 1_000_000))
    return f"{text}.{time_us // 1000 % 1000:03d}"


def size(byte_count):
    for unit in ("B", "KiB", "MiB"):
        if byte_count < 1024:
            return f"{byte_count:.3g} {unit}"
        byte_count /= 1024
    return f"{byte_count:.1f} GiB"


def say(text=""):
    print(text, flush=True)


def quote(text):
    """What a program said, on lines of its own."""
    for line in textwrap.wrap(text, LABEL_WIDTH + 2 * COLUMN_WIDTH - 5, break_on_hyphens=False):
        note(dim(line))


def note(text):
    """A remark below a step."""
    say(f"     {text}")


class Table:
    """Numbers the steps; each line fills from left to right while things happen."""

    def __init__(self, columns):
        self._number = 0
        say(" " * LABEL_WIDTH + "".join(bold(name.rjust(COLUMN_WIDTH)) for name in columns))

    def step(self, label):
        self._number += 1
        self._start(f"{self._number:3d}  {label}")

    def substep(self, label):
        self._start(f"     {label}")

    def _start(self, label):
        print(label.ljust(LABEL_WIDTH), end="", flush=True)

    def cell(self, text):
        """The next column of the line."""
        print(text.rjust(COLUMN_WIDTH), end="", flush=True)

    def end(self):
        say()


class Progress:
    """One line that is rewritten on a terminal; elsewhere a line now and then."""

    QUIET_S = 20  # without a terminal, at most one line in this time

    def __init__(self, what):
        self._what = what
        self._start_s = time.monotonic()
        self._said_s = 0.0
        self._tty = sys.stdout.isatty()

    def elapsed(self):
        minutes, seconds = divmod(int(time.monotonic() - self._start_s), 60)
        return f"{minutes}:{seconds:02d}"

    def update(self, text=""):
        line = f"{self.elapsed()}  {self._what}{': ' if text else ''}{text}"
        if self._tty:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{line[:width]}", end="", flush=True)
        elif not self._said_s or time.monotonic() - self._said_s > self.QUIET_S:
            self._said_s = time.monotonic()
            say(line)

    def end(self, verdict="done"):
        if self._tty:
            print("\r\033[K", end="")
        say(f"{self.elapsed()}  {self._what}: {verdict}")
