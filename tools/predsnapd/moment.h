// SPDX-License-Identifier: GPL-2.0-or-later
//
// A disk at a moment: the chunks that something may happen to, and what of each is given to models. It
// depends on nothing that comes after that moment.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "activity.h"

namespace predsnap::predict {

// The columns of a row, by name, in order.
std::span<const std::string_view> feature_names();

// Chunks to rank: all that are remembered, and those just ahead of sequential streams.
struct Candidate {
    ChunkId id = 0;
    const Chunk* chunk = nullptr;  // never null; of a chunk never seen it is an empty one
    bool seen() const { return chunk->rhythm[0].visits() + chunk->rhythm[1].visits() != 0; }
};

class Moment {
  public:
    // Refers to the activity, which must not change meanwhile.
    Moment(const Activity& activity, int64_t now_us);

    int64_t now_us() const { return now_us_; }
    // In order of chunks.
    std::span<const Candidate> candidates() const { return candidates_; }
    // How often each candidate would be next, if what came in the last minute is followed as it was before.
    std::span<const float> expected_next(Op op) const { return expected_next_[index_of(op)]; }
    // The row of a candidate; `row` has as many values as there are names. Fastest in order of candidates.
    void features(size_t candidate, std::span<float> row) const;

  private:
    class RowWriter;
    struct Near {  // the nearest chunk to one side that was written in the last minute
        float distance = 0, age = 0;
    };
    struct Ahead {  // of the stream whose head is nearest behind
        float distance = 0, run = 0;
    };

    void gather(const Activity& activity);
    void find_ahead();
    void find_near();
    void rank_recency();
    void follow_successors(Op op);
    bool written_lately(size_t candidate) const;
    const std::array<float, 5>& region_values(size_t size, ChunkId id) const;

    const Activity& activity_;
    const int64_t now_us_;
    const Chunk unseen_;
    std::vector<Candidate> candidates_;
    std::vector<Near> below_, above_;
    std::vector<Ahead> ahead_;
    std::vector<float> recency_rank_;
    std::array<std::vector<float>, 2> expected_next_;
    std::vector<float> written_600_;  // of each candidate: "write-count-600"
    std::vector<float> whole_;  // of the disk: the same in all rows
    // Neighbours are of the same regions: what was made of the last ones.
    struct RegionMemo {
        uint64_t region = UINT64_MAX;
        std::array<float, 5> values{};
    };
    mutable std::array<RegionMemo, kRegionShifts.size()> memos_;
};

}  // namespace predsnap::predict
