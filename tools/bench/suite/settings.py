# SPDX-License-Identifier: GPL-2.0-or-later
"""How large and how long everything is."""
from dataclasses import dataclass, replace

GIB = 1 << 30
MIB = 1 << 20
BLOCK = 4096
# 4096 times an odd number: on a disk of a power of two it visits every block once, in no order.
STRIDE = 165900288


class BenchError(Exception):
    """The benchmark cannot go on; the text says what to do."""


@dataclass(frozen=True)
class Settings:
    size: int = 2 * GIB  # of the disks of the peers
    rounds: int = 5
    seconds: float = 1.5  # that a run in process aims at
    nbd_rounds: int = 3
    nbd_seconds: float = 3.0
    snapshot_seconds: float = 4.0
    extents: int = 10_000_000
    rollback_writes: int = 1_000_000
    engine_rounds: int = 3
    cpu_writes: int = 100_000
    quick: bool = False
    predicted: bool = False  # predsnap's disks record what is read and written; where a daemon has them, predsnapd follows

    def with_predictions(self):
        """Runs of a daemon last longer than it takes predsnapd to tell it something, which is ten seconds."""
        return replace(self, predicted=True, nbd_seconds=12.0, snapshot_seconds=12.0)

    @classmethod
    def for_a_look(cls):
        """Small enough for a look whether all of it works; its figures mean nothing."""
        return cls(
            size=256 * MIB,
            rounds=1,
            seconds=0.2,
            nbd_rounds=1,
            nbd_seconds=1.0,
            snapshot_seconds=2.0,
            extents=200_000,
            rollback_writes=20_000,
            engine_rounds=1,
            cpu_writes=20_000,
            quick=True,
        )

    @property
    def blocks(self):
        return self.size // BLOCK

    @property
    def log_bytes(self):
        """What the runs of a row append to a log at most: one for each round, and to find the pace."""
        once = min(1.3 * self.size, self.seconds * GIB)
        return int((self.rounds + 2) * once)


def odd_stride_unlike(stride, size):
    """Another odd stride over the blocks of a disk of a power of two: read with it, blocks that were
    written with `stride` into a log come back in no order either, where the same stride would read
    the log from front to back."""
    blocks = size // BLOCK
    ratio = int(blocks * 0.6180339887) | 1  # golden: consecutive steps land far apart
    return stride // BLOCK * ratio % blocks * BLOCK
