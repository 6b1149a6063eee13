# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows measured in process, with qemu-img bench."""
from dataclasses import dataclass, field

from . import img_bench, peers
from .img_bench import RANDOM_WRITE, Load
from .peers import (
    CopyBeforeWrite,
    Overlay,
    Predsnap,
    PredsnapAfterSnapshot,
    PredsnapGrowing,
    Qcow2,
    Qcow2AfterSnapshot,
    Raw,
    RawGathered,
    SubclusterOverlay,
)
from .result import Figure, Goal, Result, median_ratio
from .rounds import alternate, compare
from .row import Row
from .settings import STRIDE, odd_stride_unlike

RANDOM_1 = Load(write=True, depth=1)
FLUSHED_1 = Load(write=True, depth=1, flush=True)


@dataclass
class Comparison:
    """A figure: how one kind of peer does against another under one load."""

    title: str
    of: type
    to: type
    goal: Goal | None = None


@dataclass
class Part:
    """A load and what is concluded from it. A stride of None stands for one request after another."""

    key: str
    title: str
    load: Load
    comparisons: list
    notes: list = field(default_factory=list)


class LoadRow(Row):
    """Loads on several peers, which take turns; ratios are to the first of them."""

    def __init__(self, key, kinds, parts, overwritten=False):
        self.key = key
        self.title = parts[0].title
        self.kinds = kinds
        self.parts = parts
        self.overwritten = overwritten  # whether all is written in random order first

    def space(self, settings):
        return sum(kind.space(settings) for kind in self.kinds)

    def run(self, bench):
        made = peers.make(self.kinds, bench.work, bench.settings)
        for peer in made:
            bench.progress(f"making {peer.label}")
            peer.build()
            peer.prepare(-1)
            if self.overwritten:
                bench.progress(f"overwriting all of {peer.label}")
                img_bench.run(peer.node(), RANDOM_WRITE, bench.settings.blocks)
                peer.overwritten()
        return [self._run_part(part, made, bench) for part in self.parts]

    def _run_part(self, part, made, bench):
        values = self._measure(self._load(part, bench.settings), made, bench)
        measures = compare([peer.label for peer in made], values, "IOPS")
        by_kind = dict(zip(self.kinds, values))
        figures = [
            Figure(part.key, c.title, median_ratio(by_kind[c.of], by_kind[c.to]), "", c.goal)
            for c in part.comparisons
        ]
        return Result(part.key, part.title, measures, figures, list(part.notes))

    def _load(self, part, settings):
        load = part.load
        if load.write or load.stride is None:
            return load
        stride = odd_stride_unlike(STRIDE, settings.size)
        return Load(load.write, load.depth, load.flush, load.length, stride)

    def _measure(self, load, made, bench):
        counts = {}
        for peer in made:
            bench.progress(f"finding the pace of {peer.label}")
            own = peer.load(load)
            most = peer.requests_max() if load.write else bench.settings.size // load.length
            most = most * load.length // own.length
            counts[peer] = img_bench.count_for(peer.node(), own, bench.settings.seconds, most)

        def prepare(peer, number):
            if load.write:
                peer.prepare(number)

        def measure(peer):
            own = peer.load(load)
            done = img_bench.run(peer.node(), own, counts[peer])
            return done.per_second * own.length / load.length

        return alternate(made, bench.settings.rounds, prepare, measure, bench.progress)


def write_rows():
    every = [
        *(Raw, Predsnap, PredsnapGrowing, PredsnapAfterSnapshot, Qcow2, Qcow2AfterSnapshot),
        *(Overlay, SubclusterOverlay, CopyBeforeWrite, RawGathered),
    ]
    title = "4 KiB random write, depth 32"
    yield LoadRow(
        "write-32",
        every,
        [
            Part(
                "write-32",
                title,
                RANDOM_WRITE,
                [
                    Comparison(f"{title}, against raw", Predsnap, Raw, Goal(2.5)),
                    Comparison(
                        "after a snapshot, against qcow2 after a snapshot",
                        *(PredsnapAfterSnapshot, Qcow2AfterSnapshot, Goal(50)),
                    ),
                    Comparison("after a snapshot, against none", PredsnapAfterSnapshot, Predsnap),
                    Comparison("the limit of any log, against raw", RawGathered, Raw),
                ],
            )
        ],
    )
    title = "4 KiB random write, depth 1"
    comparison = Comparison(f"{title}, against raw", Predsnap, Raw, Goal(0.95))
    kinds = [Raw, Predsnap, PredsnapGrowing, PredsnapAfterSnapshot, Qcow2, Qcow2AfterSnapshot]
    yield LoadRow("write-1", kinds, [Part("write-1", title, RANDOM_1, [comparison])])
    title = "4 KiB write + flush, depth 1"
    comparison = Comparison(f"{title}, against raw", Predsnap, Raw, Goal(0.95))
    kinds = [Raw, Predsnap, PredsnapGrowing, Qcow2]
    yield LoadRow("write-flush-1", kinds, [Part("write-flush-1", title, FLUSHED_1, [comparison])])


def read_rows():
    parts = []
    for depth in (32, 1):
        title = f"4 KiB random read after random overwrite, depth {depth}"
        comparison = Comparison(f"{title}, against raw", PredsnapGrowing, Raw, Goal(0.95))
        load = Load(write=False, depth=depth)
        parts.append(Part(f"read-random-{depth}", title, load, [comparison]))
    title = "sequential read after random overwrite, 128 KiB, depth 8"
    comparison = Comparison(f"{title}, against raw (before coalescing)", PredsnapGrowing, Raw)
    load = Load(write=False, depth=8, length=128 * 1024, stride=None)
    parts.append(Part("read-sequential", title, load, [comparison]))
    yield LoadRow("read", [Raw, PredsnapGrowing, Qcow2], parts, overwritten=True)


def rows():
    return [*write_rows(), *read_rows()]
