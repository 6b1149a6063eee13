# SPDX-License-Identifier: GPL-2.0-or-later
"""The power fails: all writes to the image are logged by blklogwrites, and replayed to each flush and to moments
between, where what was not flushed may be there, be missing, or be torn."""
import itertools
import random
import shutil

from case import QemuTest, Settings, node
from crash_client import Client, Historian
from crash_model import SECTOR, Ledger, numbers_of
from lib import image
from logwrites import FLUSH, Replay, entries_so_far, read_entries

SECTORS = 4096
SUPERBLOCK_BYTES = 8192
REQUESTS = 700
CHECKPOINTED_REQUESTS = 4000  # in small segments: enough for checkpoints
GENERATIONS = 6
TESTS = 4  # they share the cuts asked for
POINTS_PER_CUT = 3
WRITE_AGAIN_EVERY = 20  # cuts


class LoggedLedger(Ledger):
    """Notes how long the log was when each flush was answered."""

    def __init__(self, sectors, clients, log_path, first_number=1):
        super().__init__(sectors, clients, first_number)
        self.log_path = log_path
        self._answers = []  # (entries, when the flush was sent)

    def flush_answered(self, sent):
        self._answers.append((entries_so_far(self.log_path), sent))

    def flushed_at(self, entries):
        """When the newest flush was sent that was answered before the log was that long."""
        return max((sent for length, sent in self._answers if length <= entries), default=0)


class LoggedHistorian(Historian):
    """Notes how long the log was when each point was there for sure."""

    def _note(self):
        self.points[-1].entries = entries_so_far(self.ledger.log_path)

    def flush(self):
        super().flush()
        self._note()

    def snapshot(self):
        sent = self.ledger.tick()
        super().snapshot()
        self.ledger.flush_answered(sent)
        self._note()


