// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay.h"

#include <algorithm>
#include <bit>

#include "wait.h"

namespace predsnap {

namespace {

constexpr size_t kPiece = 256;
// A bucket is no smaller than the longest data, so that few extents must be cut.
constexpr unsigned kShiftMin = std::bit_width(kMaxDataSectors - 1);
// What offsets in a bucket reach.
constexpr uint64_t kBucketMax = uint64_t{1} << 32;

}  // namespace

Overlay::Overlay(uint64_t disk_sectors)
    : arena_(std::make_unique<NodeArena>()) {
    constexpr unsigned kBucketBits = 10;
    static_assert(kLastBucket == 1 << kBucketBits);
    const auto bits = static_cast<unsigned>(std::bit_width(std::max<uint64_t>(disk_sectors, 1) - 1));
    shift_ = std::max(bits, kShiftMin + kBucketBits) - kBucketBits;
}

size_t Overlay::bucket_of(uint64_t sector) const {
    return sector < kVmStateBase.value ? std::min(sector >> shift_, uint64_t{kLastBucket}) : kVmBucket;
}

uint64_t Overlay::begin_of(size_t bucket) const {
    return bucket == kVmBucket ? kVmStateBase.value : bucket << shift_;
}

uint64_t Overlay::end_of(size_t bucket) const {
    const uint64_t size = bucket < kLastBucket ? uint64_t{1} << shift_ : kBucketMax;
    const uint64_t limit = bucket == kVmBucket ? kSectorLimit.value : kVmStateBase.value;
    return std::min(begin_of(bucket) + size, limit);
}

void Overlay::add(const format::PackedExtent& extent) {
    const uint64_t start = extent.start_low | uint64_t{extent.start_high} << 32;
    const uint64_t wide = extent.place_low | uint64_t{extent.place_high} << 32;
    const bool is_data = extent.kind >= static_cast<uint8_t>(ExtentKind::unit);
    OverlayItem* const item = place_for(start, is_data ? extent.count : wide);
    if (item == nullptr) {
        add_crossing(format::unpack(extent));
        return;
    }
    // Each field goes where it stays: a copy would have to wait for all of them.
    PackedExtent& packed = item->packed;
    packed.low = extent.place_low;
    packed.checksum = extent.checksum;
    packed.count = is_data ? extent.count : uint16_t{0};  // a hostile image may say anything there
    packed.high = extent.place_high;
    packed.flags = static_cast<uint8_t>((extent.kind & 3) | (extent.head_tail & 7) << 2 | extent.head_tail >> 4 << 5);
}

void Overlay::add(const Extent& extent) {
    if (OverlayItem* const item = place_for(extent.start.value, extent.count); item != nullptr) {
        item->packed = PackedExtent::pack(extent);
    } else {
        add_crossing(extent);
    }
}

// Room for an extent, all but its start to be filled in; null if it does not lie in one bucket.
inline OverlayItem* Overlay::place_for(uint64_t start, uint64_t sectors) {
    if (count_ >= kMaxItems) {
        settle();
    }
    if (buckets_.empty()) {
        buckets_.resize(kBuckets);
    }
    const size_t bucket = bucket_of(start);
    if (start + sectors > end_of(bucket)) {
        return nullptr;
    }
    ++count_;
    sorted_ = false;
    OverlayItem* const item = buckets_[bucket].add(*arena_);
    item->offset = static_cast<uint32_t>(start - begin_of(bucket));
    return item;
}

// One that does not lie in one bucket is cut; or, if it is very long, laid over all the others at once.
void Overlay::add_crossing(const Extent& extent) {
    const size_t first = bucket_of(extent.start.value), last = bucket_of(extent.end().value - 1);
    if (last - first >= kPartsMax || (last == kVmBucket && first != last) || extent.end().value > end_of(last)) {
        settle();
        settled_.insert(extent);
        return;
    }
    Sector from = extent.start;
    for (size_t bucket = first; bucket <= last; ++bucket) {
        const Sector to = std::min(extent.end(), Sector(end_of(bucket)));
        add(extent.slice(from, to));
        from = to;
    }
}

void Overlay::sort(Host& host) {
    if (count_ < kSortAhead) {
        return;
    }
    constexpr size_t kTasks = 2;
    TaskGroup group(host, kTasks);
    for (size_t task = 0; task < kTasks; ++task) {
        group.run([this, &host, task]() -> Result<void> {
            host.run_on_executor([this, task] {
                OverlaySorter sorter;
                for (size_t i = task; i < buckets_.size(); i += kTasks) {
                    sorter.settle(buckets_[i]);
                }
            });
            return {};
        });
    }
    group.wait().take();
    sorted_ = true;
}

void Overlay::take_pieces(const Visit& visit) {
    settled_.for_each_piece(visit);
    settled_.clear();
    drain(visit);
}

void Overlay::settle() {
    drain([this](std::span<const Extent> piece) { settled_.insert_all(piece, ExtentMap::Holes::keep); });
}

// What the buckets hold.
void Overlay::drain(const Visit& visit) {
    OverlaySorter sorter;
    out_.resize(kPiece);
    for (size_t i = 0; i < buckets_.size(); ++i) {
        const OverlayBucket& bucket = buckets_[i];
        const Sector begin(begin_of(i));
        if (sorted_ && bucket.settled) {
            bucket.for_each_piece([&](std::span<const OverlayItem> items) { emit(items, begin, visit); });
        } else {
            emit(sorter.sort(bucket), begin, visit);
        }
    }
    visit(std::span(out_).first(out_count_));
    out_count_ = 0;
    buckets_.clear();
    arena_->release_all();
    count_ = 0;
    sorted_ = false;
}

void Overlay::emit(std::span<const OverlayItem> items, Sector begin, const Visit& visit) {
    for (const OverlayItem& item : items) {
        item.packed.unpack_to(begin + item.offset, &out_[out_count_]);
        if (++out_count_ == kPiece) {
            visit(out_);
            out_count_ = 0;
        }
    }
}

}  // namespace predsnap
