// SPDX-License-Identifier: GPL-2.0-or-later
#include "delta_table.h"

#include <algorithm>

#include "segment_table.h"

namespace predsnap {

namespace {

// Buckets looked at under one hold of the lock.
constexpr size_t kBucketsAtOnce = 4096;

}  // namespace

DeltaTable::Known* DeltaTable::find(Place unit) {
    if (known_.empty()) {
        return nullptr;
    }
    const auto found = known_.find(unit.value);
    return found == known_.end() ? nullptr : &found->second;
}

void DeltaTable::forget() {
    known_.clear();
    deep.clear();
    learnt_to_ = Sector(0);
    ++generation_;
}

bool DeltaTable::find_dependents(SegmentId segment, size_t* position, std::vector<Dependent>* found) const {
    // A table that grows meanwhile is looked through anew from there on; what is added then does not need a segment
    // that is being cleaned.
    const size_t end = std::min(*position + kBucketsAtOnce, known_.bucket_count());
    for (; *position < end; ++*position) {
        for (auto at = known_.begin(*position); at != known_.end(*position); ++at) {
            if (at->second.chain.needs(segment)) {
                found->push_back({at->second.chain.block, Place(at->first)});
            }
        }
    }
    return end < known_.bucket_count();
}

// --- What SegmentTable does with it ---

bool SegmentTable::may_be_based_on(const DeltaChain& chain) const {
    return std::all_of(chain.segments.begin(), chain.segments.begin() + chain.count, [&](SegmentId id) {
        return contains(id) && segments_[id.value].kind == format::SegmentKind::log &&
               !segments_[id.value].leaving && !segments_[id.value].cleaned;
    });
}

bool SegmentTable::chain_of(const Geometry& geometry, const Extent& base, DeltaChain* chain) const {
    if (base.is_delta()) {
        const DeltaTable::Known* known = deltas_.find(base.unit_place());
        if (known == nullptr) {
            return false;
        }
        *chain = known->chain;
        if (chain->depth >= format::kMaxDeltaDepth) {
            return false;
        }
    }
    chain->block = base.start;
    ++chain->depth;
    if (base.is_data()) {
        chain->add(geometry.segment_of(base));
    }
    return !base.in_stream() && may_be_based_on(*chain);
}

void SegmentTable::pin(const DeltaChain& chain) {
    for (size_t i = 0; i < chain.count; ++i) {
        ++(*this)[chain.segments[i]].pins;
    }
}

void SegmentTable::unpin(const DeltaChain& chain, Sequence death) {
    for (size_t i = 0; i < chain.count; ++i) {
        Segment& segment = (*this)[chain.segments[i]];
        segment.pins -= segment.pins > 0;  // a hostile image may be based on what is not of the log
        segment.last_death = std::max(segment.last_death, death);
    }
}

void SegmentTable::add_delta(Place unit, const DeltaChain& chain, Time now) {
    deltas_.insert(unit, chain);
    if (chain.depth == format::kMaxDeltaDepth && deltas_.deep.size() < DeltaTable::kMaxDeep) {
        deltas_.deep.push_back({unit, chain.block, now});
    }
}

void SegmentTable::learn_delta(Place unit, const DeltaChain& chain, uint32_t mapped) {
    DeltaChain there = chain;
    const auto end = std::remove_if(there.segments.begin(), there.segments.begin() + there.count,
                                    [&](SegmentId id) {
                                        // What a hostile image names must not count for what the segment will be.
                                        return !contains(id) || segments_[id.value].leaving ||
                                               segments_[id.value].kind != format::SegmentKind::log;
                                    });
    there.count = static_cast<uint8_t>(end - there.segments.begin());
    deltas_.insert(unit, there).mapped = mapped;
    pin(there);
}

// Some of it is mapped, or not any more.
void SegmentTable::delta_added(const Extent& extent) {
    if (DeltaTable::Known* known = deltas_.find(extent.unit_place())) {
        known->mapped += static_cast<uint32_t>(extent.count);
    }
}

void SegmentTable::delta_removed(const Extent& extent, Sequence death) {
    DeltaTable::Known* known = deltas_.find(extent.unit_place());
    if (known == nullptr) {
        deltas_.last_unknown_death = std::max(deltas_.last_unknown_death, death);
        return;
    }
    // States that have only a part of it need all of its chain, and until the last part is gone it is pinned.
    known->mapped -= static_cast<uint32_t>(extent.count);
    known->death = std::max(known->death, death);
    if (known->mapped == 0) {
        unpin(known->chain, known->death);
        deltas_.erase(extent.unit_place());
    }
}

void SegmentTable::forget_deltas(Sequence sequence) {
    deltas_.forget();
    deltas_.last_unknown_death = std::max(deltas_.last_unknown_death, sequence);
    counter_.touch_all();
    for (Segment& segment : segments_) {
        segment.pins = 0;
    }
}

}  // namespace predsnap
