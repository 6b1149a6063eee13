// SPDX-License-Identifier: GPL-2.0-or-later
//
// Checkpoints: the whole state at one sequence number, so that recovery need not read the log from its
// beginning. The map is written from a view, page by page in the order of sectors while writes go on, so
// a checkpoint is exactly the state at its sequence number.
//
// It lies in checkpoint segments, linked by their headers, found through the superblock, which is written
// only when the checkpoint is durable. Then the checkpoint before it is free.
#pragma once

#include <deque>
#include <vector>

#include "buffer.h"
#include "core.h"
#include "disk_state.h"
#include "history.h"
#include "index_stream.h"
#include "log.h"
#include "segment_table.h"

namespace predsnap {

// All of a checkpoint but the map.
struct CheckpointParts {
    Sequence sequence;
    Time time;
    History history;
    LogPosition log;                          // `announced` included
    IndexStream::Tail index;
    std::vector<SegmentIndex> open_indexes;   // oldest first
    std::vector<format::SegmentRow> segments; // log and index segments
    std::vector<uint64_t> fine_chunks;        // ascending
};

class CheckpointWriter {
  public:
    CheckpointWriter(Core& core, SegmentTable& segments, uint64_t id)
        : core_(core), segments_(segments), id_(id), buffer_(kBufferBytes) {}
    // Releases the segments taken unless keep() was called.
    ~CheckpointWriter();

    Result<void> put_extents(const std::vector<Extent>& extents);
    // The rest; nothing can be added afterwards. Not durable before a flush.
    Result<void> finish(const CheckpointParts& parts);

    SegmentId first_segment() const { return taken_.front(); }
    const std::vector<SegmentId>& segments() const { return taken_; }
    uint64_t bytes() const { return bytes_; }
    void keep() { kept_ = true; }

  private:
    static constexpr size_t kBufferBytes = 1 << 20;
    Result<void> put(format::PageKind kind, const void* data, size_t length);
    Result<void> end_page();
    Result<void> open_segment();
    Result<void> write_out();

    Core& core_;
    SegmentTable& segments_;
    const uint64_t id_;
    AlignedBuffer buffer_;       // pages not yet written
    size_t buffered_ = 0;        // whole pages and headers in it
    uint32_t page_used_ = 0;     // content bytes of the page being filled
    format::PageKind page_kind_ = format::PageKind::extents;
    uint32_t page_number_ = 0;
    std::vector<SegmentId> taken_;
    SegmentId announced_ = kNoSegment;
    uint64_t segment_offset_ = 0;  // of the buffer's start in the last taken segment
    uint64_t bytes_ = 0;
    bool kept_ = false;
};

struct LoadedCheckpoint {
    CheckpointParts parts;
    ExtentMap map;
    std::vector<SegmentId> segments;  // it lies in
};

// Errors: EIO naming what is damaged. The map goes on using the supply, if one is given.
Result<LoadedCheckpoint> read_checkpoint(Core& core, SegmentId first, uint64_t id, ChunkSupply* supply = nullptr);
// Only which segments it lies in; there are `count` of them. None if it is damaged; an error if the device cannot tell.
Result<std::vector<SegmentId>> checkpoint_chain(Core& core, SegmentId first, uint64_t id, uint32_t count);

}  // namespace predsnap
