// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace predsnap {

namespace {

// Buckets are as many as a processor's address cache can write to in turns, and then small enough for its
// data cache.
constexpr unsigned kBucketBits = 10;
constexpr unsigned kDigitBits = 8;
constexpr size_t kFlushAt = 1024;

}  // namespace

void Overlay::settle() {
    if (items_.empty()) {
        return;
    }
    deal_into_buckets();
    items_ = {};
    size_t begin = 0;
    for (const size_t end : bucket_ends_) {
        const std::span bucket = std::span(dealt_).subspan(begin, end - begin);
        sort_bucket(bucket);
        for (const Key& key : keys_) {
            take(bucket[key.item]);
        }
        begin = end;
    }
    emit_cluster();
    flush();
    dealt_ = {};
}

// By the highest bits of the start in which they differ.
void Overlay::deal_into_buckets() {
    const auto start_of = [](const format::PackedExtent& packed) {
        return packed.start_low | uint64_t{packed.start_high} << 32;
    };
    uint64_t low = UINT64_MAX, high = 0;
    for (const format::PackedExtent& packed : items_) {
        low = std::min(low, start_of(packed));
        high = std::max(high, start_of(packed));
    }
    const auto bits = static_cast<unsigned>(std::bit_width(high - low));
    const unsigned shift = bits > kBucketBits ? bits - kBucketBits : 0;
    bucket_ends_.assign(((high - low) >> shift) + 1, 0);
    for (const format::PackedExtent& packed : items_) {
        ++bucket_ends_[(start_of(packed) - low) >> shift];
    }
    size_t total = 0;
    for (size_t& end : bucket_ends_) {
        total += std::exchange(end, total);
    }
    dealt_.resize(items_.size());
    for (size_t i = 0; i < items_.size(); ++i) {
        dealt_[bucket_ends_[(start_of(items_[i]) - low) >> shift]++] = {items_[i], static_cast<uint32_t>(i)};
    }
}

// Makes keys_ those of the bucket: by start, and those with the same start in the order they were added. A radix
// sort by the digits in which they differ.
void Overlay::sort_bucket(std::span<const Item> bucket) {
    keys_.resize(bucket.size());
    next_keys_.resize(bucket.size());
    uint64_t differ = 0;
    for (size_t i = 0; i < bucket.size(); ++i) {
        keys_[i] = {bucket[i].start(), static_cast<uint32_t>(i)};
        differ |= keys_[i].start ^ keys_[0].start;
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
void Overlay::take(const Item& item) {
    const Extent extent = format::unpack(item.packed);
    if (!cluster_.empty() && extent.start >= reach_) {
        emit_cluster();
    }
    reach_ = cluster_.empty() ? extent.end() : std::max(reach_, extent.end());
    cluster_.push_back({extent, item.order});
}

void Overlay::emit_cluster() {
    if (cluster_.empty()) {
        return;
    }
    const Extent& first = cluster_.front().extent;
    const bool same = std::all_of(cluster_.begin(), cluster_.end(), [&](const Layer& layer) {
        return layer.extent.start == first.start && layer.extent.count == first.count;
    });
    if (same) {
        emit(cluster_.back().extent);
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
            emit(extent);
        }
    } else {
        ExtentMap map;
        for (const Layer& layer : cluster_) {
            map.insert(layer.extent);
        }
        map.for_each(Sector(0), [&](const Extent& extent) {
            emit(extent);
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

void Overlay::emit(const Extent& extent) {
    out_.push_back(extent);
    if (out_.size() >= kFlushAt) {
        flush();
    }
}

void Overlay::flush() {
    map_.insert_all(out_, holes_);
    out_.clear();
}

}  // namespace predsnap
