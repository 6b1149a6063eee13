# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest loses everything on its disk and gets it back; beside it the same on qcow2."""
import time

from lib.qmp import QmpError

from . import screen
from .disks import DATABASE_WRITES, DISK_SIZE_GIB, FILES, Predsnap, Qcow2, StoryError

REPORTS = 3
REPORT_PAUSE_S = 0.4
POINTS_SHOWN = 8


def now_us():
    return time.time_ns() // 1000


class Story:
    """Each step is done on both disks, one after the other, and its times are printed beside each other."""

    def __init__(self, work, accel):
        self.predsnap = Predsnap(work, accel)
        self.qcow2 = Qcow2(work, accel)
        self._disks = (self.predsnap, self.qcow2)
        self._table = None

    def tell(self):
        self._table = screen.Table([disk.image_format for disk in self._disks])
        self._begin()
        self._lose_everything()
        self._show_points()
        self._show_refusal()
        self._go_back_to_a_moment()
        self._go_back_to_the_snapshot()

    def close(self):
        for disk in self._disks:
            disk.kill()

    def _cell(self, action):
        """Does it, prints how long it took, gives what it gave."""
        start_s = time.monotonic()
        result = action()
        self._table.cell(screen.duration(time.monotonic() - start_s))
        return result

    def _both(self, label, action, substep=False):
        (self._table.substep if substep else self._table.step)(label)
        results = [self._cell(lambda disk=disk: action(disk)) for disk in self._disks]
        self._table.end()
        return results

    def _begin(self):
        self._both(f"Create a disk of {DISK_SIZE_GIB} GiB", lambda disk: disk.create())
        self._both("Start QEMU, boot Linux", lambda disk: disk.boot())
        label = f"The guest makes ext4, {FILES} files and a database"
        self._both(label, lambda disk: disk.write_files())
        screen.note(screen.dim("SHA-256 of every file is kept outside the guest"))
        self._both(
            'Snapshot "before", under the running guest', lambda disk: disk.snapshot("before")
        )

    def _lose_everything(self):
        self._both(
            f"The guest works on: {DATABASE_WRITES} random writes of 4 KiB",
            lambda disk: disk.work_on_database(),
        )
        self._both(
            f"and writes {REPORTS} reports, {REPORT_PAUSE_S} s apart",
            self._write_reports,
            substep=True,
        )
        times = [screen.clock(t) for t in self.predsnap.reports]
        screen.note(screen.dim("on the disk at " + ", ".join(times)))
        complaint = self._both(
            "Disaster: rm -rf, then noise over the disk's start", lambda disk: disk.destroy()
        )[0]
        screen.note(screen.red(f"guest: {complaint}"))

    @staticmethod
    def _write_reports(disk):
        for _ in range(REPORTS):
            time.sleep(REPORT_PAUSE_S)
            disk.write_report(now_us)

    def _show_points(self):
        self._table.step("Points to go back to")
        points, snapshots = [disk.points() for disk in self._disks]
        self._table.cell(str(len(points)))
        self._table.cell(str(len(snapshots)))
        self._table.end()
        for point in select_points(points):
            screen.note(screen.dim(describe(point) if point else "..."))

    def _show_refusal(self):
        self._table.step("Roll back under the running guest? Refused:")
        self._table.end()
        try:
            self.predsnap.rollback(snapshot="before")
        except QmpError as e:
            screen.quote(e.desc)
            return
        raise StoryError("predsnap: the rollback was not refused although the guest runs")

    def _go_back_to_a_moment(self):
        """To between the second report and the third."""
        moment_us = self.predsnap.reports[1] + int(REPORT_PAUSE_S / 2 * 1e6)
        self.predsnap.pause()
        self._table.step(f"Pause, roll back to {screen.clock(moment_us)}, a moment before")
        self._cell(lambda: self.predsnap.rollback(time=moment_us))
        self._table.cell("impossible")
        self._table.end()
        self._table.substep("reset, boot, check every file")
        self._cell(
            lambda: (self.predsnap.reset(), self.predsnap.check_files(DATABASE_WRITES, reports=2))
        )
        self._table.cell("-")
        self._table.end()
        screen.note(
            screen.green(
                f"{FILES} files and the database as they were, reports 1 and 2 too, 3 not yet written"
            )
        )
        screen.note(screen.dim("qcow2 keeps no moments, only snapshots"))

    def _go_back_to_the_snapshot(self):
        self.predsnap.pause()
        self._table.step('Roll back to the snapshot "before"')
        self._cell(lambda: self.predsnap.rollback(snapshot="before"))
        self._cell(lambda: self.qcow2.go_back("before"))
        self._table.end()
        screen.note(
            screen.dim(
                "qcow2: QEMU ends, 'qemu-img snapshot -a' goes back, another QEMU starts below"
            )
        )
        self._both("boot again, check every file", self._check_snapshot, substep=True)
        screen.note(screen.green(f"{FILES} files and the database as they were, no report yet"))

    def _check_snapshot(self, disk):
        if disk is self.predsnap:
            disk.reset()
        else:
            disk.boot()
        disk.check_files(writes=0, reports=0)


def select_points(points):
    """What is worth showing of a long list: the snapshot and what came right after it, and the end. None: a gap."""
    at = next((i for i, point in enumerate(points) if "snapshot" in point), None)
    if at is None:
        raise StoryError("predsnap: the snapshot is missing in the list of points")
    head = points[at : at + POINTS_SHOWN // 2]
    tail = points[max(at + len(head), len(points) - POINTS_SHOWN // 2) :]
    gap = [None] if at + len(head) + len(tail) < len(points) else []
    return ([None] if at else []) + head + gap + tail


def describe(point):
    """A line of the list of points."""
    kind = "the guest flushed" if point["flush"] else "a second passed"
    if "snapshot" in point:
        kind = f'snapshot "{point["snapshot"]}"'
    changed = screen.size(point["bytes-changed"])
    return f"{screen.clock(point['time'])}  sequence {point['sequence']:<6} {kind:20} {changed} changed"
