// SPDX-License-Identifier: GPL-2.0-or-later
//
// Internal to Overlay: the extents of one range of sectors, in the order in which they were added, and what then lies
// on top. There are few enough to be sorted in the processor's cache.
#pragma once

#include <span>
#include <vector>

#include "extent_arena.h"
#include "extent_node.h"

namespace predsnap {

// An extent in 16 bytes, as in the leaves of a map.
struct OverlayItem {
    uint32_t offset;  // of its start in the bucket's range, which begins at a multiple of a block
    PackedExtent packed;

    uint64_t end() const { return offset + packed.sectors(); }
    // As if the range began at 0.
    Extent extent() const { return packed.unpack(Sector(offset)); }
    static OverlayItem of(const Extent& extent) {
        return {static_cast<uint32_t>(extent.start.value), PackedExtent::pack(extent)};
    }
};
static_assert(sizeof(OverlayItem) == 16);

class OverlayBucket {
  public:
    // Room for one more, in the arena's memory.
    OverlayItem* add(NodeArena& arena) {
        if (next_ == end_) {
            add_chunk(arena);
        }
        // Buckets are filled in no order: nobody else foresees what is written next.
        __builtin_prefetch(next_ + kPrefetch, 1);
        return next_++;
    }

    // Calls visit(items) for all, as they were added.
    template <typename Visit>
    void for_each_piece(Visit visit) const {
        for (const Chunk* chunk = first_; chunk != nullptr; chunk = chunk->next) {
            if (chunk->next != nullptr) {
                prefetch_node(chunk->next);
            }
            const OverlayItem* end = chunk == last_ ? next_ : chunk->items + Chunk::kCapacity;
            visit(std::span<const OverlayItem>(chunk->items, end));
        }
    }

    // Puts others in the place of those there are. Requires that these are not more.
    void replace(std::span<const OverlayItem> items);

    // Set by OverlaySorter::settle().
    bool settled = false;

  private:
    static constexpr size_t kPrefetch = 4;

    struct Chunk {
        static constexpr size_t kCapacity = (NodeArena::kSlotSize - sizeof(OverlayItem)) / sizeof(OverlayItem);
        Chunk* next;
        OverlayItem items[kCapacity];
    };
    static_assert(sizeof(Chunk) <= NodeArena::kSlotSize);
    void add_chunk(NodeArena& arena);

    Chunk* first_ = nullptr;
    Chunk* last_ = nullptr;
    OverlayItem* next_ = nullptr;  // free place in the last chunk
    OverlayItem* end_ = nullptr;
};

// Finds what lies on top in a bucket. Keeps its scratch memory from one bucket to the next.
class OverlaySorter {
  public:
    // What lies on top, ascending, without overlaps. Valid until the next call.
    std::span<const OverlayItem> sort(const OverlayBucket& bucket);
    // Puts that in the place of what the bucket holds, and marks it, if it fits there.
    void settle(OverlayBucket& bucket);

  private:
    static constexpr size_t kSmallCluster = 64;

    struct Key {
        uint32_t offset;
        uint32_t order;  // place in items_
    };
    struct Layer {
        Extent extent;
        uint32_t order;
    };
    void take_items(const OverlayBucket& bucket);
    void sort_keys();
    size_t cluster_end(size_t begin) const;
    void flatten(std::span<const Key> cluster);
    bool all_same(std::span<const Key> cluster) const;
    void add_uncovered(const Extent& extent);
    void emit(const Extent& extent) { top_.push_back(OverlayItem::of(extent)); }

    std::vector<OverlayItem> items_;     // as they were added
    std::vector<Key> keys_, next_keys_;  // in order
    std::vector<Layer> layers_;          // of extents that overlap, directly or through others
    std::vector<Extent> flat_;           // of these, in order
    std::vector<OverlayItem> top_;
};

}  // namespace predsnap
