// SPDX-License-Identifier: GPL-2.0-or-later
//
// What became of the guest's disk from one state to a later one, by chunks. Each chunk of which any sector changed is
//   added      if none of these sectors held data before, and some do after,
//   modified   if some did and some do,
//   discarded  if none does any more.
// Data is what was written in the image: a hole holds none, whatever the disk below shows there. VM state does not count.
#pragma once

#include <map>
#include <span>

#include "chunk_set.h"
#include "format.h"

namespace predsnap {

// How many chunks.
struct ChangeCounts {
    uint64_t added = 0, modified = 0, discarded = 0;

    bool operator==(const ChangeCounts&) const = default;
};

struct ChangeVector {
    ChunkSet added, modified, discarded;

    bool operator==(const ChangeVector&) const = default;
    ChunkSet changed() const { return added | modified | discarded; }
    ChunkSet after() const { return added | modified; }
    ChangeCounts counts() const { return {added.count(), modified.count(), discarded.count()}; }
    uint64_t memory_bytes() const { return added.memory_bytes() + modified.memory_bytes() + discarded.memory_bytes(); }

    // Of `changed` chunks, those that held data before and those that do after.
    static ChangeVector of(const ChunkSet& changed, const ChunkSet& before, const ChunkSet& after);
    // What both did, one after the other. The newer one changed all of the chunks in `whole`. Of a chunk that both
    // changed, the older one says whether there was data before; and what data it left is taken to be there yet, unless
    // the newer one changed the whole chunk. So it is exact, but for chunks of which they changed different sectors.
    static ChangeVector join(const ChangeVector& older, const ChangeVector& newer, const ChunkSet& whole);
};

// The chunks that extents lie in, which ascend and do not overlap.
struct ExtentChunks {
    ChunkSet changed;  // all of them
    ChunkSet data;     // those with data
    ChunkSet whole;    // those all of whose sectors they cover
    uint64_t sectors = 0;
    Sector first, end;  // 0: there are none

    void add(const Extent& extent);

  private:
    uint32_t partial_ = 0;         // the last chunk that is not covered wholly yet,
    uint64_t partial_sectors_ = 0;  // and how much of it is
};

ExtentChunks chunks_of(std::span<const format::PackedExtent> extents);

// The changes of some batches, to the sector, as they come.
class IntervalChange {
  public:
    // What is going to be replaced held data.
    void had_data(Sector start, uint64_t count);
    void changed(Sector start, uint64_t count, bool data);

    // The same told backwards, from the last change to the first; not to be mixed with the two above.
    void changed_before(Sector start, uint64_t count, bool data);
    // Chunks that hold data after it, where they were changed.
    ChunkSet data_after() const;

    uint64_t sectors() const { return sectors_; }  // each as often as it was changed
    ChangeVector vector() const;
    ChangeCounts counts() const;  // vector().counts(), without making that
    ChunkSet whole() const;  // all of whose sectors were changed
    void clear();

  private:
    // Of the sectors of a chunk.
    struct Mask {
        uint64_t low = 0, high = 0;

        static Mask of(uint64_t first, uint64_t end);
        bool any() const { return (low | high) != 0; }
        bool all() const { return (low & high) == UINT64_MAX; }
        Mask operator&(const Mask& o) const { return {low & o.low, high & o.high}; }
        Mask operator|(const Mask& o) const { return {low | o.low, high | o.high}; }
        Mask operator~() const { return {~low, ~high}; }
    };
    // Chunks that are alike, by the first of them.
    struct Chunks {
        uint64_t last;
        Mask touched, had, has;

        template <typename Three>
        auto& became(Three& three) const;
    };
    using Map = std::map<uint64_t, Chunks>;

    template <typename Change>
    void for_parts(Sector start, uint64_t count, const Change& change);
    template <typename Change>
    void change_range(uint64_t first, uint64_t last, const Change& change);
    Map::iterator split(uint64_t chunk);

    Map map_;
    uint64_t sectors_ = 0;
};

}  // namespace predsnap
