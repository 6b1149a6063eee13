// SPDX-License-Identifier: GPL-2.0-or-later
#include "segment_totals.h"

#include <algorithm>

#include "segment_table.h"

namespace predsnap {

SegmentTotals& SegmentTotals::operator+=(const SegmentTotals& o) {
    leaving += o.leaving;
    streams += o.streams;
    window += o.window;
    window_live += o.window_live;
    past_live += o.past_live;
    past_dead += o.past_dead;
    return *this;
}

SegmentTotals& SegmentTotals::operator-=(const SegmentTotals& o) {
    leaving -= o.leaving;
    streams -= o.streams;
    window -= o.window;
    window_live -= o.window_live;
    past_live -= o.past_live;
    past_dead -= o.past_dead;
    return *this;
}

SegmentTotals SegmentCounter::of(const Segment& segment, uint64_t packed) {
    SegmentTotals result;
    if (segment.leaving || (segment.past && segment.needed() == 0)) {
        result.leaving = 1;
    } else if (segment.kind == format::SegmentKind::stream) {
        result.streams = 1;
    } else if (segment.kind == format::SegmentKind::log && !segment.past) {
        result.window = 1;
        result.window_live = segment.live;
    } else if (segment.kind == format::SegmentKind::log) {
        result.past_live = segment.live;
        result.past_dead = packed - std::min(packed, segment.needed());
    }
    return result;
}

const SegmentTotals& SegmentCounter::totals(const std::vector<Segment>& segments, uint64_t packed) {
    if (packed != packed_) {
        packed_ = packed;
        touch_all();
    }
    for (const uint32_t id : touched_) {
        const SegmentTotals now = id < segments.size() ? of(segments[id], packed) : SegmentTotals{};
        totals_ -= noted_[id].counts_for;
        totals_ += now;
        noted_[id] = {now, false};
    }
    touched_.clear();
    return totals_;
}

}  // namespace predsnap
