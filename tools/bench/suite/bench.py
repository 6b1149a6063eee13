# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the selected rows, one after the other, in a folder that goes away with it."""
import dataclasses
import shutil
import sys
import time

from lib.paths import MissingError
from lib.process import ProcessError
from lib.qmp import QmpClosed, QmpError

from . import daemon, machine, report, rows_cpu, rows_engine, rows_history, rows_nbd, rows_packed, rows_process
from .settings import GIB, BenchError

SPARE = GIB
BUSY_LOAD = 0.5
FAILURES = (BenchError, MissingError, ProcessError, QmpError, QmpClosed, TimeoutError, OSError)


def all_rows():
    return [*rows_process.rows(), *rows_nbd.rows(), *rows_history.rows(), *rows_packed.rows(), *rows_engine.rows(), *rows_cpu.rows()]


def select(patterns):
    """Rows whose key is or begins with one of the patterns; all if there are none."""
    rows = all_rows()
    for pattern in patterns:
        if not any(row.key.startswith(pattern) for row in rows):
            known = " ".join(row.key for row in rows)
            raise BenchError(f"there is no row '{pattern}'; there are: {known}")
    return [row for row in rows if not patterns or any(row.key.startswith(p) for p in patterns)]


def require_space(rows, folder, settings):
    needed = max(row.space(settings) for row in rows) + SPARE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BenchError(
            f"{folder.parent} has {free / GIB:.1f} GiB free and {needed / GIB:.1f} GiB are needed; make room, "
            "name another folder with --dir, or leave rows out"
        )


def require_memory(rows, settings):
    needed = max(row.memory(settings) for row in rows)
    available = machine.available_memory()
    if needed and available < needed + SPARE:
        raise BenchError(
            f"{available / GIB:.1f} GiB of memory are available and {(needed + SPARE) / GIB:.1f} GiB are needed; "
            "end other programs, or leave out the row 'cpu'"
        )


class Bench:
    """What a row is given."""

    def __init__(self, work, settings, build):
        self.work = work
        self.settings = settings
        self.build = build  # where our own programs are built
        self.failed = []  # keys of rows that could not be measured
        self._start_s = time.monotonic()
        self._row = ""

    def exported(self, peer):
        """Behind a daemon, with predsnapd beside it if that is asked for."""
        predsnapd = self.build / "tools/predsnapd/predsnapd" if self.settings.predicted else None
        return daemon.exported(self.work, peer.node(), predsnapd=predsnapd)

    def progress(self, text):
        """What is being done now, on a terminal."""
        if sys.stderr.isatty():
            line = f"{self._clock()} {self._row}: {text}"
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{line[:width]}", end="", file=sys.stderr, flush=True)

    def _end_progress(self):
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _clock(self):
        minutes, seconds = divmod(int(time.monotonic() - self._start_s), 60)
        return f"{minutes:2d}:{seconds:02d}"

    def run(self, rows):
        """The results of the rows. A row that fails is told of and left out."""
        results = []
        for number, row in enumerate(rows, 1):
            self._row = row.key
            print(
                f"{self._clock()} {row.key} ({number} of {len(rows)})", file=sys.stderr, flush=True
            )
            try:
                made = self._run_row(row)
            except FAILURES as e:
                self._end_progress()
                print(f"peers: {row.key} failed: {e}", file=sys.stderr, flush=True)
                self.failed.append(row.key)
                continue
            self._end_progress()
            for result in made:
                print(report.text(result) + "\n", flush=True)
            results += made
        return results

    def _run_row(self, row):
        start_s = time.monotonic()
        try:
            made = row.run(self)
        finally:
            self._clean()
        made[0].seconds = time.monotonic() - start_s
        return made

    def _clean(self):
        for path in self.work.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def run(work, settings, build, rows):
    """Everything that is known at the end, for the report."""
    described = machine.describe(work.path)
    if machine.load() > BUSY_LOAD:
        print(
            f"peers: the machine is busy (load {machine.load():.1f}); the figures will mislead",
            file=sys.stderr,
        )
    bench = Bench(work, settings, build)
    results = bench.run(rows)
    return {
        "machine": described,
        "settings": dataclasses.asdict(settings),
        "results": results,
        "failed": bench.failed,
    }
