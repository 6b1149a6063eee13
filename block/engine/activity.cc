// SPDX-License-Identifier: GPL-2.0-or-later
#include "activity.h"

#include <algorithm>

namespace predsnap {

Activity activity_of(const std::vector<PointInfo>& points, Time since, Time until, size_t intervals) {
    Activity activity;
    Time first(INT64_MAX), last(INT64_MIN);
    for (const PointInfo& point : points) {
        first = std::min(first, point.time);
        last = std::max(last, point.time);
    }
    activity.begin = since == Time(INT64_MIN) ? first : since;
    activity.end = until == Time(INT64_MAX) ? last : until;
    if (points.empty() || activity.end < activity.begin || intervals == 0) {
        return activity;
    }
    // Spans are computed unsigned: a clock may say anything, and the difference must not overflow.
    const uint64_t span = static_cast<uint64_t>(activity.end.value) - static_cast<uint64_t>(activity.begin.value);
    const uint64_t length = span / intervals + 1;
    activity.intervals.resize(intervals);
    for (size_t i = 0; i < intervals; ++i) {
        activity.intervals[i].begin = Time(static_cast<int64_t>(static_cast<uint64_t>(activity.begin.value) + i * length));
    }
    for (const PointInfo& point : points) {
        if (point.time < activity.begin || point.time > activity.end) {
            continue;
        }
        const uint64_t at = static_cast<uint64_t>(point.time.value) - static_cast<uint64_t>(activity.begin.value);
        Activity::Interval& interval = activity.intervals[at / length];
        ++interval.points;
        interval.bytes_changed += point.bytes_changed;
        interval.chunks_changed += point.chunks_changed();
        ++activity.points;
        activity.bytes_changed += point.bytes_changed;
    }
    return activity;
}

}  // namespace predsnap
