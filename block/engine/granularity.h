// SPDX-License-Identifier: GPL-2.0-or-later
//
// The granularity map: for each chunk of the guest disk, how writes to it are logged, and what is known of them.
//
// A write is looked at more closely only if its block was written not long ago: a table of small tags tells, in a few
// nanoseconds and one cache line. So what is spread over more than the staging cache can hold does
// not pay for what is not. Chunks compete for the places of a table; one that is written more rarely loses its place, and
// counts as sub-block then. Not synchronised: Core::mutex guards it.
#pragma once

#include <vector>

#include "engine.h"
#include "types.h"

namespace predsnap {

// Remembers blocks that were written, each for about so many writes to others.
class RecentBlocks {
  public:
    void set_capacity(uint64_t blocks);
    // Whether the block is among them; from now on it is.
    bool test_and_add(uint64_t block);

  private:
    std::vector<uint16_t> tags_;  // empty until needed
    uint64_t capacity_ = 0;
};

class GranularityMap {
  public:
    struct Chunk {
        uint32_t number_low = UINT32_MAX;
        uint8_t number_high = UINT8_MAX;
        ChunkLevel level = ChunkLevel::sub_block;
        uint8_t writes = 0;     // decayed
        uint8_t share = 0;      // of bytes changed, in 256ths, smoothed
        uint8_t trials = 0;     // in which the share was not small, in a row
        uint8_t patience = 0;   // writes until the next trial
        uint16_t next = UINT16_MAX;  // sector in the chunk behind the last write
        uint16_t period = 0;    // in which it was last decayed

        uint64_t number() const { return number_low | uint64_t{number_high} << 32; }
    };

    void set_mode(Granularity mode) { mode_ = mode; }
    Granularity mode() const { return mode_; }
    void set_staging(uint64_t bytes) { recent_.set_capacity(bytes / kBlockSize); }
    void set_weight(unsigned weight) { weight_ = weight; }
    unsigned weight() const { return weight_; }

    // Whether a write of whole blocks is to be tried as deltas, or at least staged.
    bool wants(Sector start, uint64_t sectors, Time now);
    // What came of it: so many bytes of so many differed.
    void measured(Sector start, uint64_t changed, uint64_t of);

    // How relevant the chunk is to writes, from 0 to 1: how often and how recently it was written, by the weight of the
    // application, less if the system is busy: `load` is from 0 to 1.
    float score(Sector start, float load, Time now) const;
    // The same of something that was used so often.
    float score_of_count(unsigned count, float load) const;
    // Whether little of the chunk is known to change; whether much is.
    bool is_fine(Sector start) const;
    bool is_not_fine(Sector start) const;
    // Chunks by how likely they are to be written soon, as far as these rules can say.
    template <typename Visit>
    void for_each_likely(Time now, Visit visit) const {
        for (const Chunk& chunk : chunks_) {
            if (const unsigned writes = writes_at(chunk, now)) {
                visit(chunk.number(), often(writes));
            }
        }
    }

    // To be kept with the image: chunks that are not sub-block.
    std::vector<uint64_t> fine_chunks() const;
    void restore(const std::vector<uint64_t>& fine_chunks);
    uint64_t fine_count() const;

  private:
    static constexpr size_t kChunks = 16 << 10;
    static constexpr size_t kWays = 4;  // places that a chunk may have
    Chunk* set_of(uint64_t number);
    Chunk* find(uint64_t number);
    const Chunk* find(uint64_t number) const { return const_cast<GranularityMap*>(this)->find(number); }
    Chunk* claim(uint64_t number);
    void decay(Chunk& chunk, Time now);
    static unsigned writes_at(const Chunk& chunk, Time now);
    static float often(unsigned uses) { return static_cast<float>(uses + 1) / static_cast<float>(uses + 8); }

    Granularity mode_ = Granularity::automatic;
    unsigned weight_ = 5;
    RecentBlocks recent_;
    std::vector<Chunk> chunks_;  // sets of kWays, by hash of the number; empty until needed
};

}  // namespace predsnap
