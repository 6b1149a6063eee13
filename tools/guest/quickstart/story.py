# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest loses everything on its disk and gets it back; beside it the same on qcow2."""
import time

from lib.qmp import QmpError

from . import screen
from .disks import DISK_SIZE, FILE_BYTES, FILES, Predsnap, Qcow2, StoryError

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
        self._both(f"Create a disk of {DISK_SIZE}iB", lambda disk: disk.create())
        self._both("Start QEMU with it", lambda disk: disk.start_qemu())
        self._both("Linux boots in it", lambda disk: disk.boot())
        label = f"The guest makes ext4 and {FILES} files of {screen.size(FILE_BYTES)}"
        self._both(label, lambda disk: disk.write_files())
        screen.note(screen.dim("SHA-256 of every file is kept outside the guest"))
        self._both('Snapshot "before", under the running guest', lambda disk: disk.snapshot("before"))

    def _lose_everything(self):
        self._both(f"The guest works on: {REPORTS} reports, {REPORT_PAUSE_S} s apart", self._write_reports)
        times = [screen.clock(t) for t in self.predsnap.reports]
        screen.note(screen.dim("on the disk at " + ", ".join(times)))
        complaint = self._both("Disaster: rm -rf, then noise over the disk's start", lambda disk: disk.destroy())[0]
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
        newest = points[-POINTS_SHOWN:]
        shown = [p for p in points if p.get("name") and p not in newest] + newest
        for point in shown:
            screen.note(screen.dim(describe(point)))

    def _show_refusal(self):
        self._table.step("Roll back under the running guest? Refused:")
        self._table.end()
        try:
            self.predsnap.rollback(snapshot="before")
        except QmpError as e:
            screen.note(screen.dim(e.desc))
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
        self._cell(lambda: (self.predsnap.reset(), self.predsnap.check_files(reports=2)))
        self._table.cell("-")
        self._table.end()
        screen.note(screen.green(f"all {FILES} files as they were, reports 1 and 2 too, 3 not yet written"))
        screen.note(screen.dim("qcow2 keeps no moments, only snapshots"))

    def _go_back_to_the_snapshot(self):
        self.predsnap.pause()
        self._table.step('Roll back to the snapshot "before"')
        self._cell(lambda: self.predsnap.rollback(snapshot="before"))
        self._cell(lambda: self.qcow2.go_back("before"))
        self._table.end()
        screen.note(screen.dim("qcow2: QEMU must end, 'qemu-img snapshot -a', another QEMU starts"))
        self._both("boot, check every file", self._check_snapshot, substep=True)
        screen.note(screen.green(f"all {FILES} files as they were, no report yet"))

    def _check_snapshot(self, disk):
        if disk is self.predsnap:
            disk.reset()
        else:
            disk.boot()
        disk.check_files(reports=0)


def describe(point):
    """A line of the list of points."""
    kind = f'snapshot "{point["name"]}"' if point.get("name") else "flush"
    changed = point.get("bytes-changed")
    amount = f"{screen.size(changed)} changed" if changed is not None else ""
    return f"{screen.clock(point['time'])}  sequence {point['sequence']:<8} {kind:20} {amount}".rstrip()
