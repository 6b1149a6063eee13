# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes a predsnap superblock and makes its checksum right again, as somebody hostile, or the future, would.

Offsets as in docs/format.md."""
import ctypes
import ctypes.util
import struct
from dataclasses import dataclass

SLOT_BYTES = 4096
SLOTS = 2
CHECKSUM_AT = 4088
FIELDS = {
    "version": (4, "<I"),
    "generation": (8, "<Q"),
    "incompatible": (32, "<Q"),
    "compatible": (40, "<Q"),
    "autoclear": (48, "<Q"),
    "initial_size": (56, "<Q"),
    "virtual_size": (64, "<Q"),
    "segment_size": (72, "<I"),
    "checkpoint_segment": (76, "<I"),
    "checkpoint_sequence": (80, "<Q"),
    "durable_sequence": (96, "<Q"),
    "log_segment": (112, "<I"),
    "log_ordinal": (120, "<Q"),
    "backing_file_length": (144, "<H"),
    "backing_format_length": (146, "<H"),
}


def _hash64(data):
    name = ctypes.util.find_library("xxhash") or "libxxhash.so.0"
    function = ctypes.CDLL(name).XXH3_64bits
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return function(bytes(data), len(data))


@dataclass
class Superblock:
    """One slot."""

    slot: int
    block: bytearray

    @classmethod
    def slots(cls, path):
        with open(path, "rb") as f:
            return [cls(slot, bytearray(f.read(SLOT_BYTES))) for slot in range(SLOTS)]

    @classmethod
    def read(cls, path):
        """The newest one, of an image without damage."""
        return max(cls.slots(path), key=lambda block: block.get("generation"))

    def get(self, field):
        at, kind = FIELDS[field]
        return struct.unpack_from(kind, self.block, at)[0]

    def set(self, field, value):
        at, kind = FIELDS[field]
        struct.pack_into(kind, self.block, at, value)

    def intact(self):
        return struct.unpack_from("<Q", self.block, CHECKSUM_AT)[0] == self._checksum()

    def _checksum(self):
        return _hash64(self.block[:CHECKSUM_AT] + bytes(SLOT_BYTES - CHECKSUM_AT))

    def write(self, path):
        """With a right checksum, as the newest."""
        self.set("generation", self.get("generation") + SLOTS)
        struct.pack_into("<Q", self.block, CHECKSUM_AT, self._checksum())
        with open(path, "r+b") as f:
            f.seek(self.slot * SLOT_BYTES)
            f.write(self.block)


def forge(path, **fields):
    superblock = Superblock.read(path)
    assert superblock.intact(), "the checksum is not computed as the engine does"
    for field, value in fields.items():
        superblock.set(field, value)
    superblock.write(path)
