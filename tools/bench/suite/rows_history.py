# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a disk with a long history: reading it, and coalescing it beside a client."""
import threading
import time

from lib import image

from . import daemon, img_bench, peers
from .daemon import NODE, FioLoad
from .img_bench import RANDOM_WRITE, Load
from .peers import PredsnapGrowing, Raw
from .result import Figure, Goal, Measure, Result, median_ratio
from .rounds import compare, settle
from .row import Row
from .rows_process import Comparison, LoadRow, Part
from .settings import BLOCK, STRIDE, odd_stride_unlike

POINTS = 100
JOB = "job"
ALL = 2**60  # a time after all that has happened


def coalesce(qmp):
    """Starts the job for all there is."""
    qmp.command("predsnap-coalesce", {"job-id": JOB, "node-name": NODE, "until": ALL})


def running(qmp):
    return bool(qmp.execute("query-jobs"))


class JobWatch(threading.Thread):
    """Notes when the job was last seen running, until ended."""

    def __init__(self, qmp):
        super().__init__(daemon=True)
        self._qmp = qmp
        self._ended = threading.Event()
        self.last = time.monotonic()

    def run(self):
        while running(self._qmp) and not self._ended.wait(0.05):
            self.last = time.monotonic()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()


class PredsnapManyPoints(PredsnapGrowing):
    """After that a hundredth of it is overwritten, and a snapshot made, a hundred times."""

    label = f"predsnap, {POINTS} snapshots"

    def overwritten(self):
        for number in range(POINTS):
            stride = odd_stride_unlike(STRIDE + 2 * number * BLOCK, self.size)
            img_bench.run(self.node(), Load(write=True, depth=32, stride=stride), self.size // BLOCK // POINTS)
            image.qemu_img("snapshot", "-c", f"point-{number}", self.path)


class PredsnapCoalesced(PredsnapGrowing):
    """Coalesced by the job afterwards."""

    label = "predsnap, coalesced"

    def overwritten(self):
        with daemon.exported(self.work, self.node()) as server:
            coalesce(server.qmp)
            while running(server.qmp):
                time.sleep(0.2)

    @classmethod
    def space(cls, settings):
        return settings.size * 3


class CoalescingRow(Row):
    """A client's writes over NBD at a steady rate, in turns beside coalescing and without it."""

    key = "coalescing"
    title = "4 KiB random write over NBD at 2,000 a second, beside coalescing"
    load = FioLoad(write=True, depth=4, rate=2000)
    filling = FioLoad(write=True, depth=32)

    def space(self, settings):
        return settings.size * 4

    def run(self, bench):
        disk = PredsnapGrowing(bench.work, bench.settings)
        disk.build()
        without, beside, shares = [], [], []
        with bench.exported(disk) as server:
            for number in range(bench.settings.rounds):
                for values, job in [(without, False), (beside, True)][:: 1 if number % 2 else -1]:
                    bench.progress(f"round {number + 1}, {'beside coalescing' if job else 'alone'}")
                    values.append(self._measure(bench, server.qmp, job, shares))
        measures = compare(["alone", "beside coalescing"], [without, beside], "us p99")
        measures.append(Measure("of that time the job ran", shares, "%", None))
        ratio = median_ratio(beside, without)
        figure = Figure(self.key, "p99 of writes beside coalescing, against none", ratio, "", Goal(1.2, at_least=False))
        return [Result(self.key, self.title, measures, [figure], [])]

    def _measure(self, bench, qmp, job, shares):
        """The p99 of the client's writes. Both turns begin with as much new history."""
        seconds = bench.settings.snapshot_seconds
        daemon.fio(bench.work, self.filling, seconds)
        settle()
        if not job:
            return daemon.fio_p99(bench.work, self.load, seconds)
        coalesce(qmp)
        began = time.monotonic()
        with JobWatch(qmp) as watched:
            p99 = daemon.fio_p99(bench.work, self.load, seconds)
        shares.append(100 * min(1, (watched.last - began) / (time.monotonic() - began)))
        while running(qmp):
            time.sleep(0.1)
        return p99


def rows():
    title = f"4 KiB random read through {POINTS} retained points, depth 32"
    comparison = Comparison(f"{title}, against none", PredsnapManyPoints, PredsnapGrowing, Goal(0.95))
    through = Part("read-through", title, Load(write=False, depth=32), [comparison])
    title = "sequential read after random overwrite and coalescing, 128 KiB, depth 8"
    comparison = Comparison(f"{title}, against raw", PredsnapCoalesced, Raw, Goal(0.9))
    load = Load(write=False, depth=8, length=128 * 1024, stride=None)
    sequential = Part("read-coalesced", title, load, [comparison])
    return [
        LoadRow("read-through", [PredsnapGrowing, PredsnapManyPoints], [through], overwritten=True),
        LoadRow("read-coalesced", [Raw, PredsnapGrowing, PredsnapCoalesced], [sequential], overwritten=True),
        CoalescingRow(),
    ]
