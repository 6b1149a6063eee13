// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay_bucket.h"

#include <algorithm>
#include <array>
#include <bit>
#include <new>
#include <utility>

#include "extent_map.h"

namespace predsnap {

namespace {

constexpr unsigned kDigitBits = 9;
constexpr uint32_t kDigits = 1 << kDigitBits;

}  // namespace

void OverlayBucket::add_chunk(NodeArena& arena) {
    auto* chunk = new (arena.allocate()) Chunk;
    chunk->next = nullptr;
    (last_ != nullptr ? last_->next : first_) = chunk;
    last_ = chunk;
    next_ = chunk->items;
    end_ = chunk->items + Chunk::kCapacity;
}

void OverlayBucket::replace(std::span<const OverlayItem> items) {
    for (Chunk* chunk = first_; chunk != nullptr; chunk = chunk->next) {
        const size_t n = std::min(items.size(), Chunk::kCapacity);
        std::copy_n(items.begin(), n, chunk->items);
        items = items.subspan(n);
        if (items.empty()) {
            chunk->next = nullptr;
            last_ = chunk;
            next_ = chunk->items + n;
            end_ = chunk->items + Chunk::kCapacity;
        }
    }
    assert(items.empty());
}

void OverlaySorter::settle(OverlayBucket& bucket) {
    const auto top = sort(bucket);
    bucket.settled = top.size() <= items_.size();
    if (bucket.settled) {
        bucket.replace(top);
    }
}

std::span<const OverlayItem> OverlaySorter::sort(const OverlayBucket& bucket) {
    take_items(bucket);
    sort_keys();
    top_.clear();
    top_.reserve(items_.size());
    for (size_t begin = 0; begin < keys_.size();) {
        const size_t end = cluster_end(begin);
        const auto cluster = std::span<const Key>(keys_).subspan(begin, end - begin);
        if (all_same(cluster)) {
            top_.push_back(items_[cluster.back().order]);
        } else {
            flatten(cluster);
        }
        begin = end;
    }
    return top_;
}

void OverlaySorter::take_items(const OverlayBucket& bucket) {
    items_.clear();
    keys_.clear();
    bucket.for_each_piece([&](std::span<const OverlayItem> items) {
        for (const OverlayItem& item : items) {
            keys_.push_back({item.offset, static_cast<uint32_t>(keys_.size())});
        }
        items_.insert(items_.end(), items.begin(), items.end());
    });
}

// By start, and those with the same start in the order in which they were added. A radix sort by the digits in
// which they differ.
void OverlaySorter::sort_keys() {
    next_keys_.resize(keys_.size());
    uint32_t differ = 0;
    for (const Key& key : keys_) {
        differ |= key.offset ^ keys_[0].offset;
    }
    for (unsigned shift = 0; shift < 32 && differ >> shift != 0; shift += kDigitBits) {
        shift += static_cast<unsigned>(std::countr_zero(differ >> shift));
        std::array<uint32_t, kDigits> place{};
        for (const Key& key : keys_) {
            ++place[key.offset >> shift & (kDigits - 1)];
        }
        uint32_t total = 0;
        for (uint32_t& count : place) {
            total += std::exchange(count, total);
        }
        for (const Key& key : keys_) {
            next_keys_[place[key.offset >> shift & (kDigits - 1)]++] = key;
        }
        keys_.swap(next_keys_);
    }
}

// Where those end that overlap the one at `begin`, directly or through others.
size_t OverlaySorter::cluster_end(size_t begin) const {
    uint64_t reach = items_[keys_[begin].order].end();
    size_t end = begin + 1;
    for (; end < keys_.size() && keys_[end].offset < reach; ++end) {
        reach = std::max(reach, items_[keys_[end].order].end());
    }
    return end;
}

bool OverlaySorter::all_same(std::span<const Key> cluster) const {
    const OverlayItem& first = items_[cluster.front().order];
    return std::all_of(cluster.begin() + 1, cluster.end(), [&](const Key& key) {
        return key.offset == first.offset && items_[key.order].end() == first.end();
    });
}

void OverlaySorter::flatten(std::span<const Key> cluster) {
    layers_.clear();
    for (const Key& key : cluster) {
        layers_.push_back({items_[key.order].extent(), key.order});
    }
    std::sort(layers_.begin(), layers_.end(),
              [](const Layer& a, const Layer& b) { return a.order < b.order; });
    if (layers_.size() <= kSmallCluster) {
        flat_.clear();
        for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
            add_uncovered(layer->extent);
        }
        for (const Extent& extent : flat_) {
            emit(extent);
        }
        return;
    }
    ExtentMap map;
    for (const Layer& layer : layers_) {
        map.insert(layer.extent);
    }
    map.for_each(Sector(0), [&](const Extent& extent) {
        emit(extent);
        return true;
    });
}

// Adds to flat_ what of the extent no later one there covers.
void OverlaySorter::add_uncovered(const Extent& extent) {
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

}  // namespace predsnap
