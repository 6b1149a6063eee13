// SPDX-License-Identifier: GPL-2.0-or-later
//
// The index stream: blobs (one for each closed log segment), appended to index segments, and read back.
//
// A blob is written only after the segment it describes is durable. So whoever finds a whole blob may
// trust the segment, and recovery need not read it.
#pragma once

#include <span>
#include <vector>

#include "buffer.h"
#include "core.h"
#include "segment_index.h"
#include "segment_table.h"

namespace predsnap {

class IndexStream {
  public:
    IndexStream(Core& core, SegmentTable& segments) : core_(core), segments_(segments) {}

    // Where the next blob goes, and its number.
    void start(const format::StreamPosition& position, uint64_t next_blob);
    const format::StreamPosition& position() const { return position_; }
    uint64_t next_blob() const { return next_blob_; }

    // Appends a blob; returns where it begins. One caller at a time. After an error nothing has changed
    // and it can be tried again.
    Result<format::StreamPosition> append(const std::vector<uint8_t>& blob);

    struct Read {
        std::vector<uint8_t> blob;
        uint64_t number;
        format::StreamPosition next;            // where the next blob is
        std::vector<SegmentId> segments;        // index segments it lies in
    };
    // Reads the blob that begins there. Errors: kNoBlob if there is no whole blob; anything else if the
    // device could not tell.
    static constexpr int kNoBlob = EBADMSG;
    Result<Read> read(format::StreamPosition position) const;

  private:
    Result<format::StreamPosition> after(const format::StreamPosition& at, uint32_t bytes);
    Result<void> write_chunk(const format::StreamPosition& at, const format::StreamPosition& next,
                             std::span<const uint8_t> part, const format::ChunkHeader& head);

    static Error no_blob(const format::StreamPosition& at, const char* what);
    Result<AlignedBuffer> read_chunk(const format::StreamPosition& at, uint64_t image_bytes) const;

    Core& core_;
    SegmentTable& segments_;
    format::StreamPosition position_{};
    uint64_t next_blob_ = 0;
};

}  // namespace predsnap
