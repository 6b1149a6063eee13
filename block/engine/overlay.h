// SPDX-License-Identifier: GPL-2.0-or-later
//
// Many extents laid over each other, the later over the earlier, and what then lies on top, in order. To sort a
// million of them and lay them over a map in order takes a fraction of the time of inserting them at random.
//
// They are dealt into buckets by where they lie as they come; a bucket is sorted in the processor's cache.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "extent_map.h"
#include "format.h"
#include "overlay_bucket.h"

namespace predsnap {

class Host;

class Overlay {
  public:
    // For a disk of about that many sectors: others work as well, but slower.
    explicit Overlay(uint64_t disk_sectors);
    Overlay(Overlay&&) = default;
    Overlay& operator=(Overlay&&) = default;

    // Lays the extent over all added before.
    void add(const format::PackedExtent& extent);
    void add(const Extent& extent);
    bool empty() const { return count_ == 0 && settled_.empty(); }

    // Does what take_pieces() would have to do first, on the host's executor, by two at once. Suspends.
    void sort(Host& host);

    // Where memory comes from if it is ready there; null: from nowhere else again.
    void use(ChunkSupply* supply) { arena_->use(supply); }

    // Calls visit with what lies on top, and forgets it. The extents of a piece ascend and do not overlap; later
    // pieces lie over earlier ones.
    using Visit = std::function<void(std::span<const Extent>)>;
    void take_pieces(const Visit& visit);

  private:
    // Bounds the memory: more are settled into a map now and then.
    static constexpr size_t kMaxItems = 4'000'000;
    // Less is sorted as quickly by the one who takes it.
    static constexpr size_t kSortAhead = 50'000;
    // Most ranges are 1/1024 of the disk; then comes what lies behind it, and last VM state.
    static constexpr size_t kBuckets = 1026;
    static constexpr size_t kVmBucket = kBuckets - 1, kLastBucket = kBuckets - 2;
    // An extent that lies in more buckets is not cut for them.
    static constexpr size_t kPartsMax = 64;

    size_t bucket_of(uint64_t sector) const;
    uint64_t begin_of(size_t bucket) const;
    uint64_t end_of(size_t bucket) const;
    OverlayItem* place_for(uint64_t start, uint64_t sectors);
    void add_crossing(const Extent& extent);
    void settle();
    void drain(const Visit& visit);
    void emit(std::span<const OverlayItem> items, Sector begin, const Visit& visit);

    unsigned shift_;  // from a sector to its bucket
    std::unique_ptr<NodeArena> arena_;
    std::vector<OverlayBucket> buckets_;
    size_t count_ = 0;
    bool sorted_ = false;  // all there is
    ExtentMap settled_;    // holes included; below what the buckets hold
    std::vector<Extent> out_;  // scratch of drain()
    size_t out_count_ = 0;
};

}  // namespace predsnap
