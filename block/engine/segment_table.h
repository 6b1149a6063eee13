// SPDX-License-Identifier: GPL-2.0-or-later
//
// The segments of the image: what each is used for, and which can be taken next. Not synchronised:
// Core::mutex guards it.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <vector>

#include "core.h"
#include "delta_table.h"
#include "extent_map.h"
#include "format.h"
#include "result.h"
#include "segment_totals.h"

namespace predsnap {

// What the current map refers to.
struct Use {
    uint64_t live = 0;    // sectors of it, once they are counted
    Sequence last_death;  // the newest batch that replaced any of them
};

// Of log segments, use is counted here; of the places in a stream, beside the stream.
struct Segment : Use {
    format::SegmentKind kind = format::SegmentKind::free;
    bool announced = false;  // taken as the next of a stream, nothing in it yet
    uint64_t ordinal = 0;
    Sequence first, last;    // log: of its batches; last < first while it has none
    TimeSpan times;          // log: of its batches, and of the points they record
    format::StreamPosition index{kNoSegment.value, 0, 0};  // log: where its index blob begins
    uint16_t index_span = 0;  // index segments the blob lies in
    bool past = false;        // log: the history it was part of is no longer kept, only data is
    bool leaving = false;     // nothing refers to it, but somebody may still be reading
    uint8_t failures = 0;     // attempts to move its data elsewhere that failed
    int64_t age_mark = 0;     // log: RetentionClock when it was closed
    uint32_t streams = 0;     // stream: how many have something in it
    uint32_t pins = 0;        // log: deltas of the current map that are based on what is in it
    bool cleaned = false;     // log: its data is being moved elsewhere
    bool dense = false;       // log: its data gets hardly smaller
    bool sorted = false;      // log: what is to be put apart of it was

    bool has_index() const { return index.segment != kNoSegment.value; }
    // Sectors to write so that the current map needs it no more.
    uint64_t needed() const { return live + uint64_t{pins} * kSectorsPerBlock; }
    bool in_use() const { return announced || kind != format::SegmentKind::free; }
};

class SegmentTable {
  public:
    // All segments of the image that are not in use become ready to be taken.
    void adopt_image(const Geometry& geometry, uint64_t image_bytes);

    uint32_t size() const { return static_cast<uint32_t>(segments_.size()); }
    bool contains(SegmentId id) const { return id.value < segments_.size(); }
    // Not to be changed any more after totals() was called.
    Segment& operator[](SegmentId id) {
        counter_.touch(id.value);
        return segments_[id.value];
    }
    const Segment& operator[](SegmentId id) const { return segments_[id.value]; }
    // `packed`: sectors of data that one has room for.
    const SegmentTotals& totals(uint64_t packed) const { return counter_.totals(segments_, packed); }
    // The same from scratch, to compare.
    SegmentTotals count_all(uint64_t packed) const;
    // Makes sure the id exists.
    Segment& ensure(SegmentId id);

    // The segment is what the image says it is now, whatever it was before.
    Segment& claim(SegmentId id);

    // The next segment for a stream, marked announced: a ready one, else one past the image's end.
    Result<SegmentId> take(const Geometry& geometry);
    // The same, but the first of `reserved` if there is one: what a failed write already announced.
    Result<SegmentId> take(const Geometry& geometry, std::deque<SegmentId>& reserved);
    // Back to the ready ones.
    void release(SegmentId id);

    // A segment past the end for the pool to write ahead of time; it becomes takable by add_ready.
    Result<SegmentId> reserve(const Geometry& geometry);
    void add_ready(SegmentId id);
    // Forgets ready segments at the end of the image, but for `keep` of them.
    void drop_trailing_ready(size_t keep);
    size_t ready_count() const { return ready_.size(); }
    size_t bare_count() const { return bare_.size(); }
    // A ready segment to give back to the host, the last one: it counts as in use until add_bare.
    SegmentId take_surplus();
    // Free, but nothing is allocated there.
    void add_bare(SegmentId id);

