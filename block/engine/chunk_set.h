// SPDX-License-Identifier: GPL-2.0-or-later
//
// A set of chunks (64 KiB of the guest's disk), as runs: chunks that change lie together mostly. Stored as a roaring
// bitmap in the portable format of CRoaring and its relatives, so that others can read it. Not by CRoaring itself:
// what distributions ship of that is under the Apache licence only, which cannot be linked into QEMU; the unit
// tests compare the two.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "types.h"

namespace predsnap {

// All chunks of the largest disk have numbers of 32 bits.
static_assert(kVmStateBase.value / kChunkSectors == uint64_t{1} << 32);

class ChunkSet {
  public:
    struct Run {
        uint32_t first, last;
        bool operator==(const Run&) const = default;
    };
    // A hostile image may ask for any number.
    static constexpr size_t kMaxRuns = 8 << 20;

    // Adds first..last. `first` is not less than that of any call before.
    void append(uint32_t first, uint32_t last);

    bool empty() const { return runs_.empty(); }
    uint64_t count() const;
    bool contains(uint32_t chunk) const;
    const std::vector<Run>& runs() const { return runs_; }
    uint64_t memory_bytes() const { return runs_.capacity() * sizeof(Run); }

    bool operator==(const ChunkSet&) const = default;
    friend ChunkSet operator|(const ChunkSet& a, const ChunkSet& b);
    friend ChunkSet operator&(const ChunkSet& a, const ChunkSet& b);
    friend ChunkSet operator-(const ChunkSet& a, const ChunkSet& b);

    // The portable format of roaring bitmaps: of each 65536 chunks the shortest of its three containers.
    std::vector<uint8_t> encode() const;
    // Nothing unless the bytes are just such a bitmap, with sorted containers that say how much they hold, and of no
    // more runs than that.
    static std::optional<ChunkSet> decode(std::span<const uint8_t> bytes, size_t max_runs = kMaxRuns);

  private:
    std::vector<Run> runs_;  // ascending, with gaps between them
};

}  // namespace predsnap
