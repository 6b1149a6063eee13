// SPDX-License-Identifier: GPL-2.0-or-later
//
// What appending and recovery do alike with a batch that has its place in the log: it changes the disk
// state, and the index of its segment notes it, with what it replaced. Not synchronised: Core::mutex.
#pragma once

#include <deque>
#include <span>

#include "batch.h"
#include "disk_state.h"
#include "overlay.h"
#include "segment_index.h"
#include "segment_table.h"

namespace predsnap {

struct PlacedBatch {
    Sequence sequence;
    Time time;
    uint64_t hash;
    uint32_t end_offset;  // bytes from the segment's start
    std::span<const format::Entry> entries;
    std::span<const uint32_t> sums;
    std::span<const uint8_t> records;
};

// The log moves on to the segment of a position, in which nothing is yet: begins its index.
void open_log_segment(const LogPosition& position, SegmentTable& segments,
                      std::deque<SegmentIndex>& indexes);

// Applies the entries, not the records.
void apply_batch(const Geometry& geometry, const PlacedBatch& batch, SegmentTable& segments,
                 SegmentIndex& index, DiskState& disk);

// Lays what a rollback to before the floor changes over the map. Its batch is the newest in the index, which notes it.
// `visit` is called with each piece.
void lay_deep(Overlay& difference, DiskState& disk, SegmentIndex& index, const Overlay::Visit& visit = {});

// Of the batches in an index and the points they record.
TimeSpan times_of(const SegmentIndex& index);

}  // namespace predsnap