    // Log segments in the order of their ordinals, but for those that are past.
    std::vector<SegmentId>& log() { return log_; }
    const std::vector<SegmentId>& log() const { return log_; }
    // Index in log() of the segment that holds a sequence number, or of the first after it.
    size_t log_position(Sequence sequence) const;
    // How many of log() there are up to that one, which is in it.
    size_t log_count(SegmentId last) const {
        return static_cast<size_t>(std::find(log_.begin(), log_.end(), last) - log_.begin()) + 1;
    }
    // Segments without any batch after `floor` leave the log: they are past. Those without an index stay.
    void retire(Sequence floor);

    struct StreamUse : Use {
        Place end;
        bool pack = false;     // the current state has data there, not only after a rollback
        uint8_t failures = 0;  // attempts to move its data elsewhere that failed
        uint64_t ordinal = 0;  // of the segment in which the log was when it was added; 0: before the image was opened
    };
    // One more stream has something in these segments, or is going to have.
    void hold_stream(const std::vector<SegmentId>& ids);
    // One less. Appends to `unused` those that hold no stream any more.
    void let_go_stream(const std::vector<SegmentId>& ids, std::vector<SegmentId>* unused);
    // The places of a stream are from `base` up to `end`, whatever it lies in.
    void add_stream_use(Place base, Place end, bool pack = false, uint64_t ordinal = 0);
    void remove_stream_use(Place base) { streams_.erase(base); }
    // Of the stream that begins at `base`; null if there is none.
    StreamUse* stream_use(Place base);
    const StreamUse* stream_use(Place base) const { return const_cast<SegmentTable*>(this)->stream_use(base); }

    // How much of each segment the current map refers to is counted piece by piece, after the image was opened and
    // after each rollback; what has been counted follows the changes of the map.
    bool counted() const { return counted_to_ >= kSectorLimit; }
    void count_piece(const Geometry& geometry, const ExtentMap& map);
    // Begins anew. Anything may have been replaced in batch `sequence`, in streams if it says so.
    void recount(Sequence sequence, bool in_streams);
    void added(const Geometry& geometry, const Extent& extent);
    // Moved elsewhere by that batch.
    void removed(const Geometry& geometry, const Extent& extent, Sequence sequence);
    // Removed from the current state, but earlier ones have it.
    void replaced(const Geometry& geometry, const Extent& extent, Sequence sequence);

    // --- Deltas: delta_table.cc ---
    const DeltaTable& deltas() const { return deltas_; }
    DeltaTable& deltas() { return deltas_; }
    // What a delta needs that is based on that extent of the current map. False if none may be.
    bool chain_of(const Geometry& geometry, const Extent& base, DeltaChain* chain) const;
    // Until it is in the map, or failed, what a delta needs is pinned for it.
    void pin(const DeltaChain& chain);
    // `death`: of what was based on it.
    void unpin(const DeltaChain& chain, Sequence death);
    // A delta whose chain is pinned is going to be mapped.
    void add_delta(Place unit, const DeltaChain& chain, Time now);
    // So much of one is mapped that was not known.
    void learn_delta(Place unit, const DeltaChain& chain, uint32_t mapped);

  private:
    bool may_be_based_on(const DeltaChain& chain) const;
    void delta_added(const Extent& extent);
    void delta_removed(const Extent& extent, Sequence death);
    void forget_deltas(Sequence sequence);

    void count_live(const Geometry& geometry, const Extent& extent);
    // Sectors of the extent that have been counted.
    uint64_t counted(const Extent& extent) const;
    // Where the extent counts; null if nowhere.
    Use* owner(const Geometry& geometry, const Extent& extent);

    std::vector<Segment> segments_;
    mutable SegmentCounter counter_;  // of them
    std::vector<SegmentId> log_;
    std::deque<SegmentId> ready_;
    std::deque<SegmentId> bare_;
    std::map<Place, StreamUse> streams_;  // by base
    DeltaTable deltas_;
    Sector counted_to_;
};

}  // namespace predsnap
