// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay.h"

#include <algorithm>
#include <array>
#include <bit>
#include <new>
#include <utility>

namespace predsnap {

namespace {

constexpr unsigned kDigitBits = 8;
constexpr size_t kPiece = 256;

}  // namespace

Overlay::Overlay(uint64_t disk_sectors)
    : shift_(static_cast<unsigned>(std::max(0, static_cast<int>(std::bit_width(disk_sectors)) -
                                                   static_cast<int>(std::bit_width(kBuckets - 1))))),
      arena_(std::make_unique<NodeArena>()) {}

void Overlay::add(const format::PackedExtent& extent) {
    if (count_ == kMaxItems) {
        drain([this](std::span<const Extent> piece) {
            settled_.insert_all(piece, ExtentMap::Holes::keep);
        });
    }
    if (buckets_.empty()) {
        buckets_.resize(kBuckets);
    }
    const Item item{extent, static_cast<uint32_t>(count_++)};
    Bucket& bucket = buckets_[std::min(item.start() >> shift_, uint64_t{kBuckets - 1})];
    if (bucket.next == bucket.end) {
        add_chunk(bucket);
    }
    *bucket.next++ = item;
}

void Overlay::add_chunk(Bucket& bucket) {
    static_assert(sizeof(Chunk) <= NodeArena::kSlotSize);
    auto* chunk = new (arena_->allocate()) Chunk;
    chunk->next = nullptr;
    (bucket.last != nullptr ? bucket.last->next : bucket.first) = chunk;
    bucket.last = chunk;
    bucket.next = chunk->items;
    bucket.end = chunk->items + Chunk::kCapacity;
}

void Overlay::take_pieces(const Visit& visit) {
    settled_.for_each_piece(visit);
    settled_.clear();
    drain(visit);
}

// What the buckets hold.
void Overlay::drain(const Visit& visit) {
    for (const Bucket& bucket : buckets_) {
        take_keys(bucket);
        sort_keys();
        for (const Key& key : keys_) {
            take(*key.item, visit);
        }
    }
    emit_cluster(visit);
    if (!out_.empty()) {
        visit(out_);
        out_.clear();
    }
    buckets_.clear();
    arena_->release_all();
    count_ = 0;
}

// In the order in which they were added.
void Overlay::take_keys(const Bucket& bucket) {
    keys_.clear();
    for (const Chunk* chunk = bucket.first; chunk != nullptr; chunk = chunk->next) {
        const Item* end = chunk == bucket.last ? bucket.next : chunk->items + Chunk::kCapacity;
        for (const Item* item = chunk->items; item != end; ++item) {
            keys_.push_back({item->start(), item});
        }
    }
}

// By start, and those with the same start in the order in which they were added. A radix sort by the digits in
// which they differ.
void Overlay::sort_keys() {
    next_keys_.resize(keys_.size());
    uint64_t differ = 0;
    for (const Key& key : keys_) {
        differ |= key.start ^ keys_[0].start;
    }
    constexpr uint64_t kDigits = 1 << kDigitBits;
    for (unsigned shift = 0; shift < 64 && differ >> shift != 0; shift += kDigitBits) {
        if ((differ >> shift & (kDigits - 1)) == 0) {
            continue;
        }
        std::array<uint32_t, kDigits> place{};
        for (const Key& key : keys_) {
            ++place[key.start >> shift & (kDigits - 1)];
        }
        uint32_t total = 0;
        for (uint32_t& count : place) {
            total += std::exchange(count, total);
        }
        for (const Key& key : keys_) {
            next_keys_[place[key.start >> shift & (kDigits - 1)]++] = key;
        }
        keys_.swap(next_keys_);
    }
}

// Takes the items in order of their starts.
void Overlay::take(const Item& item, const Visit& visit) {
    const Extent extent = format::unpack(item.packed);
    if (!cluster_.empty() && extent.start >= reach_) {
        emit_cluster(visit);
    }
    reach_ = cluster_.empty() ? extent.end() : std::max(reach_, extent.end());
    cluster_.push_back({extent, item.order});
}

void Overlay::emit_cluster(const Visit& visit) {
    if (cluster_.empty()) {
        return;
    }
    if (cluster_.size() == 1) {
        emit(cluster_.front().extent, visit);
        cluster_.clear();
        return;
    }
    const Extent& first = cluster_.front().extent;
    const bool same = std::all_of(cluster_.begin(), cluster_.end(), [&](const Layer& layer) {
        return layer.extent.start == first.start && layer.extent.count == first.count;
    });
    if (same) {
        emit(cluster_.back().extent, visit);
        cluster_.clear();
        return;
    }
    std::sort(cluster_.begin(), cluster_.end(),
              [](const Layer& a, const Layer& b) { return a.order < b.order; });
    if (cluster_.size() <= kSmallCluster) {
        flat_.clear();
        for (auto layer = cluster_.rbegin(); layer != cluster_.rend(); ++layer) {
            add_uncovered(layer->extent);
        }
        for (const Extent& extent : flat_) {
            emit(extent, visit);
        }
    } else {
        ExtentMap map;
        for (const Layer& layer : cluster_) {
            map.insert(layer.extent);
        }
        map.for_each(Sector(0), [&](const Extent& extent) {
            emit(extent, visit);
            return true;
        });
    }
    cluster_.clear();
}

// Adds to flat_ what of the extent no later one there covers.
void Overlay::add_uncovered(const Extent& extent) {
    const size_t before = flat_.size();
    Sector from = extent.start;
    for (size_t i = 0; i < before && from < extent.end(); ++i) {
        const Sector start = flat_[i].start, end = flat_[i].end();
        if (end <= from) {
            continue;
        }
        if (start > from) {
            flat_.push_back(extent.slice(from, std::min(start, extent.end())));
        }
        from = end;
    }
    if (from < extent.end()) {
        flat_.push_back(extent.slice(from, extent.end()));
    }
    std::inplace_merge(flat_.begin(), flat_.begin() + before, flat_.end(),
                       [](const Extent& a, const Extent& b) { return a.start < b.start; });
}

void Overlay::emit(const Extent& extent, const Visit& visit) {
    out_.push_back(extent);
    if (out_.size() >= kPiece) {
        visit(out_);
        out_.clear();
    }
}

}  // namespace predsnap
