// SPDX-License-Identifier: GPL-2.0-or-later
//
// The nodes of an extent map's B+ tree. Keys lie apart from what belongs to them, so that a search
// reads few cache lines. A leaf holds an extent in 16 bytes: the start as 32 bits above the leaf's
// base, and 12 bytes for the rest.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstring>

#include "extent.h"
#include "extent_arena.h"

namespace predsnap {

constexpr unsigned kNodeCapacity = 63;

// How many of 63 ascending keys are at most x; unused keys are the largest number there is. First
// among every eighth key, then among the seven between: no branch, whose outcome nothing could
// predict, and comparisons that do not wait for each other.
template <typename T>
inline unsigned count_at_most(const T* keys, T x) {
    unsigned eights = 0;
#pragma GCC unroll 8
    for (unsigned i = 7; i < kNodeCapacity; i += 8) {
        eights += keys[i] <= x;
    }
    unsigned count = eights * 8;
    const T* group = keys + count;
#pragma GCC unroll 8
    for (unsigned i = 0; i < 7; ++i) {
        count += group[i] <= x;
    }
    return count;
}

// Fetches a whole node ahead of a search in it: to wait once for all its cache lines takes far less
// time than to wait for one after the other, as the search would.
inline void prefetch_node(const void* node) {
    const char* line = static_cast<const char*>(node);
    for (size_t i = 0; i < NodeArena::kSlotSize; i += 64) {
        __builtin_prefetch(line + i);
    }
}

// All of an extent but its start.
struct PackedExtent {
    uint32_t low = 0;  // of the place; for zero and hole extents of the count of sectors
    uint32_t checksum = 0;
    uint16_t count = 0;  // zero and hole: bits 40 to 55 of the count
    uint8_t high = 0;    // bits 32 to 39
    uint8_t flags = 0;   // kind | head << 2 | tail << 5

    static PackedExtent pack(const Extent& extent);
    Extent unpack(Sector start) const {
        Extent extent;
        unpack_to(start, &extent);
        return extent;
    }
    void unpack_to(Sector start, Extent* extent) const;

    ExtentKind kind() const { return static_cast<ExtentKind>(flags & 3); }
    bool is_data() const { return kind() >= ExtentKind::unit; }
    uint64_t wide() const { return low | static_cast<uint64_t>(high) << 32; }
    uint64_t sectors() const {
        return is_data() ? count : wide() | static_cast<uint64_t>(count) << 40;
    }
};

inline PackedExtent PackedExtent::pack(const Extent& extent) {
    PackedExtent packed;
    const uint64_t wide = extent.is_data() ? extent.place.value : extent.count;
    packed.low = static_cast<uint32_t>(wide);
    packed.high = static_cast<uint8_t>(wide >> 32);
    packed.flags = static_cast<uint8_t>(extent.kind);
    if (extent.is_data()) {
        packed.count = static_cast<uint16_t>(extent.count);
        packed.flags |= static_cast<uint8_t>(extent.head << 2 | extent.tail << 5);
        packed.checksum = extent.checksum;
    } else {
        packed.count = static_cast<uint16_t>(wide >> 40);
    }
    return packed;
}

inline void PackedExtent::unpack_to(Sector start, Extent* extent) const {
    const bool data = is_data();
    extent->start = start;
    extent->count = sectors();
    extent->kind = kind();
    extent->head = data ? flags >> 2 & 7 : 0;
    extent->tail = data ? flags >> 5 : 0;
    extent->checksum = data ? checksum : 0;
    extent->place = Place(data ? wide() : 0);
}

class alignas(64) ExtentLeaf {
  public:
    static constexpr unsigned kCapacity = kNodeCapacity;
    static constexpr uint64_t kSpanMax = UINT32_MAX;

    explicit ExtentLeaf(Sector base) { reset(base); }

    unsigned count() const { return count_; }
    bool full() const { return count_ == kCapacity; }
    uint64_t base() const { return base_; }
    Sector start(unsigned i) const { return Sector(base_ + deltas_[i]); }
    Sector end(unsigned i) const { return start(i) + packed_[i].sectors(); }
    const PackedExtent& packed(unsigned i) const { return packed_[i]; }
    Extent get(unsigned i) const { return packed_[i].unpack(start(i)); }

    // How many extents start at or before `at`.
    unsigned count_until(Sector at) const;
    // Makes the leaf able to hold an extent that starts there; false if the span would be too long.
    bool admit(Sector at);
    bool admits(Sector at) const { return at.value >= base_ && at.value - base_ <= kSpanMax; }

    void set(unsigned i, const Extent& extent);
    void insert(unsigned i, const Extent& extent);
    void append(Sector start, const PackedExtent& packed);
    void remove(unsigned from, unsigned to);
    // For many at once. Deltas are what the starts are above the base.
    void copy_out(unsigned from, unsigned to, uint32_t* deltas, PackedExtent* packed) const {
        memcpy(deltas, &deltas_[from], (to - from) * sizeof(deltas_[0]));
        memcpy(packed, &packed_[from], (to - from) * sizeof(packed_[0]));
    }
    // Puts n extents in the place of [from, to).
    void splice(unsigned from, unsigned to, const uint32_t* deltas, const PackedExtent* packed, unsigned n);
    void reset(Sector base) {
        base_ = base.value;
        count_ = 0;
        std::fill_n(deltas_, kCapacity, kUnused);
    }

  private:
    static constexpr uint32_t kUnused = UINT32_MAX;

