// SPDX-License-Identifier: GPL-2.0-or-later
//
// The extent map: guest sectors to places, in RAM. A B+ tree whose leaves hold packed 16-byte entries:
// at most 24 bytes for each 4 KiB of scattered live data, at most 300 ns a lookup at 16 million extents.
//
// Not synchronised: the owner's lock guards it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "extent.h"

namespace predsnap {

class ChunkSupply;

class ExtentMap {
  public:
    ExtentMap();
    ~ExtentMap();
    ExtentMap(ExtentMap&&) noexcept;
    ExtentMap& operator=(ExtentMap&&) noexcept;
    ExtentMap(const ExtentMap&) = delete;
    ExtentMap& operator=(const ExtentMap&) = delete;

    // Makes [extent.start, extent.end()) map to the extent; what was there before is cut or removed.
    // Explicit holes are stored like any other extent. If `replaced` is given, what the range held is
    // appended to it in order of sectors, each cut to the range; parts not mapped are not listed.
    void insert(const Extent& extent, std::vector<Extent>* replaced = nullptr);

    // Inserts extents that ascend and do not overlap: several times faster than one by one. What becomes of
    // holes among them: they are stored, or what they cover is removed.
    enum class Holes : uint8_t { keep, erase };
    void insert_all(std::span<const Extent> extents, Holes holes, std::vector<Extent>* replaced = nullptr);

    // Removes all mappings in [from, to).
    void erase(Sector from, Sector to, std::vector<Extent>* replaced = nullptr);

    // The first extent that ends after `at` (it may begin after it): false if there is none.
    bool find(Sector at, Extent* found) const;

    // True if one extent covers all of [from, to): it is then in `found`, cut to the range.
    bool find_whole(Sector from, Sector to, Extent* found) const;

    // Begins to fetch what an insert or a find at that sector will look at.
    void prefetch(Sector at) const;

    // Appends to `found` the extents that overlap [from, to), in order, cut to the range; gaps are not
    // listed. Stops after `limit` extents and returns the sector up to which the answer is complete.
    Sector lookup(Sector from, Sector to, size_t limit, std::vector<Extent>* found) const;

    // Calls visit for each extent from `from` on, in order, uncut, until it returns false.
    void for_each(Sector from, const std::function<bool(const Extent&)>& visit) const;

    // Calls visit for all extents, in order, uncut, many at a time.
    void for_each_piece(const std::function<void(std::span<const Extent>)>& visit) const;

    // Builds from extents in ascending order that do not overlap: faster and denser than inserts.
    // append() after the last extent; other members may be called after each append.
    void append(const Extent& extent);

    uint64_t extent_count() const;
    // Sectors of data (unit and run) mapped.
    uint64_t data_sectors() const;
    uint64_t memory_bytes() const;
    bool empty() const { return extent_count() == 0; }
    void clear();
    void swap(ExtentMap& other);

    // Where memory comes from if it is ready there; null: from nowhere else again.
    void use(ChunkSupply* supply);

    // Walks everything and says whether the structure is sound. For tests: slow.
    bool check() const;

  private:
    struct Tree;
    std::unique_ptr<Tree> tree_;
};

}  // namespace predsnap
