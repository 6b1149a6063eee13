// SPDX-License-Identifier: GPL-2.0-or-later
//
// Test data. Every sector written carries its address and the number of the write, in every word,
// so that a sector that is misplaced, stale, torn or mixed is recognised.
#pragma once

#include <cstdint>
#include <string>

namespace predsnap::sim {

// What a sector may hold. Numbers from kFirstWrite on are those of writes.
using Value = uint64_t;
inline constexpr Value kZero = 0;        // reads as zeros, whatever lies below
inline constexpr Value kHole = 1;        // the backing disk shows through
inline constexpr Value kZeroOrHole = 2;  // read as zeros; which of the two is not known
inline constexpr Value kBadContent =
    3;                                // observed only: no stamp, or one that does not belong here
inline constexpr Value kNotSeen = 4;  // observed only: nobody looked
inline constexpr Value kFirstWrite = 16;
// A write with this bit changes only a few bytes of each sector that the one before had with this bit: the rest
// depends on the address alone.
inline constexpr Value kSlimWrite = 1ull << 62;

void stamp(void* sector, uint64_t address, Value value);
// The number of the write that put this content at this address; kZero if all zeros, kHole if it is
// the backing disk's content of that address.
Value read_stamp(const void* sector, uint64_t address);
// Says what a sector seems to hold: for messages, and for finding stamped sectors in an image.
struct Stamp {
    bool valid = false;
    uint64_t address = 0;
    Value value = 0;
};
Stamp decode_stamp(const void* sector);
std::string describe_content(const void* sector);
std::string describe_value(Value value);

}  // namespace predsnap::sim
