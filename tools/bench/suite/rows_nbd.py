# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows measured over NBD: qemu-storage-daemon exports the disk, fio is the client."""
import itertools
import threading

from . import daemon, img_bench, peers
from .daemon import FioLoad
from .peers import Predsnap, PredsnapGrowing, Qcow2, Raw
from .result import Figure, Goal, Result, median_ratio
from .rounds import alternate, compare, settle
from .row import Row
from .settings import GIB

SNAPSHOT_EVERY_S = 1.0


class NbdRow(Row):
    """One load on several peers, which take turns."""

    def __init__(self, key, title, load, goal, kinds, overwritten=False, notes=()):
        self.key = key
        self.title = title
        self.load = load
        self.goal = goal
        self.kinds = kinds
        self.overwritten = overwritten  # whether all is written in random order first
        self.notes = list(notes)

    def space(self, settings):
        return sum(kind.space(settings) for kind in self.kinds)

    def run(self, bench):
        made = peers.make(self.kinds, bench.work, bench.settings)
        for peer in made:
            bench.progress(f"making {peer.label}")
            peer.build()
            if self.overwritten:
                img_bench.run(peer.node(), img_bench.RANDOM_WRITE, bench.settings.blocks)

        def measure(peer):
            with bench.exported(peer):
                return daemon.fio(bench.work, self.load, bench.settings.nbd_seconds)

        rounds = bench.settings.nbd_rounds
        values = alternate(made, rounds, lambda p, n: p.prepare(n), measure, bench.progress)
        measures = compare([peer.label for peer in made], values, "IOPS")
        ratio = median_ratio(values[1], values[0])
        figure = Figure(self.key, f"{self.title}, against {self.kinds[0].label}", ratio, "", self.goal)
        return [Result(self.key, self.title, measures, [figure], self.notes)]


class Snapshooter(threading.Thread):
    """Makes a snapshot every second until ended. An error is raised by end()."""

    def __init__(self, monitor, names):
        super().__init__(daemon=True)
        self._monitor = monitor
        self._names = names
        self._ended = threading.Event()
        self._error = None

    def run(self):
        try:
            while not self._ended.wait(SNAPSHOT_EVERY_S):
                name = f"snapshot-{next(self._names)}"
                self._monitor.execute("predsnap-snapshot-create", node_name=daemon.NODE, name=name)
        except Exception as e:  # pylint: disable=broad-exception-caught
            self._error = e

    def end(self):
        self._ended.set()
        self.join()
        if self._error:
            raise self._error


class SnapshotRow(Row):
    """The same disk, in turns with and without a snapshot every second."""

    key = "snapshots"
    title = "4 KiB random write over NBD, depth 32, with a snapshot every second"
    load = FioLoad(write=True, depth=32)

    def space(self, settings):
        return int(settings.size + settings.rounds * settings.snapshot_seconds * GIB)

    def run(self, bench):
        disk = PredsnapGrowing(bench.work, bench.settings)
        disk.build()
        names = itertools.count(1)
        without, snapshots = [], []
        with bench.exported(disk) as server:
            daemon.fio(bench.work, self.load, 1)  # the pool of segments grows to the pace
            for number in range(bench.settings.rounds):
                for values, taking in self._turns(number, without, snapshots):
                    bench.progress(f"round {number + 1}, {'with' if taking else 'without'}")
                    settle()
                    values.append(self._measure(bench, server.qmp, names if taking else None))
        measures = compare(
            ["no snapshots", "a snapshot every second"], [without, snapshots], "IOPS"
        )
        ratio = median_ratio(snapshots, without)
        title = "random write with a snapshot every second, against none"
        figure = Figure(self.key, title, ratio, "", Goal(0.97))
        note = f"{next(names) - 1} snapshots were made."
        return [Result(self.key, self.title, measures, [figure], [note])]

    @staticmethod
    def _turns(number, without, snapshots):
        turns = [(without, False), (snapshots, True)]
        return turns if number % 2 == 0 else turns[::-1]

    def _measure(self, bench, monitor, names):
        seconds = bench.settings.snapshot_seconds
        if names is None:
            return daemon.fio(bench.work, self.load, seconds)
        snapshooter = Snapshooter(monitor, names)
        snapshooter.start()
        try:
            return daemon.fio(bench.work, self.load, seconds)
        finally:
            snapshooter.end()


def rows():
    kinds = [Raw, Predsnap, Qcow2]
    note = "Without a goal: here the socket and the client cost more CPU than the disk, on all sides alike."
    return [
        SnapshotRow(),
        NbdRow(
            *("nbd-write-32", "4 KiB random write over NBD, depth 32"),
            *(FioLoad(write=True, depth=32), None, kinds),
            notes=[note],
        ),
        NbdRow(
            *("nbd-write-1", "4 KiB random write over NBD, depth 1"),
            *(FioLoad(write=True, depth=1), Goal(0.95), kinds),
        ),
        NbdRow(
            *("nbd-write-flush-1", "4 KiB write + flush over NBD, depth 1"),
            *(FioLoad(write=True, depth=1, flush=True), Goal(0.95), kinds),
        ),
        NbdRow(
            *("nbd-read-32", "4 KiB random read after random overwrite over NBD, depth 32"),
            *(FioLoad(write=False, depth=32), Goal(0.95), [Raw, PredsnapGrowing, Qcow2]),
            overwritten=True,
        ),
    ]
