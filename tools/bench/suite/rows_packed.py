# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a disk whose data is packed: how fast it is read, and what that costs of the processor.

qemu-img bench reads all requests that are under way into one buffer. Where their contents differ, each overwrites what the
others have just read, whose checksum then fails, and who read it once more: so there is only one at a time here, and more over
NBD, where each has a buffer of its own.
"""
import random
import time

from lib import image
from lib.nbd import NbdClient

from . import daemon, img_bench, peers
from .daemon import NODE, FioLoad
from .img_bench import Load
from .peers import Peer, forget_pages
from .result import Measure, Result
from .row import Row
from .rows_nbd import NbdRow
from .rows_process import Comparison, LoadRow, Part
from .settings import MIB, STRIDE, BenchError, odd_stride_unlike

PIECE = 4 * MIB  # of text; the disk is the same again and again, which frames do not see
LOG_ON = 4  # segments of the log written after it, so that it is past
SEGMENT = 8 * MIB
PACKED_PART = 0.9  # of the disk, at least
PACK_S = 600
SEQUENTIAL = Load(write=False, depth=1, length=128 * 1024, stride=None)


def text():
    """Lines of a log, of which zstd leaves two fifths."""
    dice = random.Random(1)
    lines = bytearray()
    while len(lines) < PIECE:
        what = dice.choice((b"GET", b"PUT", b"POST"))
        lines += b"%09d %s /item/%d %x\n" % (dice.randrange(10**9), what, dice.randrange(10**6), dice.getrandbits(48))
    return bytes(lines[:PIECE])


class Filled(Peer):
    """Text, written in order."""

    def build(self):
        source = self.work / "text"
        if not source.exists():
            piece = text()
            with open(source, "wb") as file:
                for _ in range(self.size // PIECE):
                    file.write(piece)
        image.qemu_img("convert", "-t", "none", "-f", "raw", "-O", self.driver, source, self.path)
        forget_pages(self.path)

    @classmethod
    def space(cls, settings):
        return settings.size * 2


class FilledRaw(Filled):
    label = "raw"
    driver = "raw"


class FilledPredsnap(Filled):
    label = "predsnap, not packed"
    driver = "predsnap"


class PackedPredsnap(FilledPredsnap):
    label = "predsnap, packed"

    def build(self):
        super().build()
        options = {"cdp-window": 0, "pack-after": 0}
        with daemon.exported(self.work, {**self.node(), **options}) as server, \
                NbdClient(self.work / "nbd.socket", NODE) as disk:
            for at in range(self.size - LOG_ON * SEGMENT, self.size, MIB):
                disk.write(at, disk.read(at, MIB))
            disk.flush()
            until = time.monotonic() + PACK_S
            while server.qmp.execute("query-predsnap", node_name=NODE)[0]["packed"] < PACKED_PART * self.size:
                if time.monotonic() > until:
                    raise BenchError(f"less than {PACKED_PART:.0%} of the disk was packed in {PACK_S} s")
                time.sleep(0.2)
        forget_pages(self.path)


KINDS = [FilledRaw, FilledPredsnap, PackedPredsnap]


class PackedCpuRow(Row):
    """What more reads add to the processor's time of one process."""

    key = "packed-cpu"
    title = "CPU per 4 KiB random read, depth 1"
    few, many = 1000, 21_000

    def space(self, settings):
        return sum(kind.space(settings) for kind in KINDS)

    def run(self, bench):
        made = peers.make(KINDS, bench.work, bench.settings)
        load = Load(write=False, depth=1, stride=odd_stride_unlike(STRIDE, bench.settings.size))
        for peer in made:
            bench.progress(f"making {peer.label}")
            peer.build()
        values = {peer.label: [] for peer in made}
        for number in range(bench.settings.engine_rounds):
            for peer in made:
                bench.progress(f"round {number + 1}: {peer.label}")
                used = [img_bench.run(peer.node(), load, count) for count in (self.few, self.many)]
                few, many = (run.user_s + run.system_s for run in used)
                values[peer.label].append((many - few) * 1e6 / (self.many - self.few))
        measures = [Measure(label, of, "µs") for label, of in values.items()]
        note = "Time of all threads, in the kernel, too, of qemu-img bench."
        return [Result(self.key, self.title, measures, [], [note])]


def part(key, title, load):
    against = [
        Comparison(f"{title}, against not packed", PackedPredsnap, FilledPredsnap),
        Comparison(f"{title}, against raw", PackedPredsnap, FilledRaw),
    ]
    return Part(key, title, load, against)


def rows():
    random_title = "4 KiB random read of packed data, depth 1"
    parts = [
        part("packed-read-1", random_title, Load(write=False, depth=1)),
        part("packed-read-sequential", "sequential read of packed data, 128 KiB, depth 1", SEQUENTIAL),
    ]
    nbd_title = "4 KiB random read of packed data over NBD, depth 32"
    nbd_load = FioLoad(write=False, depth=32)
    return [
        LoadRow("packed-read", KINDS, parts),
        NbdRow("packed-read-nbd-32", nbd_title, nbd_load, None, [FilledPredsnap, PackedPredsnap, FilledRaw]),
        PackedCpuRow(),
    ]
