// SPDX-License-Identifier: GPL-2.0-or-later
//
// Strong types for the quantities that are easily confused: a guest sector, a sector of the image,
// a segment, a sequence number, a moment. Plain integers are used only for byte counts and indexes.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace predsnap {

constexpr uint32_t kSectorSize = 512;
// Appends are aligned to blocks, and payload is checksummed in units of at most one block.
constexpr uint32_t kBlockSize = 4096;
constexpr uint32_t kSectorsPerBlock = kBlockSize / kSectorSize;

template <typename Tag, typename Rep = uint64_t>
struct Strong {
    Rep value = 0;

    constexpr Strong() = default;
    constexpr explicit Strong(Rep v) : value(v) {}
    constexpr auto operator<=>(const Strong&) const = default;
    constexpr Strong operator+(Rep n) const { return Strong(value + n); }
    constexpr Strong operator-(Rep n) const { return Strong(value - n); }
    constexpr Rep operator-(Strong other) const { return value - other.value; }
    constexpr Strong& operator+=(Rep n) {
        value += n;
        return *this;
    }
};

// A sector of the guest's address space. Sectors from kVmStateBase on hold saved VM state.
using Sector = Strong<struct SectorTag>;
// A sector of the image file, counted from the file's start.
using Place = Strong<struct PlaceTag>;
// Index of a segment of the image. The superblock area before segment 0 is not a segment.
using SegmentId = Strong<struct SegmentTag, uint32_t>;
// Counts batches. State "at sequence s" is the disk after batch s; 0 is the empty disk.
using Sequence = Strong<struct SequenceTag>;
// Microseconds since the Unix epoch.
using Time = Strong<struct TimeTag, int64_t>;

// Microseconds from one time to the other, or as many as fit: an image, and a clock, may say anything.
constexpr int64_t elapsed_us(Time from, Time to) {
    int64_t difference;
    if (__builtin_sub_overflow(to.value, from.value, &difference)) {
        return to < from ? INT64_MIN : INT64_MAX;
    }
    return difference;
}

// Earliest and latest of some times; clocks may go back, so they need not be in order.
struct TimeSpan {
    Time first{INT64_MAX}, last{INT64_MIN};

    constexpr void include(Time time) {
        first = time < first ? time : first;
        last = last < time ? time : last;
    }
    constexpr bool overlaps(Time since, Time until) const { return first <= until && last >= since; }
};

constexpr SegmentId kNoSegment{UINT32_MAX};

// What is said of the guest's disk as a whole (how it is written, what changed) is said of chunks of it.
constexpr uint64_t kChunkSectors = (64 << 10) / kSectorSize;

// The guest disk occupies [0, kVmStateBase); VM state is addressed above it in the same map, so that
// it is logged, checksummed, kept and rolled back exactly as data is.
constexpr Sector kVmStateBase{1ull << 39};
constexpr Sector kSectorLimit{1ull << 40};
// Places are stored in 40 bits.
constexpr Place kPlaceLimit{1ull << 40};

// From here on places are virtual: of deltas (delta.h), and of streams (stream.h), not of sectors of the image.
constexpr Place kDeltaPlaces{1ull << 38};
constexpr Place kStreamPlaces{1ull << 39};
// Deltas lie at multiples of that in the image; virtual places count them. So they reach up to 16 TiB of it.
constexpr uint32_t kDeltaUnit = 64;

constexpr uint64_t align_down(uint64_t n, uint64_t to) { return n / to * to; }
constexpr uint64_t align_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }
constexpr uint64_t to_bytes(Sector s) { return s.value * kSectorSize; }
constexpr uint64_t to_bytes(Place p) { return p.value * kSectorSize; }

}  // namespace predsnap
