# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that write until their server is gone, noting all they do in a ledger."""
import threading
from array import array
from dataclasses import dataclass

from case import after_us
from crash_model import SECTOR
from lib.nbd import NbdClosed
from lib.qmp import QmpClosed

WRITE_SECTORS_MAX = 24


@dataclass
class Point:
    """A moment that can be gone back to, and what the disk held then."""

    numbers: array
    where: dict  # as predsnap-rollback and predsnap-view take it
    sure: bool = True  # False: the command was cut off, so it may not exist
    entries: int = 0  # of the log of writes, when it was there for sure


class Client(threading.Thread):
    """Random requests to one region, one at a time, until the server is gone or `stop` is set. With `trims` it
    takes a discard to give zeros, which only a predsnap node without QEMU's own filters above it promises."""

    def __init__(self, ledger, region, disk, draw, trims=True):
        super().__init__()
        self.erasures = (disk.trim, disk.write_zeroes) if trims else (disk.write_zeroes,)
        self.ledger = ledger
        self.region = region
        self.disk = disk
        self.draw = draw
        self.stop = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
        except (NbdClosed, QmpClosed):
            pass
        except Exception as e:  # pylint: disable=broad-except  # reported by finish()
            self.failure = e

    def finish(self):
        self.join()
        if self.failure:
            raise self.failure

    def step(self):
        kind = self.draw.random()
        if kind < 0.1:
            self.flush()
        elif kind < 0.2:
            self.erase(self.draw.choice(self.erasures))
        else:
            self.write()

    def _range(self):
        count = self.draw.randint(1, WRITE_SECTORS_MAX)
        return self.draw.randrange(self.region.sectors - count + 1), count

    def write(self):
        start, count = self._range()
        data = self.ledger.write(self.region, start, count)
        self.disk.write((self.region.first + start) * SECTOR, data)
        self.ledger.answered(self.region)

    def erase(self, how):
        start, count = self._range()
        self.ledger.erase(self.region, start, count)
        how((self.region.first + start) * SECTOR, count * SECTOR)
        self.ledger.answered(self.region)

    def flush(self):
        sent = self.ledger.tick()
        self.disk.flush()
        self.ledger.flush_answered(sent)


class Historian(Client):
    """Alone on its disk, it knows the exact content of every point: it also notes those of its flushes,
    makes snapshots and goes back."""

    def __init__(self, ledger, disk, draw, daemon, points, name):
        super().__init__(ledger, ledger.regions[0], disk, draw)
        self.daemon = daemon
        self.points = points
        self.name = name
        self.made = 0

    def step(self):
        kind = self.draw.random()
        if kind < 0.02:
            self.snapshot()
        elif kind < 0.025 and self.points:
            self.rollback(self.draw.choice([p for p in self.points if p.sure] or [None]))
        else:
            super().step()

    def flush(self):
        super().flush()
        self.points.append(Point(self.ledger.now(), {"time": after_us()}))

    def snapshot(self):
        self.made += 1
        point = Point(self.ledger.now(), {"snapshot": f"{self.name}-{self.made}"}, sure=False)
        self.points.append(point)
        self.daemon.snapshot(point.where["snapshot"])
        point.sure = True

    def rollback(self, point):
        if point is None:
            return
        self.ledger.replace(point.numbers)
        self.daemon.rollback(force=True, **point.where)
        self.ledger.answered(self.region)