    uint64_t base_;
    uint32_t count_ = 0;
    uint32_t deltas_[kCapacity];  // kUnused from count_ on
    PackedExtent packed_[kCapacity];
};

inline unsigned ExtentLeaf::count_until(Sector at) const {
    if (at.value < base_) {
        return 0;
    }
    const uint64_t delta = at.value - base_;
    const unsigned n = count_at_most(deltas_, static_cast<uint32_t>(std::min(delta, kSpanMax)));
    return std::min(n, count_);  // a delta may be as large as kUnused
}

inline bool ExtentLeaf::admit(Sector at) {
    if (admits(at)) {
        return true;
    }
    const uint64_t first = count_ > 0 && start(0) < at ? start(0).value : at.value;
    const uint64_t last = count_ > 0 && at < start(count_ - 1) ? start(count_ - 1).value : at.value;
    if (last - first > kSpanMax) {
        return false;
    }
    const uint32_t shift = static_cast<uint32_t>(base_ - first);  // wraps if the base moves up
    for (unsigned i = 0; i < count_; ++i) {
        deltas_[i] += shift;
    }
    base_ = first;
    return true;
}

inline void ExtentLeaf::set(unsigned i, const Extent& extent) {
    assert(i < count_ && admits(extent.start));
    deltas_[i] = static_cast<uint32_t>(extent.start.value - base_);
    packed_[i] = PackedExtent::pack(extent);
}

inline void ExtentLeaf::insert(unsigned i, const Extent& extent) {
    assert(i <= count_ && !full() && admits(extent.start));
    memmove(&deltas_[i + 1], &deltas_[i], (count_ - i) * sizeof(deltas_[0]));
    memmove(&packed_[i + 1], &packed_[i], (count_ - i) * sizeof(packed_[0]));
    ++count_;
    set(i, extent);
}

inline void ExtentLeaf::append(Sector start, const PackedExtent& packed) {
    assert(!full() && admits(start));
    deltas_[count_] = static_cast<uint32_t>(start.value - base_);
    packed_[count_] = packed;
    ++count_;
}

inline void ExtentLeaf::remove(unsigned from, unsigned to) {
    assert(from <= to && to <= count_);
    memmove(&deltas_[from], &deltas_[to], (count_ - to) * sizeof(deltas_[0]));
    memmove(&packed_[from], &packed_[to], (count_ - to) * sizeof(packed_[0]));
    count_ -= to - from;
    std::fill_n(&deltas_[count_], to - from, kUnused);
}

inline void ExtentLeaf::splice(unsigned from, unsigned to, const uint32_t* deltas,
                               const PackedExtent* packed, unsigned n) {
    assert(from <= to && to <= count_ && count_ - (to - from) + n <= kCapacity);
    const unsigned rest = count_ - to;
    memmove(&deltas_[from + n], &deltas_[to], rest * sizeof(deltas_[0]));
    memmove(&packed_[from + n], &packed_[to], rest * sizeof(packed_[0]));
    memcpy(&deltas_[from], deltas, n * sizeof(deltas_[0]));
    memcpy(&packed_[from], packed, n * sizeof(packed_[0]));
    const unsigned count = from + n + rest;
    if (count < count_) {
        std::fill_n(&deltas_[count], count_ - count, kUnused);
    }
    count_ = count;
}

// A node above the leaves. Child i holds the extents that start in [key(i), key(i + 1)). The first
// key is 0, whatever the parent's key says: it never decides.
class alignas(64) ExtentInner {
  public:
    static constexpr unsigned kCapacity = kNodeCapacity;

    ExtentInner() { std::fill_n(keys_, kCapacity, kUnused); }

    unsigned count() const { return count_; }
    bool full() const { return count_ == kCapacity; }
    void* child(unsigned i) const { return children_[i]; }
    Sector key(unsigned i) const { return Sector(keys_[i]); }
    void set_key(unsigned i, Sector key) { keys_[i] = i > 0 ? key.value : 0; }

    unsigned index_of(Sector at) const { return count_at_most(keys_, at.value) - 1; }
    void insert(unsigned i, Sector key, void* child);
    void remove(unsigned i);
    // Moves the children from `from` on to the end of `to`, where the first of them gets that key.
    void move_children(unsigned from, ExtentInner* to, Sector first_key);

  private:
    static constexpr uint64_t kUnused = UINT64_MAX;

    uint32_t count_ = 0;
    uint64_t keys_[kCapacity];  // kUnused from count_ on
    void* children_[kCapacity];
};

inline void ExtentInner::insert(unsigned i, Sector key, void* child) {
    assert(i <= count_ && !full());
    memmove(&keys_[i + 1], &keys_[i], (count_ - i) * sizeof(keys_[0]));
    memmove(&children_[i + 1], &children_[i], (count_ - i) * sizeof(children_[0]));
    ++count_;
    set_key(i, key);
    children_[i] = child;
}

inline void ExtentInner::remove(unsigned i) {
    assert(i < count_);
    --count_;
    memmove(&keys_[i], &keys_[i + 1], (count_ - i) * sizeof(keys_[0]));
    memmove(&children_[i], &children_[i + 1], (count_ - i) * sizeof(children_[0]));
    keys_[count_] = kUnused;
    if (count_ > 0) {
        keys_[0] = 0;
    }
}

inline void ExtentInner::move_children(unsigned from, ExtentInner* to, Sector first_key) {
    const unsigned n = count_ - from;
    assert(from <= count_ && to->count_ + n <= kCapacity);
    memcpy(&to->keys_[to->count_], &keys_[from], n * sizeof(keys_[0]));
    memcpy(&to->children_[to->count_], &children_[from], n * sizeof(children_[0]));
    to->set_key(to->count_, first_key);
    to->count_ += n;
    std::fill_n(&keys_[from], n, kUnused);
    count_ = from;
}

static_assert(sizeof(PackedExtent) == 12);
static_assert(sizeof(ExtentLeaf) == NodeArena::kSlotSize);
static_assert(sizeof(ExtentInner) == NodeArena::kSlotSize);

}  // namespace predsnap
