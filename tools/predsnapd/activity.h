// SPDX-License-Identifier: GPL-2.0-or-later
//
// All that is remembered of a disk's requests: per chunk, per region, and of the disk as a whole. One
// pass over the requests, in order of time, in bounded memory. One thread.
#pragma once

#include <array>
#include <span>
#include <unordered_map>
#include <vector>

#include "access.h"
#include "fading.h"
#include "rhythm.h"
#include "streams.h"
#include "successors.h"
#include "surroundings.h"

namespace predsnap::predict {

// What is known of a chunk. An array's index is the op's.
struct Chunk {
    ChunkId id = 0;
    std::array<FadingCount, 2> counts;  // requests
    std::array<Rhythm, 2> rhythm;
    std::array<float, 2> length{};  // mean of log2 of the requests' bytes
    float sequential = 0;           // share of requests that continued a run
    float aligned = 0;              // share of requests that are whole blocks
    float changed = -1;             // mean share of bytes changed by a write; below 0: not known
    float changed_last = -1;        // and by the last one of which that is known
    uint32_t hours_today = 0;       // bit h: visited in hour h (UTC) of the day of the last visit
    uint32_t hours_before = 0;      // the same of the days before
    std::array<Successors, 2> after;  // which chunks came next

    int64_t last_us() const { return std::max(rhythm[0].last_us(), rhythm[1].last_us()); }
};

// Sixteen neighbouring chunks, 256, and all. Larger ones count what happens to places near by.
struct Region {
    std::array<FadingCount, 2> counts;
};
inline constexpr std::array<uint32_t, 2> kRegionShifts = {4, 8};  // log2 of a region's chunks

class Activity {
  public:
    // At most so many chunks are remembered: when there are more, the quarter idle for longest is forgotten.
    static constexpr size_t kChunksMax = 1 << 16;
    explicit Activity(size_t chunks_max = kChunksMax) : chunks_max_(chunks_max) {}

    // Times must not decrease; one that does counts as the latest.
    void observe(Access access);

    // What is known of the host at that time, and of the application.
    void surround(int64_t time_us, const Surroundings& surroundings) {
        surroundings_ = surroundings;
        surrounded_us_ = time_us;
    }
    // As it was seen within the minute before that moment; never what came after it.
    Surroundings surroundings(int64_t now_us) const;

    int64_t now_us() const { return now_us_; }
    int64_t begin_us() const { return begin_us_; }
    std::span<const Chunk> chunks() const { return chunks_; }
    const Chunk* find(ChunkId id) const;
    // Of the region of that size that the chunk lies in; null: nothing happened there.
    const Region* region(size_t size, ChunkId id) const;
    const Region& whole() const { return whole_; }
    // Bytes a second that were written lately: the higher one of the last ten seconds and the last minute.
    double write_rate(int64_t now_us) const;
    const Streams& streams() const { return streams_; }
    size_t memory_bytes() const;

  private:
    Chunk& chunk(ChunkId id);
    void visit(ChunkId id, const Access& access, bool sequential);
    void count_regions(ChunkId id, const Access& access);
    void follow(uint32_t slot, Op op);
    void forget_oldest();

    const size_t chunks_max_;
    std::vector<Chunk> chunks_;
    std::unordered_map<ChunkId, uint32_t> slots_;
    std::array<std::unordered_map<uint64_t, Region>, kRegionShifts.size()> regions_;
    Region whole_;
    FadingCount written_bytes_;
    Streams streams_;
    std::array<uint32_t, 2> last_slots_ = {UINT32_MAX, UINT32_MAX};
    int64_t now_us_ = kNever;
    int64_t begin_us_ = kNever;
    Surroundings surroundings_;
    int64_t surrounded_us_ = kNever;
};

}  // namespace predsnap::predict