class PowerCut(QemuTest):
    looker = None  # the daemon for all cuts, as long as it lives

    def logged_node(self):
        return {
            "driver": "predsnap",
            "node-name": "disk",
            "discard": "unmap",
            "file": {
                "driver": "blklogwrites",
                "discard": "unmap",
                "file": image.file_node(self.path, discard="unmap"),
                "log": image.file_node(self.log),
            },
        }

    def begin(self, clients, segment_size):
        """A new image, of which everything is known."""
        self.draw = random.Random(f"{Settings.seed} {clients} {segment_size}")
        self.path = self.create(
            size=str(SECTORS * SECTOR), options=[f"segment_size={segment_size}"]
        )
        self.before = self.work / "before.pds"
        self.device = self.work / "device.pds"
        self.log = self.work / "writes.log"
        self.ledger = LoggedLedger(SECTORS, clients, self.log)
        self.points = []

    def record(self, requests, name="s"):
        """Lets clients work, and keeps the device as it was before with the log of what was written to it."""
        shutil.copyfile(self.path, self.before)
        self.log.write_bytes(b"")
        daemon = self.daemon()
        daemon.add(self.logged_node())
        workers = list(self.workers(daemon, requests, name))
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.finish()
        self.checkpoints = daemon.info()["stats"]["checkpoints"]
        daemon.quit()
        self.entries = read_entries(self.log)
        self.assertGreater(len(self.entries), requests // 4)

    def workers(self, daemon, requests, name):
        alone = len(self.ledger.regions) == 1
        for region in self.ledger.regions:
            disk = daemon.serve("disk") if region.first == 0 else daemon.connect("disk")
            draw = random.Random(self.draw.random())
            if alone:
                worker = LoggedHistorian(self.ledger, disk, draw, daemon, self.points, name)
            else:
                worker = Client(self.ledger, region, disk, draw)
            worker.step = counted(worker, requests // len(self.ledger.regions))
            yield worker

    def moments(self, wanted):
        """After each write of a superblock, which all else hangs on; before and after each flush as far as asked
        for; then any."""
        heads, flushes = [], []
        for i, entry in enumerate(self.entries):
            if entry.flags & FLUSH:
                flushes += [i, i + 1]
            elif entry.offset < SUPERBLOCK_BYTES:
                heads.append(i + 1)
        moments = set(self.draw.sample(heads, min(len(heads), wanted // 3)))
        flushes = self.draw.sample(flushes, min(len(flushes), wanted - len(moments)))
        moments.update(flushes)
        any_moment = range(len(self.entries) + 1)
        more = self.draw.sample(any_moment, min(len(any_moment), wanted - len(moments)))
        return sorted(moments.union(more))

    def replay(self):
        shutil.copyfile(self.before, self.device)
        replay = Replay(self.log, self.device, self.entries)
        self.addCleanup(replay.close)
        return replay

    def cut_everywhere(self, wanted):
        replay = self.replay()
        for number, moment in enumerate(self.moments(wanted)):
            replay.advance(moment)
            what = f"seed {Settings.seed}, power cut {number} after {moment} of {len(self.entries)} writes"
            with self.subTest(what):
                replay.cut(self.draw)
                try:
                    self.looker = self.looker or self.daemon()
                    self.look(moment, self.device, **{"read-only": True})
                    if number % WRITE_AGAIN_EVERY == 0:
                        self.write_again(moment)
                except BaseException:
                    self.looker.kill()
                    self.looker = None
                    raise
                finally:
                    replay.uncut()

    def look(self, moment, path, **options):
        """The disk and some points, as they must be whatever was lost."""
        daemon = self.looker
        daemon.add(node("disk", path, **options))
        disk = daemon.serve("disk", writable=not options)
        held = numbers_of(disk.read(0, SECTORS * SECTOR))
        self.ledger.require_state(held, after=self.ledger.flushed_at(moment))
        there = [p for p in self.points if p.entries <= moment]
        for point in self.draw.sample(there, min(POINTS_PER_CUT, len(there))) + there[-1:]:
            view = numbers_of(daemon.read_view(SECTORS * SECTOR, **point.where))
            self.assertEqual(view, point.numbers, f"point {point.where}")
        if not options:
            disk.write(0, b"again" * 1024)
            disk.flush()
        disk.close()
        daemon.stop_serving("disk")
        daemon.remove("disk")
        return held

    def write_again(self, moment):
        """The image that was recovered takes writes, and is whole."""
        copy = self.work / "copy.pds"
        shutil.copyfile(self.device, copy)
        self.look(moment, copy)
        image.check(copy, "predsnap")
        copy.unlink()

    def cut_and_go_on(self):
        """Like a real power cut: the image is what it was at one moment, and life goes on with it."""
        moment = self.draw.randint(len(self.entries) // 2, len(self.entries))
        replay = self.replay()
        replay.advance(moment)
        replay.cut(self.draw)
        held = self.look(moment, self.device, **{"read-only": True})
        shutil.copyfile(self.device, self.path)
        self.points = [p for p in self.points if p.entries <= moment]
        for point in self.points:
            point.entries = 0
        self.ledger = LoggedLedger(SECTORS, 1, self.log, first_number=max(held) + 1)
        self.ledger.settle(held)

    def test_one_client_small_segments(self):
        self.begin(1, "64k")
        self.record(CHECKPOINTED_REQUESTS)
        self.assertGreater(self.checkpoints, 1)
        self.cut_everywhere(Settings.cuts // TESTS)

    def test_one_client_big_segments(self):
        self.begin(1, "4M")
        self.record(REQUESTS)
        self.cut_everywhere(Settings.cuts // TESTS)

    def test_four_clients(self):
        self.begin(4, "256k")
        self.record(REQUESTS)
        self.cut_everywhere(Settings.cuts // TESTS)

    def test_again_and_again(self):
        """Each time the image goes on from what a power cut has left of it."""
        self.begin(1, "128k")
        for generation in range(GENERATIONS):
            self.record(REQUESTS // GENERATIONS, f"g{generation}")
            self.cut_everywhere(Settings.cuts // TESTS // GENERATIONS)
            self.looker = self.looker or self.daemon()
            self.cut_and_go_on()


def counted(worker, count):
    """The worker's step, which ends the worker after so many."""
    step, left = worker.step, itertools.count(count - 1, -1)

    def counting():
        if next(left) <= 0:
            worker.stop.set()
        step()

    return counting
