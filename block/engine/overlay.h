// SPDX-License-Identifier: GPL-2.0-or-later
//
// Many extents laid over each other, the later over the earlier, and the map that results. Sorting a
// million of them first is several times faster than inserting them into a map one by one at random.
#pragma once

#include <vector>

#include "extent_map.h"

namespace predsnap {

class Overlay {
  public:
    // Lays the extent over all added before.
    void add(const Extent& extent) {
        items_.push_back(extent);
        if (items_.size() >= kMaxItems) {
            settle();
        }
    }
    // The result. Nothing can be added afterwards.
    ExtentMap take();

  private:
    // Bounds the memory: more are settled into the map now and then.
    static constexpr size_t kMaxItems = 2'000'000;

    struct Key {
        uint64_t start;
        uint32_t item;
    };
    void settle();
    std::vector<Key> sorted() const;
    static constexpr size_t kSmallCluster = 64;
    void add_uncovered(const Extent& extent);
    void emit_cluster(std::vector<Key>& keys, size_t begin, size_t end, bool in_order);
    void emit(const Extent& extent, bool in_order);

    std::vector<Extent> items_;
    std::vector<Extent> flat_;  // scratch: of one cluster, in order
    ExtentMap map_;
};

}  // namespace predsnap
