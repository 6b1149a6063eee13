// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay.h"

#include <algorithm>
#include <array>
#include <utility>

namespace predsnap {

ExtentMap Overlay::take() {
    settle();
    return std::move(map_);
}

// By start; those with the same start stay in the order they were added. A radix sort of 11-bit digits.
std::vector<Overlay::Key> Overlay::sorted() const {
    constexpr unsigned kDigitBits = 11;
    constexpr uint64_t kDigits = 1 << kDigitBits;
    std::vector<Key> keys(items_.size()), next(items_.size());
    uint64_t any = 0;
    for (size_t i = 0; i < items_.size(); ++i) {
        keys[i] = {items_[i].start.value, static_cast<uint32_t>(i)};
        any |= keys[i].start;
    }
    for (unsigned shift = 0; any >> shift != 0; shift += kDigitBits) {
        std::array<size_t, kDigits> place{};
        for (const Key& key : keys) {
            ++place[key.start >> shift & (kDigits - 1)];
        }
        size_t total = 0;
        for (size_t& count : place) {
            total += std::exchange(count, total);
        }
        for (const Key& key : keys) {
            next[place[key.start >> shift & (kDigits - 1)]++] = key;
        }
        keys.swap(next);
    }
    return keys;
}

void Overlay::settle() {
    std::vector<Key> keys = sorted();
    const bool in_order = map_.empty();
    for (size_t begin = 0; begin < keys.size();) {
        // The items lie in another order than the keys: fetch ahead.
        constexpr size_t kAhead = 16;
        if (begin + kAhead < keys.size()) {
            __builtin_prefetch(&items_[keys[begin + kAhead].item]);
        }
        // A cluster: extents that overlap, directly or through others.
        Sector reach = items_[keys[begin].item].end();
        size_t end = begin + 1;
        for (; end < keys.size() && keys[end].start < reach.value; ++end) {
            reach = std::max(reach, items_[keys[end].item].end());
        }
        emit_cluster(keys, begin, end, in_order);
        begin = end;
    }
    items_.clear();
}

void Overlay::emit_cluster(std::vector<Key>& keys, size_t begin, size_t end, bool in_order) {
    const Extent& first = items_[keys[begin].item];
    const bool same = std::all_of(keys.begin() + begin, keys.begin() + end, [&](const Key& key) {
        return key.start == first.start.value && items_[key.item].count == first.count;
    });
    if (same) {
        emit(items_[keys[end - 1].item], in_order);
        return;
    }
    std::sort(keys.begin() + begin, keys.begin() + end,
              [](const Key& a, const Key& b) { return a.item < b.item; });
    if (end - begin <= kSmallCluster) {
        flat_.clear();
        for (size_t i = end; i-- > begin;) {
            add_uncovered(items_[keys[i].item]);
        }
        for (const Extent& extent : flat_) {
            emit(extent, in_order);
        }
        return;
    }
    ExtentMap cluster;
    for (size_t i = begin; i < end; ++i) {
        cluster.insert(items_[keys[i].item]);
    }
    cluster.for_each(Sector(0), [&](const Extent& extent) {
        emit(extent, in_order);
        return true;
    });
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

void Overlay::emit(const Extent& extent, bool in_order) {
    in_order ? map_.append(extent) : map_.insert(extent);
}

}  // namespace predsnap
