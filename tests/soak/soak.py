# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of one disk: see run."""
import json
import random
import time

from case import Daemon, node
from lib import image, workdir
from lib.qmp import QmpError

from guest import MIB, Guest

SEGMENT = MIB
WINDOW_S = 20
RULES = [{"every": 10, "for": 120}, {"every": 60, "for": 600}]
REPORT_S = 10
MEMORIES = 24
LOOK = 64  # blocks at once
# What may be there beside live data and history: the pool, two checkpoints, indexes, what is leaving, streams being written.
SLACK = 64 * MIB
LIVE_FACTOR = 1.25


class Soak:
    def __init__(self, options, work):
        self.options = options
        self.random = random.Random(options.seed)
        self.work = work
        self.path = work / "disk.pds"
        self.size = options.size * MIB
        image.qemu_img("create", "-q", "-f", "predsnap", "-o", f"segment_size={SEGMENT}", self.path, self.size)
        self.guest = Guest(self.size, self.random)
        self.memories = {}  # sequence number of a point: what the disk held
        self.snapshots = {}
        self.passed = self.failed = self.daemons = 0
        self.measured = []
        self.touched = []  # of each report: the blocks that were written since the one before
        self.kills = self.looked_back = 0
        self.excess = 0  # bytes not explained at the last report
        self.start()

    def start(self):
        self.daemons += 1
        self.daemon = Daemon(self.work, name=f"daemon{self.daemons}")
        options = {"cdp-window": WINDOW_S, "retention": RULES, "point-interval": 1000, "pack-after": self.options.pack_after}
        self.daemon.add(node("disk", self.path, **options))
        self.disk = self.daemon.serve("disk")

    def expect(self, good, what):
        self.passed += bool(good)
        self.failed += not good
        if not good:
            print(f"soak: FAILED: {what}", flush=True)

    def second(self):
        """What a guest does in one, and a flush: a point."""
        until = time.monotonic() + 1
        for _ in range(self.options.writes):
            self.guest.request(self.disk)
            if time.monotonic() > until:
                break
        self.disk.flush()
        if self.random.random() < 0.2:
            self.remember()
        wrong = self.guest.wrong(self.disk, self.guest.blocks, LOOK)
        self.expect(not wrong, f"blocks {wrong} do not hold what was written last")
        time.sleep(max(0, until - time.monotonic()))

    def remember(self):
        """The newest point: nothing has been written since the flush."""
        self.memories[self.daemon.points(limit=1)[-1]["sequence"]] = dict(self.guest.blocks)
        while len(self.memories) > MEMORIES:
            del self.memories[self.random.choice(list(self.memories))]

    def look_back(self):
        """At remembered points that are still kept."""
        kept = {point["sequence"]: point["kept"] for point in self.daemon.points() if point["kept"] != "leaving"}
        for sequence in [s for s in self.memories if s not in kept and s < self.daemon.info()["history"]["sequence"]]:
            del self.memories[sequence]
        known = [s for s in self.memories if s in kept]
        for sequence in self.random.sample(known, min(2, len(known))):
            try:
                wrong = self.wrong_in_view(self.memories[sequence], sequence=sequence)
            except QmpError as e:
                if "no longer in the history" not in e.desc:  # it may have grown too old meanwhile
                    raise
                continue
            self.looked_back += kept[sequence] == "rule"
            self.expect(not wrong, f"blocks {wrong} were something else at {sequence} (kept: {kept[sequence]})")

    def wrong_in_view(self, blocks, **which):
        with self.daemon.view(**which) as view:
            return self.guest.wrong(view, blocks, LOOK)

    def snapshot_or_delete(self):
        if len(self.snapshots) > 2:
            name, blocks = self.snapshots.popitem()
            wrong = self.wrong_in_view(blocks, snapshot=name)
            self.expect(not wrong, f"blocks {wrong} of the snapshot {name} are something else")
            self.daemon.qmp.execute("predsnap-snapshot-delete", node_name="disk", name=name)
        else:
            name = f"snapshot-{len(self.measured)}-{self.random.getrandbits(16)}"
            self.daemon.snapshot(name)
            self.snapshots[name] = dict(self.guest.blocks)

    def go_back(self):
        """To a remembered point within the window."""
        floor = self.daemon.info()["history"]["sequence"]
        young = [s for s in self.memories if s > floor]
        if young:
            sequence = self.random.choice(young)
            try:
                self.daemon.rollback(sequence=sequence, force=True)
            except QmpError as e:
                if "no longer in the history" not in e.desc:
                    raise
                return
            self.guest.blocks = dict(self.memories[sequence])
            wrong = self.guest.wrong(self.disk, self.guest.blocks, LOOK)
            self.expect(not wrong, f"after going back to {sequence}, blocks {wrong} are something else")

    def kill(self):
        """Everything is flushed: all of it is there afterwards."""
        self.disk.flush()
        self.daemon.kill()
        self.kills += 1
        self.start()
        wrong = self.guest.wrong(self.disk, self.guest.blocks, 4 * LOOK)
        self.expect(not wrong, f"after a kill, blocks {wrong} do not hold what was flushed")

    def kept(self):
        """Bytes that what is kept would take if nothing were shared, compressed or late: what is live, and of each interval between
        points that a rule keeps the blocks that were written in it."""
        self.touched.append(frozenset(self.guest.touched))
        self.guest.touched.clear()
        blocks, end = len(self.guest.blocks), len(self.touched)
        for rule in RULES:
            step, begin = rule["every"] // REPORT_S, max(0, len(self.touched) - rule["for"] // REPORT_S)
            blocks += sum(len(frozenset().union(*self.touched[at : min(at + step, end)])) for at in range(begin, end, step))
            end = begin
        return blocks * 4096

    def check_space(self, now):
        info = self.daemon.info()
        allocated = self.path.stat().st_blocks * 512
        segments = info["segments"]
        live = len(self.guest.blocks) * 4096
        streams = segments["stream"] * SEGMENT
        window = (segments["log"] - segments["past"]) * SEGMENT
        # What died within the window lies in older segments, as much of it as was written there at most; what has just left it
        # is not free at once. Of streams that are being merged there are two copies.
        recent = max([window, *(m["window"] for m in self.measured[-2:])])
        bound = LIVE_FACTOR * (live + streams) + 2 * recent + SLACK
        # Cleaning may be behind for a moment, on a busy machine or after a kill.
        excess = allocated - bound
        self.expect(min(excess, self.excess) <= 0, f"{allocated >> 20} MiB are allocated, {bound / MIB:.0f} are explained, and not {REPORT_S} s before either")
        self.excess = excess
        values = {
            "seconds": round(now), "allocated": allocated, "kept": self.kept(), "live": live, "streams": streams, "window": window, "past": segments["past"] * SEGMENT,
            "points": len(self.daemon.points()), "written": self.guest.written, "rss": self.rss(),
        }
        self.measured.append(values)
        print(
            f"soak: {now / 60:5.1f} min, image {allocated / MIB:6.1f} MiB, kept {values['kept'] / MIB:.0f} (live {live / MIB:.1f}, past {segments['past']}, window {window / MIB:.0f}, "
            f"streams {streams / MIB:.0f}), {values['points']} points, {self.kills} kills, {self.passed} checks, {self.failed} failed",
            flush=True,
        )

    def rss(self):
        with open(f"/proc/{self.daemon.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    def live(self):
        began = time.monotonic()
        due = {self.look_back: 5, self.snapshot_or_delete: 37, self.go_back: 53, self.kill: self.options.kill_every}
        next_at = dict(due)
        report_at = REPORT_S
        while (now := time.monotonic() - began) < self.options.minutes * 60:
            self.second()
            for what, every in due.items():
                if now >= next_at[what]:
                    what()
                    next_at[what] = now + every
            if now >= report_at:
                self.check_space(now)
                report_at = now + REPORT_S
        self.disk.flush()
        self.daemon.kill()
        image.check(self.path, "predsnap")
        self.expect(True, "qemu-img check")
        self.expect(self.looked_back or self.options.minutes < 2, "no point that a rule keeps was looked at")


def steady(measured):
    """Whether the image does not creep beside what it keeps, which follows the load: of the time after which rules keep no more points
    than before, its share of that is in the second half about what it was in the first. True if the run was too short to tell."""
    reach = max(rule["for"] for rule in RULES)
    after = [m["allocated"] / m["kept"] for m in measured if m["seconds"] > reach]
    half = len(after) // 2
    return half < 6 or max(after[half:]) <= 1.15 * max(after[:half])


def run(options):
    with workdir.WorkDir("soak") as work:
        soak = Soak(options, work)
        try:
            soak.live()
        finally:
            soak.daemon.kill()
    soak.expect(steady(soak.measured), "the image grows more than what it keeps")
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump(soak.measured, file, indent=1)
    print(f"{soak.passed} passed, {soak.failed} failed")
    return 1 if soak.failed else 0
