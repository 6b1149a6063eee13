// SPDX-License-Identifier: GPL-2.0-or-later
//
// Many extents laid over each other, the later over the earlier, and what then lies on top, in order. To sort a
// million of them and lay them over a map in order takes a fraction of the time of inserting them at random.
//
// They are dealt into buckets by where they start as they come; a bucket is sorted in the processor's cache.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "extent_arena.h"
#include "extent_map.h"
#include "format.h"

namespace predsnap {

class Overlay {
  public:
    // For a disk of about that many sectors: others work as well, but slower.
    explicit Overlay(uint64_t disk_sectors);
    Overlay(Overlay&&) = default;
    Overlay& operator=(Overlay&&) = default;

    // Lays the extent over all added before.
    void add(const format::PackedExtent& extent);
    void add(const Extent& extent) { add(format::pack(extent)); }
    bool empty() const { return count_ == 0 && settled_.empty(); }

    // Calls visit with what lies on top, and forgets it. The extents of a piece ascend and do not overlap; later
    // pieces lie over earlier ones.
    using Visit = std::function<void(std::span<const Extent>)>;
    void take_pieces(const Visit& visit);

  private:
    // Bounds the memory: more are settled into a map now and then.
    static constexpr size_t kMaxItems = 4'000'000;
    static constexpr size_t kSmallCluster = 64;
    static constexpr size_t kBuckets = 1024;

    struct Item {
        format::PackedExtent packed;
        uint32_t order;  // in which they were added
        uint64_t start() const { return packed.start_low | uint64_t{packed.start_high} << 32; }
    };
    struct Chunk {
        static constexpr size_t kCapacity = (NodeArena::kSlotSize - sizeof(void*)) / sizeof(Item);
        Chunk* next;
        Item items[kCapacity];
    };
    struct Bucket {
        Chunk* first = nullptr;
        Chunk* last = nullptr;
        Item* next = nullptr;  // free place in the last chunk
        Item* end = nullptr;
    };
    struct Key {
        uint64_t start;
        const Item* item;
    };
    struct Layer {
        Extent extent;
        uint32_t order;
    };
    void add_chunk(Bucket& bucket);
    void drain(const Visit& visit);
    void take_keys(const Bucket& bucket);
    void sort_keys();
    void take(const Item& item, const Visit& visit);
    void emit_cluster(const Visit& visit);
    void add_uncovered(const Extent& extent);
    void emit(const Extent& extent, const Visit& visit);

    unsigned shift_;  // from a start to its bucket
    std::unique_ptr<NodeArena> arena_;
    std::vector<Bucket> buckets_;
    size_t count_ = 0;
    ExtentMap settled_;  // holes included; below what the buckets hold

    // Scratch of drain().
    std::vector<Key> keys_, next_keys_;   // of one bucket
    std::vector<Layer> cluster_;          // extents that overlap, directly or through others
    Sector reach_;                        // where the cluster ends
    std::vector<Extent> flat_;            // of one cluster, in order
    std::vector<Extent> out_;
};

}  // namespace predsnap
