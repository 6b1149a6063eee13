// SPDX-License-Identifier: GPL-2.0-or-later
#include "index_cache.h"

#include <algorithm>

#include "text.h"

namespace predsnap {

namespace {

Result<void> copy_sums(const Geometry& geometry, const SegmentIndex& index, Place place, size_t count,
                       uint32_t* sums) {
    const int64_t first = index.find_sum(geometry, place);
    if (first < 0 || static_cast<uint64_t>(first) + count > index.sums.size()) {
        return Error{EIO, text("index of log segment %u knows no data at image offset %llu",
                               index.segment.value, static_cast<ull>(to_bytes(place)))};
    }
    std::copy_n(index.sums.begin() + first, count, sums);
    return {};
}

const SegmentIndex* find_open(const std::deque<SegmentIndex>& indexes, SegmentId segment) {
    const auto found = std::find_if(indexes.begin(), indexes.end(),
                                    [&](const SegmentIndex& index) { return index.segment == segment; });
    return found == indexes.end() ? nullptr : &*found;
}

}  // namespace

Result<SegmentIndex> IndexCache::load(SegmentId segment) {
    Lock lock(core_.mutex);
    if (const SegmentIndex* open = find_open(log_.open_indexes(), segment)) {
        return SegmentIndex(*open);
    }
    if (!segments_.contains(segment) || !segments_[segment].has_index()) {
        return Error{EIO, text("log segment %u has no index", segment.value)};
    }
    const format::StreamPosition position = segments_[segment].index;
    lock.unlock();
    return read(segment, position);
}

Result<SegmentIndex> IndexCache::read(SegmentId segment, format::StreamPosition position) {
    const Result<IndexStream::Read> found = stream_.read(position);
    if (!found.ok()) {
        return Error{EIO, found.error().message};
    }
    const std::vector<uint8_t>& blob = found.value().blob;
    TRY_ASSIGN(SegmentIndex index, SegmentIndex::sized_for(core_.geometry, blob));
    Result<void> filled;
    compute(core_, blob.size(), [&] { filled = index.fill(core_.geometry, blob); });
    TRY(filled);
    if (index.segment != segment) {
        return Error{EIO, text("index of log segment %u describes segment %u", segment.value,
                               index.segment.value)};
    }
    return index;
}

Result<void> IndexCache::run_sums(Place place, size_t count, uint32_t* sums) {
    const SegmentId segment = core_.geometry.segment_of(place);
    Lock lock(core_.mutex);
    if (const SegmentIndex* open = find_open(log_.open_indexes(), segment)) {
        return copy_sums(core_.geometry, *open, place, count, sums);
    }
    std::shared_ptr<const SegmentIndex> index = cached(segment);
    lock.unlock();
    if (index == nullptr) {
        Result<SegmentIndex> loaded = load(segment);
        if (!loaded.ok()) {
            return corruption(core_, 0, 0, loaded.error().message);
        }
        auto slim = std::make_shared<SegmentIndex>(loaded.take());
        slim->rows = {};
        slim->records = {};
        slim->undo = {};
        index = slim;
        keep(segment, index);
    }
    return copy_sums(core_.geometry, *index, place, count, sums);
}

std::shared_ptr<const SegmentIndex> IndexCache::cached(SegmentId segment) {
    const auto found = by_segment_.find(segment.value);
    if (found == by_segment_.end()) {
        return nullptr;
    }
    recent_.splice(recent_.begin(), recent_, found->second);
    return found->second->second;
}

void IndexCache::forget(SegmentId segment) {
    const auto found = by_segment_.find(segment.value);
    if (found != by_segment_.end()) {
        bytes_ -= found->second->second->memory_bytes();
        recent_.erase(found->second);
        by_segment_.erase(found);
    }
}

void IndexCache::keep(SegmentId segment, std::shared_ptr<const SegmentIndex> index) {
    Lock lock(core_.mutex);
    if (by_segment_.contains(segment.value)) {
        return;
    }
    bytes_ += index->memory_bytes();
    recent_.emplace_front(segment.value, std::move(index));
    by_segment_[segment.value] = recent_.begin();
    while (bytes_ > kMaxBytes && recent_.size() > 1) {
        bytes_ -= recent_.back().second->memory_bytes();
        by_segment_.erase(recent_.back().first);
        recent_.pop_back();
    }
}

}  // namespace predsnap
