// SPDX-License-Identifier: GPL-2.0-or-later
//
// The segments of the image: what each is used for, and which can be taken next. Not synchronised:
// Core::mutex guards it.
#pragma once

#include <deque>
#include <vector>

#include "core.h"
#include "format.h"
#include "result.h"

namespace predsnap {

struct Segment {
    format::SegmentKind kind = format::SegmentKind::free;
    bool announced = false;  // taken as the next of a stream, nothing in it yet
    uint64_t ordinal = 0;
    Sequence first, last;    // log: of its batches; last < first while it has none
    TimeSpan times;          // log: of its batches, and of the points they record
    format::StreamPosition index{kNoSegment.value, 0, 0};  // log: where its index blob begins

    bool has_index() const { return index.segment != kNoSegment.value; }
    bool in_use() const { return announced || kind != format::SegmentKind::free; }
};

class SegmentTable {
  public:
    // All segments of the image that are not in use become ready to be taken.
    void adopt_image(const Geometry& geometry, uint64_t image_bytes);

    uint32_t size() const { return static_cast<uint32_t>(segments_.size()); }
    bool contains(SegmentId id) const { return id.value < segments_.size(); }
    Segment& operator[](SegmentId id) { return segments_[id.value]; }
    const Segment& operator[](SegmentId id) const { return segments_[id.value]; }
    // Makes sure the id exists.
    Segment& ensure(SegmentId id);

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

    // Log segments in the order of their ordinals.
    std::vector<SegmentId>& log() { return log_; }
    const std::vector<SegmentId>& log() const { return log_; }
    // Index in log() of the segment that holds a sequence number, or of the first after it.
    size_t log_position(Sequence sequence) const;

  private:
    std::vector<Segment> segments_;
    std::vector<SegmentId> log_;
    std::deque<SegmentId> ready_;
};

}  // namespace predsnap
