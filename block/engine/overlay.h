// SPDX-License-Identifier: GPL-2.0-or-later
//
// Many extents laid over each other and then over a map, the later over the earlier. Sorting a million of them
// first is many times faster than inserting them into the map one by one at random.
#pragma once

#include <span>
#include <vector>

#include "extent_map.h"
#include "format.h"

namespace predsnap {

class Overlay {
  public:
    // Over this map, which is up to date after settle(). Holes are stored in it, or what they cover is removed.
    Overlay(ExtentMap& map, ExtentMap::Holes holes) : map_(map), holes_(holes) {}

    // Lays the extent over all added before.
    void add(const format::PackedExtent& extent) {
        items_.push_back(extent);
        if (items_.size() >= kMaxItems) {
            settle();
        }
    }
    void add(const Extent& extent) { add(format::pack(extent)); }
    void settle();

  private:
    // Bounds the memory: more are settled into the map now and then.
    static constexpr size_t kMaxItems = 2'000'000;
    static constexpr size_t kSmallCluster = 64;

    struct Item {
        format::PackedExtent packed;
        uint32_t order;  // in which they were added
        uint64_t start() const { return packed.start_low | uint64_t{packed.start_high} << 32; }
    };
    struct Key {
        uint64_t start;
        uint32_t item;  // of its bucket
    };
    struct Layer {
        Extent extent;
        uint32_t order;
    };
    void deal_into_buckets();
    void sort_bucket(std::span<const Item> bucket);
    void take(const Item& item);
    void emit_cluster();
    void add_uncovered(const Extent& extent);
    void emit(const Extent& extent);
    void flush();

    ExtentMap& map_;
    const ExtentMap::Holes holes_;
    std::vector<format::PackedExtent> items_;

    // Scratch of settle().
    std::vector<Item> dealt_;             // items_, bucket by bucket, each in the order of adding
    std::vector<size_t> bucket_ends_;
    std::vector<Key> keys_, next_keys_;   // of one bucket, sorted
    std::vector<Layer> cluster_;          // extents that overlap, directly or through others
    Sector reach_;                        // where the cluster ends
    std::vector<Extent> flat_;            // of one cluster, in order
    std::vector<Extent> out_;             // for the map
};

}  // namespace predsnap
