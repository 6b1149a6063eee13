// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much changed when: points summed up over intervals of time, for those who want to see a long history at once.
#pragma once

#include <vector>

#include "engine.h"

namespace predsnap {

struct Activity {
    struct Interval {
        Time begin;
        uint64_t points = 0;
        uint64_t bytes_changed = 0, chunks_changed = 0;
    };
    Time begin, end;  // what the intervals cover, of equal length but for rounding
    uint64_t points = 0;
    uint64_t bytes_changed = 0;
    std::vector<Interval> intervals;  // in order; none if there is no point
};

// Of points, in whatever order; those outside [since, until] are left out. Where these are not given (the extremes of
// Time) it goes from the first point to the last.
Activity activity_of(const std::vector<PointInfo>& points, Time since, Time until, size_t intervals);

}  // namespace predsnap
