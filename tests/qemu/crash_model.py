# SPDX-License-Identifier: GPL-2.0-or-later
"""What a disk may hold after a crash.

Every sector that is written carries its own address and the number of the write, so that a lost, stale, torn
or misplaced one is seen. Clients write, each to a region of its own and one request at a time; the ledger
notes for each request when it was sent and when it was answered. A state of the disk is right if

  - each region holds what it held after some number of its client's requests, in their order;
  - no request that was answered before the last completed flush was sent is missing;
  - no request is missing that was answered before one that is there was sent.
"""
import itertools
import struct
from array import array
from dataclasses import dataclass, field

SECTOR = 512


def stamp(address, number):
    return struct.pack("<QQ", address, number) * (SECTOR // 16) if number else bytes(SECTOR)


def stamped(first, numbers):
    """The bytes of sectors from `first` on, each written by the write with that number; 0: zeros."""
    return b"".join(stamp(first + i, number) for i, number in enumerate(numbers))


def numbers_of(data, first=0):
    """Which write each sector is of; raises if one is of no write at all."""
    numbers = array("Q", data)[1 :: SECTOR // 8]
    expected = stamped(first, numbers)
    if expected != data:
        for i in range(len(numbers)):
            part = slice(i * SECTOR, (i + 1) * SECTOR)
            if data[part] != expected[part]:
                raise AssertionError(
                    f"sector {first + i} is torn or foreign: {data[part][:48].hex()}"
                )
    return numbers


class Inconsistent(AssertionError):
    """The disk holds what it never held."""


@dataclass
class Request:
    """A change of a region."""

    sent: int
    start: int = 0
    count: int = 0
    number: int = 0
    whole: array = None  # the whole region afterwards: a rollback
    answered: int = None

    def apply(self, numbers):
        if self.whole is not None:
            numbers[:] = self.whole
        else:
            numbers[self.start : self.start + self.count] = array("Q", [self.number]) * self.count


@dataclass
class Region:
    """A part of the disk, and what its client has done to it since its state was last known for sure."""

    first: int
    known: array
    requests: list = field(default_factory=list)

    @property
    def sectors(self):
        return len(self.known)

    def now(self):
        numbers = self.known[:]
        for request in self.requests:
            request.apply(numbers)
        return numbers

    def matches(self, held):
        """After how many requests the region was like this."""
        numbers = self.known[:]
        found = [0] if numbers == held else []
        for done, request in enumerate(self.requests, 1):
            request.apply(numbers)
            if numbers == held:
                found.append(done)
        return found

    def settle(self, held):
        self.known = held
        self.requests = []


class Ledger:
    """All regions of one disk."""

    def __init__(self, sectors, clients, first_number=1):
        each = sectors // clients
        self.regions = [Region(i * each, array("Q", bytes(8 * each))) for i in range(clients)]
        self.sectors = each * clients
        self._numbers = itertools.count(first_number)
        self._clock = itertools.count(1)
        self.flushed = 0  # when the newest flush that was answered was sent

    def tick(self):
        return next(self._clock)

    def write(self, region, start, count):
        """Notes a write that is about to be sent, with the bytes to send."""
        number = next(self._numbers)
        region.requests.append(Request(self.tick(), start, count, number))
        return stamp_range(region.first + start, count, number)

    def erase(self, region, start, count):
        """Of zeroes and discards."""
        region.requests.append(Request(self.tick(), start, count, 0))

    def replace(self, numbers):
        """Of a rollback; there is one region then."""
        self.regions[0].requests.append(Request(self.tick(), whole=numbers[:]))

    def answered(self, region):
        region.requests[-1].answered = self.tick()

    def flush_answered(self, sent):
        self.flushed = max(self.flushed, sent)

    def now(self):
        numbers = array("Q")
        for region in self.regions:
            numbers += region.now()
        return numbers

    def parts(self, numbers):
        at = 0
        for region in self.regions:
            yield region, numbers[at : at + region.sectors]
            at += region.sectors

    def require_state(self, numbers, after=None, before=None):
        """Raises unless the disk was like this at some moment. after: all answered before that must be there;
        before: nothing sent later may be."""
        after = self.flushed if after is None else after
        present = []
        for region, held in self.parts(numbers):
            found = [
                done
                for done in region.matches(held)
                if before is None or done == 0 or region.requests[done - 1].sent < before
            ]
            if not found:
                raise Inconsistent(self._explain(region, held))
            present.append((region, min(found), max(found)))
        newest_sent = max(
            (r.requests[least - 1].sent for r, least, _ in present if least), default=0
        )
        for region, _, most in present:
            for request in region.requests[most:]:
                if request.answered is None:
                    continue
                if request.answered < after:
                    raise Inconsistent(
                        f"{request} was answered before a completed flush, and is lost"
                    )
                if request.answered < newest_sent:
                    raise Inconsistent(
                        f"{request} is lost, but a later one of another client is there"
                    )

    def settle(self, numbers):
        """After a check: from here on the disk is known to be like this."""
        for region, held in self.parts(numbers):
            region.settle(held)
        self.flushed = 0

    def _explain(self, region, held):
        """The nearest state, and what differs."""
        newest = max(held)
        numbers, nearest, least = region.known[:], 0, None
        for done in range(len(region.requests) + 1):
            if done:
                region.requests[done - 1].apply(numbers)
            differing = [i for i in range(len(held)) if held[i] != numbers[i]]
            if least is None or len(differing) <= len(least):
                nearest, least, sample = (
                    done,
                    differing,
                    [(i, numbers[i], held[i]) for i in differing[:4]],
                )
        return (
            f"the region at sector {region.first} was never like this: nearest is the state after {nearest} of "
            f"{len(region.requests)} requests, but {len(least)} sectors differ (sector, write expected, write "
            f"found): {sample}; newest write found: {newest}"
        )


def stamp_range(first, count, number):
    return b"".join(stamp(first + i, number) for i in range(count))
