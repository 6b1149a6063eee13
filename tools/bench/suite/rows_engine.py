# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows about large disks, measured with engine-bench: the engine alone on a file with O_DIRECT."""
import json
import os
import statistics
import time

from lib import paths
from lib.daemon import StorageDaemon
from lib.process import run

from .daemon import NODE
from .peers import format_node
from .result import Figure, Goal, Measure, Result
from .row import Row
from .settings import BLOCK, GIB

SNAPSHOTS = 20
BYTES_PER_EXTENT = 1200  # a sector and what the log and its index add to it
LOG_OVERHEAD = 1.2


def engine_bench(build, *args):
    """What it prints, of one run of a command."""
    path = build / "tools/bench/engine-bench"
    if not os.access(path, os.X_OK):
        raise paths.MissingError(f"{path} is not there: run ninja -C {build}, or give --build")
    return json.loads(run([path, *args]))


def millions(count):
    return f"{count / 1e6:.3g} million"


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class LargeDiskRow(Row):
    """All on one image, as it takes long to make: memory, open after a crash, snapshot, rollback."""

    key = "large"
    title = "a disk of 10 million extents: memory, open after a crash, snapshot, rollback"

    def space(self, settings):
        tails = settings.engine_rounds * self._tail(settings) * BYTES_PER_EXTENT
        rollbacks = settings.engine_rounds * settings.rollback_writes * BLOCK * LOG_OVERHEAD
        return int(settings.extents * BYTES_PER_EXTENT + tails + rollbacks + GIB)

    @staticmethod
    def _tail(settings):
        """Writes before each crash: nearly as many as there are between two checkpoints at most."""
        return settings.extents * 9 // 100

    def run(self, bench):
        image = bench.work / "engine.img"
        bench.progress(f"writing {millions(bench.settings.extents)} extents")
        filled = engine_bench(bench.build, "fill", image, bench.settings.extents)
        return [
            self._memory(filled),
            self._open(bench, image),
            self._snapshot(bench, image),
            self._rollback(bench, image),
        ]

    @staticmethod
    def _memory(filled):
        count = filled["live_extents"]
        title = "RAM per 4 KiB of scattered live data"
        by_map = Measure("extent map", [filled["map_memory_bytes"] / count], "bytes")
        by_process = Measure(
            "growth of the process", [filled["resident_growth_bytes"] / count], "bytes"
        )
        figures = [
            Figure("memory", f"{title}, {m.label}", m.median, "bytes", Goal(24, at_least=False))
            for m in (by_map, by_process)
        ]
        note = f"{millions(count)} extents, written in random order."
        return Result("memory", title, [by_map, by_process], figures, [note])

    def _open(self, bench, image):
        title = f"open after a crash, {millions(bench.settings.extents)} live extents"
        tail = self._tail(bench.settings)
        in_engine, cpu, in_qemu, growth = [], [], [], []
        for number in range(bench.settings.engine_rounds):
            bench.progress(f"open after a crash, round {number + 1}")
            # Its opening is that of the image the daemon or the row before left.
            opened = engine_bench(bench.build, "open", image, tail)
            in_engine.append(opened["open_us"] / 1e6)
            cpu.append(opened["cpu_us"] / 1e6)
            seconds, resident = self._open_in_qemu(bench, image)
            in_qemu.append(seconds)
            growth.append(resident / opened["live_extents"])
        measures = [
            Measure("QEMU, blockdev-add", in_qemu, "s"),
            Measure("engine alone", in_engine, "s"),
            Measure("engine alone, CPU used", cpu, "s"),
            Measure("growth of QEMU's process, for each extent", growth, "bytes"),
        ]
        figure = Figure(
            *("open", title, measures[0].median, "s"),
            Goal(1.5, at_least=False),
        )
        note = f"{millions(tail)} writes since the last open, each crash without a checkpoint."
        return Result("open", title, measures, [figure], [note])

    @staticmethod
    def _open_in_qemu(bench, image):
        """Seconds, and bytes the process grew by. The daemon dies as in a crash."""
        daemon = StorageDaemon(bench.work)
        try:
            before = resident_bytes(daemon.pid)
            start_s = time.monotonic()
            node = {**format_node("predsnap", image), "node-name": NODE}
            daemon.qmp.command("blockdev-add", node)
            return time.monotonic() - start_s, resident_bytes(daemon.pid) - before
        finally:
            daemon.kill()

    @staticmethod
    def _snapshot(bench, image):
        bench.progress("snapshots")
        made = engine_bench(bench.build, "snapshot", image, SNAPSHOTS)
        title = f"snapshot of a disk with {millions(bench.settings.extents)} live extents"
        snapshots = Measure(
            "4 KiB write, then snapshot", [us / 1e3 for us in made["snapshot_us"]], "ms"
        )
        flushes = Measure(
            "4 KiB write, then bare flush", [us / 1e3 for us in made["flush_us"]], "ms"
        )
        over = snapshots.median - flushes.median
        figure = Figure(
            "snapshot", f"{title}, beyond one flush", over, "ms", Goal(1, at_least=False)
        )
        return Result("snapshot", title, [snapshots, flushes], [figure])

    @staticmethod
    def _rollback(bench, image):
        writes, rounds = bench.settings.rollback_writes, bench.settings.engine_rounds
        bench.progress(f"{rounds} rollbacks")
        made = engine_bench(bench.build, "rollback", image, writes, rounds)
        title = f"rollback over {millions(writes)} writes"
        times = Measure("rollback", [us / 1e3 for us in made["rollback_us"]], "ms")
        figure = Figure("rollback", title, times.median, "ms", Goal(300, at_least=False))
        cpu = Measure("CPU used meanwhile", [us / 1e3 for us in made["cpu_us"]], "ms")
        return Result("rollback", title, [times, cpu], [figure])


def rows():
    return [LargeDiskRow()]
