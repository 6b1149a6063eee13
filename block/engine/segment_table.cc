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
    bare_.clear();
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
    return (*this)[id];
}

Segment& SegmentTable::claim(SegmentId id) {
    Segment& segment = ensure(id);
    if (segment.kind == format::SegmentKind::log && !segment.past) {
        std::erase(log_, id);
    }
    segment = Segment{};
    return segment;
}

Result<SegmentId> SegmentTable::reserve(const Geometry& geometry) {
    if (!bare_.empty()) {
        const SegmentId id = bare_.front();
        bare_.pop_front();
        (*this)[id].announced = true;
        return id;
    }
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
    (*this)[id].announced = true;
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
    (*this)[id] = Segment{};
    ready_.push_front(id);
}

void SegmentTable::add_ready(SegmentId id) {
    (*this)[id] = Segment{};
    ready_.push_back(id);
}

SegmentId SegmentTable::take_surplus() {
    const auto last = std::max_element(ready_.begin(), ready_.end());
    const SegmentId id = *last;
    ready_.erase(last);
    (*this)[id].announced = true;
    return id;
}

void SegmentTable::add_bare(SegmentId id) {
    (*this)[id] = Segment{};
    bare_.push_back(id);
}

void SegmentTable::drop_trailing_ready(size_t keep) {
    std::sort(ready_.begin(), ready_.end());
    std::sort(bare_.begin(), bare_.end());
    const auto ends = [&](const std::deque<SegmentId>& free) {
        return !free.empty() && free.back().value + 1 == segments_.size();
    };
    while (ends(bare_) || (ends(ready_) && ready_.size() > keep)) {
        (ends(bare_) ? bare_ : ready_).pop_back();
        counter_.touch(size() - 1);
        segments_.pop_back();
    }
}

void SegmentTable::retire(Sequence floor) {
    size_t count = 0;
    while (count < log_.size() && segments_[log_[count].value].last <= floor &&
           segments_[log_[count].value].has_index()) {
        (*this)[log_[count]].past = true;
        ++count;
    }
    log_.erase(log_.begin(), log_.begin() + static_cast<ptrdiff_t>(count));
}

SegmentTotals SegmentTable::count_all(uint64_t packed) const {
    SegmentTotals totals;
    for (const Segment& segment : segments_) {
        totals += SegmentCounter::of(segment, packed);
    }
    return totals;
}

uint64_t SegmentTable::counted(const Extent& extent) const {
    return extent.start >= counted_to_ ? 0 : std::min(extent.end(), counted_to_) - extent.start;
}

void SegmentTable::count_piece(const Geometry& geometry, const ExtentMap& map) {
    constexpr size_t kPiece = 4096;
    std::vector<Extent> extents;
    const Sector from = counted_to_;
    counted_to_ = map.lookup(from, kSectorLimit, kPiece, &extents);
    for (const Extent& extent : extents) {
        count_live(geometry, extent);
    }
}

void SegmentTable::recount(Sequence sequence, bool in_streams) {
    counted_to_ = Sector(0);
    const auto begin_anew = [&](Use& use) {
        use.live = 0;
        use.last_death = std::max(use.last_death, sequence);
    };
    std::for_each(segments_.begin(), segments_.end(), begin_anew);
    counter_.touch_all();
    for (auto& [base, use] : streams_) {
        use.live = 0;
        use.last_death = in_streams || use.pack ? std::max(use.last_death, sequence) : use.last_death;
    }
    forget_deltas(sequence);
}

void SegmentTable::hold_stream(const std::vector<SegmentId>& ids) {
    for (const SegmentId id : ids) {
        Segment& segment = ensure(id);
        const uint32_t others = segment.kind == format::SegmentKind::stream ? segment.streams : 0;
        segment = Segment{};
        segment.kind = format::SegmentKind::stream;
        segment.streams = others + 1;
    }
}

void SegmentTable::add_stream_use(Place base, Place end, bool pack, uint64_t ordinal) {
    StreamUse use;
    use.end = end;
    use.pack = pack;
    use.ordinal = ordinal;
    streams_.insert_or_assign(base, use);
}

void SegmentTable::let_go_stream(const std::vector<SegmentId>& ids, std::vector<SegmentId>* unused) {
    for (const SegmentId id : ids) {
        if (--(*this)[id].streams == 0) {
            unused->push_back(id);
        }
    }
}

SegmentTable::StreamUse* SegmentTable::stream_use(Place base) {
    const auto found = streams_.find(base);
    return found == streams_.end() ? nullptr : &found->second;
}

Use* SegmentTable::owner(const Geometry& geometry, const Extent& extent) {
    if (!extent.in_stream()) {
        const SegmentId id = geometry.segment_of(extent);
        return contains(id) ? &(*this)[id] : nullptr;  // a hostile image may name what is not there
    }
    const auto after = streams_.upper_bound(extent.place);
    const bool inside = after != streams_.begin() && extent.place < std::prev(after)->second.end;
    return inside ? &std::prev(after)->second : nullptr;
}

void SegmentTable::count_live(const Geometry& geometry, const Extent& extent) {
    if (extent.is_data()) {
        if (Use* const use = owner(geometry, extent)) {
            use->live += counted(extent);
        }
    }
}

void SegmentTable::added(const Geometry& geometry, const Extent& extent) {
    count_live(geometry, extent);
    if (extent.is_delta()) {
        delta_added(extent);
    }
}

void SegmentTable::removed(const Geometry& geometry, const Extent& extent, Sequence sequence) {
    Use* const use = extent.is_data() ? owner(geometry, extent) : nullptr;
    if (use != nullptr) {
        use->live -= counted(extent);
    }
    if (extent.is_delta()) {
        // Its batch may be done again on another branch while it is in the history: then it is needed again.
        const bool past = use != nullptr && segments_[geometry.segment_of(extent).value].past;
        delta_removed(extent, past ? Sequence(0) : sequence);
    }
}

void SegmentTable::replaced(const Geometry& geometry, const Extent& extent, Sequence sequence) {
    if (extent.is_data()) {
        if (Use* const use = owner(geometry, extent)) {
            use->live -= counted(extent);
            use->last_death = sequence;
        }
    }
    if (extent.is_delta()) {
        delta_removed(extent, sequence);
    }
}

size_t SegmentTable::log_position(Sequence sequence) const {
    const auto found = std::partition_point(log_.begin(), log_.end(), [&](SegmentId id) {
        return segments_[id.value].last < sequence;
    });
    return static_cast<size_t>(found - log_.begin());
}

}  // namespace predsnap
