// SPDX-License-Identifier: GPL-2.0-or-later
//
// The index of one log segment: all that its batches say, without the payload, and what they
// replaced. It is built in RAM while the segment is written (or scanned), written as a blob to the
// index stream once the segment is durable, and read back for views, points and checksums of runs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "extent.h"
#include "format.h"
#include "geometry.h"
#include "result.h"

namespace predsnap {

struct SegmentIndex {
    SegmentId segment = kNoSegment;
    SegmentId next = kNoSegment;
    uint64_t ordinal = 0;
    Sequence first{1};   // of its first batch
    Sequence last;       // of its last applied batch; first - 1 if none
    uint64_t last_hash = 0;
    uint32_t end_offset = 0;
    int64_t clock = 0;   // RetentionClock when it was closed

    // Batch i has row i; its entries, records, undo and redo follow those of batch i - 1.
    std::vector<format::IndexRow> rows;
    std::vector<format::Entry> entries;  // first_sum counts in `sums`
    std::vector<uint32_t> sums;
    std::vector<uint8_t> records;
    std::vector<format::PackedExtent> undo;  // what each entry replaced, holes included
    std::vector<format::PackedExtent> redo;  // what a rollback to before the floor changed, besides entries

    bool empty() const { return rows.empty(); }
    // The newest batch is a rollback to before the floor, which has changed and replaced that.
    void add_to_last(std::span<const format::PackedExtent> changed, size_t undo_before);
    uint64_t memory_bytes() const;
    // Checksums of the units of a run that begins in this segment at `place`: position in `sums` of the
    // unit that holds `place`, or -1 if no entry does.
    int64_t find_sum(const Geometry& geometry, Place place) const;

    std::vector<uint8_t> encode() const;
    // Decodes a blob; checks counts and ranges so that hostile bytes do no harm.
    static Result<SegmentIndex> decode(const Geometry& geometry, std::span<const uint8_t> bytes);
    // That in two steps: an index with room for what the blob holds, and then the rest, which allocates nothing. What
    // threads of an executor allocate, each keeps a little of.
    static Result<SegmentIndex> sized_for(const Geometry& geometry, std::span<const uint8_t> bytes);
    Result<void> fill(const Geometry& geometry, std::span<const uint8_t> bytes);
};

// The extent an entry makes. `sum` is its first unit's checksum.
Extent to_extent(const Geometry& geometry, SegmentId segment, const format::Entry& entry, uint32_t sum);

// Units in a data entry: one up to a block long, else cut at guest blocks.
uint64_t unit_count(Sector start, uint64_t sectors);
// Sectors of unit `i` of such an entry, as offsets from its start.
struct UnitRange {
    uint64_t begin, end;
};
UnitRange unit_range(Sector start, uint64_t sectors, uint64_t i);

// Where a delta begins, in bytes from its segment's start; if that is another segment, something very large.
uint64_t delta_begin(const Geometry& geometry, SegmentId segment, const format::Entry& entry);

// False for entries no correct writer produces. `sums`: how many checksums there are.
bool plausible(const Geometry& geometry, const format::Entry& entry, uint64_t sums);

}  // namespace predsnap
