// SPDX-License-Identifier: GPL-2.0-or-later
#include "segment_table.h"

#include <algorithm>

#include "text.h"

namespace predsnap {

void SegmentTable::adopt_image(const Geometry& geometry, uint64_t image_bytes) {
    const uint32_t count = geometry.segments_in(image_bytes);
    if (count > segments_.size()) {
        segments_.resize(count);
    }
    ready_.clear();
    for (uint32_t id = 0; id < segments_.size(); ++id) {
        if (!segments_[id].in_use()) {
            ready_.push_back(SegmentId(id));
        }
    }
}

Segment& SegmentTable::ensure(SegmentId id) {
    if (!contains(id)) {
        segments_.resize(id.value + 1);
    }
    return segments_[id.value];
}

Result<SegmentId> SegmentTable::reserve(const Geometry& geometry) {
    const SegmentId id(size());
    if (id.value >= geometry.max_segments()) {
        return Error{ENOSPC, text("the image has reached its limit of %u segments; "
                                  "a larger segment-size is needed",
                                  geometry.max_segments())};
    }
    ensure(id).announced = true;
    return id;
}

Result<SegmentId> SegmentTable::take(const Geometry& geometry) {
    if (ready_.empty()) {
        return reserve(geometry);
    }
    const SegmentId id = ready_.front();
    ready_.pop_front();
    segments_[id.value].announced = true;
    return id;
}

Result<SegmentId> SegmentTable::take(const Geometry& geometry, std::deque<SegmentId>& reserved) {
    if (reserved.empty()) {
        return take(geometry);
    }
    const SegmentId id = reserved.front();
    reserved.pop_front();
    return id;
}

void SegmentTable::release(SegmentId id) {
    segments_[id.value] = Segment{};
    ready_.push_front(id);
}

void SegmentTable::add_ready(SegmentId id) {
    segments_[id.value] = Segment{};
    ready_.push_back(id);
}

void SegmentTable::drop_trailing_ready(size_t keep) {
    std::sort(ready_.begin(), ready_.end());
    while (ready_.size() > keep && !ready_.empty() && ready_.back().value + 1 == segments_.size()) {
        ready_.pop_back();
        segments_.pop_back();
    }
}

size_t SegmentTable::log_position(Sequence sequence) const {
    const auto found = std::partition_point(log_.begin(), log_.end(), [&](SegmentId id) {
        return segments_[id.value].last < sequence;
    });
    return static_cast<size_t>(found - log_.begin());
}

}  // namespace predsnap
