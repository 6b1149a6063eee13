# SPDX-License-Identifier: GPL-2.0-or-later
"""What disks take of the host: space in its file system, bytes written to it."""
import re
import threading
from pathlib import Path


def allocated(paths):
    """Bytes that files take of their file system; one that is gone takes none."""
    total = 0
    for path in paths:
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            pass
    return total


def written_by(pid):
    """Bytes that a process had the kernel write, or dirty."""
    io = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    return int(re.search(r"^write_bytes: (\d+)", io, re.MULTILINE).group(1))


class Sizes(threading.Thread):
    """Samples what files take of their file system; files() gives their paths."""

    INTERVAL_S = 0.1

    def __init__(self, files):
        super().__init__(daemon=True)
        self.files, self.samples, self.ended = files, [], threading.Event()

    def now(self):
        return allocated(self.files())

    def run(self):
        while not self.ended.wait(self.INTERVAL_S):
            self.samples.append(self.now())

    def end(self):
        self.ended.set()
        self.join()
        self.samples.append(self.now())
        return self.samples
