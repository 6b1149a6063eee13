# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the log that QEMU's blklogwrites (and Linux's dm-log-writes) makes of all writes to a device, and puts
a copy of the device into states that a power failure could have left it in."""
import struct
from dataclasses import dataclass

MAGIC = 0x6A736677736872
SUPERBLOCK = struct.Struct("<QQQI")  # magic, version, entries, sector size
ENTRY = struct.Struct(
    "<QQQQ"
)  # sector, sectors, flags, bytes of data that belong to the entry's own sector
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
SECTOR = 512


def entries_so_far(log_path):
    """As the superblock says, which blklogwrites writes before it answers a flush."""
    with open(log_path, "rb") as f:
        block = f.read(SUPERBLOCK.size)
    if len(block) < SUPERBLOCK.size:
        return 0
    magic, _, entries, _ = SUPERBLOCK.unpack(block)
    assert magic in (MAGIC, 0), hex(magic)
    return entries


@dataclass
class Entry:
    """One write, discard or flush."""

    offset: int
    length: int
    flags: int
    data_at: int  # in the log


def read_entries(log_path):
    """All entries of a log whose device was closed or whose process was killed."""
    found = []
    with open(log_path, "rb") as f:
        magic, version, entries, sector_size = SUPERBLOCK.unpack(f.read(SUPERBLOCK.size))
        assert (magic, version, sector_size) == (MAGIC, 1, SECTOR), "no log of blklogwrites"
        at = SECTOR
        for _ in range(entries):
            f.seek(at)
            sector, sectors, flags, _ = ENTRY.unpack(f.read(ENTRY.size))
            at += SECTOR
            found.append(Entry(sector * SECTOR, sectors * SECTOR, flags, at))
            if not flags & DISCARD:
                at += sectors * SECTOR
    return found


class Replay:
    """A copy of the device, moved from one moment to the next.

    What was written since the newest flush may each be there, be missing, or be there in some sectors only.
    """

    def __init__(self, log_path, device_path, entries):
        self.entries = entries
        self.at = 0  # entries before this one are applied or pending
        self._log = open(log_path, "rb")
        self._device = open(device_path, "r+b")
        self._pending = []  # since the newest flush, in order
        self._undo = []

    def close(self):
        self._log.close()
        self._device.close()

    def advance(self, to):
        """Until before entry `to`."""
        for entry in self.entries[self.at : to]:
            if entry.flags & FUA:
                self._apply(entry)
            elif entry.length:
                self._pending.append(entry)
            if entry.flags & FLUSH:
                for pending in self._pending:
                    self._apply(pending)
                self._pending = []
        self.at = to

    def cut(self, draw):
        """The power fails now. Call uncut() before anything else."""
        assert not self._undo
        self._size = self._device.seek(0, 2)
        lost = draw.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        pending = self._pending[:]
        if draw.random() < 0.3:
            draw.shuffle(pending)  # overlapping writes that are in flight together have no order
        for entry in pending:
            if draw.random() < lost:
                continue
            if draw.random() < 0.3:
                self._tear(entry, draw)
            else:
                self._apply(entry, keep=True)
        self._device.flush()

    def _tear(self, entry, draw):
        """Some of its sectors got there: the first ones, the last ones, or any."""
        sectors = entry.length // SECTOR
        kind, where = draw.random(), draw.randint(0, sectors)
        if kind < 0.4:
            self._apply(entry, 0, where, keep=True)
        elif kind < 0.8:
            self._apply(entry, where, sectors, keep=True)
        else:
            for sector in sorted(draw.sample(range(sectors), min(where, 16))):
                self._apply(entry, sector, sector + 1, keep=True)

    def uncut(self):
        """Puts everything back that cut() has changed."""
        for offset, old in reversed(self._undo):
            self._device.seek(offset)
            self._device.write(old)
        self._undo = []
        self._device.truncate(self._size)
        self._device.flush()

    def _apply(self, entry, first=0, last=None, keep=False):
        """Sectors [first, last) of an entry."""
        offset = entry.offset + first * SECTOR
        length = entry.length - first * SECTOR if last is None else (last - first) * SECTOR
        if length <= 0:
            return
        if entry.flags & DISCARD:
            data = bytes(length)
        else:
            self._log.seek(entry.data_at + first * SECTOR)
            data = self._log.read(length)
            data += bytes(length - len(data))
        if keep:
            self._device.seek(offset)
            self._undo.append((offset, self._device.read(length)))
        self._device.seek(offset)
        self._device.write(data)
