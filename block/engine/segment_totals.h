// SPDX-License-Identifier: GPL-2.0-or-later
//
// How many segments are what, and how much of them is needed, without looking at all of them: what each of them counts for
// is noted, and looked at again only if somebody has had the segment in hand to change it. Not synchronised.
#pragma once

#include <cstdint>
#include <vector>

#include "types.h"

namespace predsnap {

struct Segment;

struct SegmentTotals {
    uint64_t leaving = 0;      // segments that are soon free: nothing but history about to be dropped needs them
    uint64_t streams = 0;      // segments with old history, but for those that are leaving
    uint64_t window = 0;       // segments of the log that are not past,
    uint64_t window_live = 0;  // and sectors of the current state in these
    uint64_t past_live = 0;    // the same of segments that are past,
    uint64_t past_dead = 0;    // and what else they have room for

    bool operator==(const SegmentTotals&) const = default;
    SegmentTotals& operator+=(const SegmentTotals& o);
    SegmentTotals& operator-=(const SegmentTotals& o);
};

class SegmentCounter {
  public:
    // Of one segment. `packed`: sectors of data that one has room for.
    static SegmentTotals of(const Segment& segment, uint64_t packed);

    void touch(uint32_t id) {
        if (id >= noted_.size()) {
            noted_.resize(id + 1);
        }
        if (!noted_[id].touched) {
            noted_[id].touched = true;
            touched_.push_back(id);
        }
    }
    void touch_all() {
        for (uint32_t id = 0; id < noted_.size(); ++id) {
            touch(id);
        }
    }
    // Of segments that are there; those that are gone were touched.
    const SegmentTotals& totals(const std::vector<Segment>& segments, uint64_t packed);

  private:
    struct Noted {
        SegmentTotals counts_for;
        bool touched = false;
    };
    std::vector<Noted> noted_;
    std::vector<uint32_t> touched_;
    SegmentTotals totals_;
    uint64_t packed_ = 0;
};

}  // namespace predsnap
