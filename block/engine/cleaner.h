// SPDX-License-Identifier: GPL-2.0-or-later
//
// The cleaner: copies what is still in use out of segments that are mostly not, so that they become free. Victims
// are those that gain the most for what is copied, the older the rather (Rosenblum and Ousterhout, The Design and
// Implementation of a Log-Structured File System, 1992, who multiply by the age; by its root real traces gained more:
// docs/performance.md). What is copied is verified first, and sorted by guest sector, so that it is read in order again.
//
// Runs in the one background task. Core::mutex guards what other tasks see of it.
#pragma once

#include <list>

#include "core.h"
#include "disk_state.h"
#include "index_cache.h"
#include "log.h"
#include "reader.h"
#include "segment_table.h"

namespace predsnap {

class Cleaner {
  public:
    // What could not be emptied so often is left alone.
    static constexpr uint8_t kMaxFailures = 2;

    Cleaner(Core& core, SegmentTable& segments, DiskState& disk, History& history, Log& log, IndexCache& indexes,
            StreamStore& streams, Reader& reader)
        : core_(core),
          segments_(segments),
          disk_(disk),
          history_(history),
          log_(log),
          indexes_(indexes),
          streams_(streams),
          reader_(reader) {}

    // Sectors of data in a segment that holds nothing but what was copied.
    static uint64_t packed_sectors(const Geometry& geometry, uint64_t max_request_sectors);

    // --- Require Core::mutex ---
    // The segment that data is being moved out of; none if it is a stream, or if there is none.
    SegmentId victim() const { return victim_; }
    bool busy() const { return victim_ != kNoSegment || stream_.value != 0; }
    // What it is worth to clean a segment; 0: it is not to be cleaned. Of those that history does not need (`oldest` is the
    // oldest state that is) most are, and of those it still needs if no more than that part of them, from 0 to 1, is in use:
    // they become free, and what was copied is stored once, only when history has gone on.
    double worth(const Segment& segment, Sequence oldest, double most_in_history) const;
    // The same of anything that has room for `capacity` sectors, of which `needed` are to be copied, and was written when
    // the log was in its segment `ordinal`.
    double worth(uint64_t capacity, uint64_t needed, uint64_t ordinal) const;
    // Begins with the segment that is worth it most. False if none is.
    bool choose(Sequence oldest, double most_in_history);

    // Begins with the stream, unless moving its data has failed too often.
    void choose_stream(const StreamInfo& stream);

    // Copies some. Says how many bytes of log that gains, beyond what it took. After an error the segment is left as it
    // is.
    Result<uint64_t> step();

  private:
    Result<void> load();
    void load_dependents();
    Result<void> load_stream();
    void collect(Sector start, uint64_t count, Place place);
    Result<const uint8_t*> data_of(const Extent& extent);
    uint64_t next_group() const;
    Result<void> copy(uint64_t* moved);
    void finish(bool failed);

    Core& core_;
    SegmentTable& segments_;
    DiskState& disk_;
    History& history_;
    Log& log_;
    IndexCache& indexes_;
    StreamStore& streams_;
    Reader& reader_;

    SegmentId victim_ = kNoSegment;
    uint64_t needed_ = 0;          // sectors of it when it was begun
    Place stream_;                 // or the base of the stream that data is being moved out of; 0: none
    bool loaded_ = false;
    std::vector<Extent> extents_;  // in use when it was begun, by sector
    size_t next_ = 0;
    AlignedBuffer content_;        // of the segment
    std::list<AlignedBuffer> read_;  // of a stream, and of deltas: what is being moved
};

}  // namespace predsnap
