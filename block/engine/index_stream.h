// SPDX-License-Identifier: GPL-2.0-or-later
//
// The index stream: blobs (one for each closed log segment), appended to index segments, and read back.
//
// A blob is written only after the segment it describes is durable, and that the log goes on in the next.
// So whoever finds a whole blob may trust the segment, and recovery need not read it.
#pragma once

#include <deque>
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

    // The end of the stream.
    struct Tail {
        format::StreamPosition at;  // where the next blob goes
        uint64_t blob = 0;          // its number
        uint64_t hash = 0;          // checksum of the chunk before it; the image's seed if it is the first
    };
    void start(const Tail& tail) { tail_ = tail; }
    const Tail& tail() const { return tail_; }

    // Appends a blob. One caller at a time. After an error nothing has changed and it can be tried again.
    struct Appended {
        format::StreamPosition begin;
        uint16_t span;  // index segments it lies in
    };
    Result<Appended> append(const std::vector<uint8_t>& blob);

    struct Read {
        std::vector<uint8_t> blob;
        uint64_t number;
        uint64_t previous_hash;
        uint64_t bytes;  // of the whole blob
        uint64_t hash;
        Tail next;                        // behind it
        std::vector<SegmentId> segments;  // index segments it lies in

        // Whether it was written right there: what is left of a blob that an earlier opening wrote, and
        // recovery did not take, was not.
        bool follows(const Tail& tail) const {
            return number == tail.blob && previous_hash == tail.hash;
        }
    };
    // Reads the blob that begins there. Errors: kNoBlob if there is no whole blob; anything else if the
    // device could not tell.
    static constexpr int kNoBlob = EBADMSG;
    Result<Read> read(format::StreamPosition position) const;

  private:
    Result<format::StreamPosition> after(const format::StreamPosition& at, uint32_t bytes);
    // Returns the chunk's checksum.
    Result<uint64_t> write_chunk(const format::StreamPosition& at, std::span<const uint8_t> part,
                                 const format::ChunkHeader& head);

    static Error no_blob(const format::StreamPosition& at, const char* what);
    Result<AlignedBuffer> read_chunk(const format::StreamPosition& at, uint64_t image_bytes) const;
    Result<void> take_chunk(const format::StreamPosition& at, const AlignedBuffer& buffer, Read& read) const;

    Core& core_;
    SegmentTable& segments_;
    Tail tail_;
    // Segments that chunks of a failed append lead to. Those chunks may be on disk: tried again, the blob takes
    // the same way, so that they are the same.
    std::deque<SegmentId> taken_back_;
};

}  // namespace predsnap
