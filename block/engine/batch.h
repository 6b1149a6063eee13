// SPDX-License-Identifier: GPL-2.0-or-later
//
// A batch: the writes of several requests, gathered into one append. Requests reserve a place under
// Core::mutex, fill their payload without it, and wait until the batch is applied.
#pragma once

#include <memory>
#include <vector>

#include "buffer.h"
#include "delta.h"
#include "format.h"
#include "segment_index.h"
#include "wait.h"

namespace predsnap {

// Where the next batch goes.
struct LogPosition {
    SegmentId segment = kNoSegment;  // the one being filled
    SegmentId announced = kNoSegment;
    uint32_t offset = 0;             // bytes; the segment size if the next batch opens `announced`
    uint64_t ordinal = 0;            // of `segment`
    Sequence next{1};                // sequence number of the next batch
    uint64_t hash = 0;               // checksum of the batch before it
};

class Batch {
  public:
    // Limits on one batch, from the segment size.
    struct Limits {
        uint32_t total_bytes;    // header and payload
        uint32_t payload_bytes;  // of one request
        explicit Limits(uint32_t segment_size);
    };

    explicit Batch(const Limits& limits) : limits_(limits) {}
    // Makes it empty and new, but for its memory.
    void reuse();

    // What a request brings.
    struct Size {
        uint64_t sectors = 0;  // of payload; several pieces: each in whole blocks
        size_t entries = 0;
        size_t record_bytes = 0;
        size_t delta_bytes = 0;
    };
    // Whether such a request can join.
    bool fits(const Size& size) const;
    bool empty() const { return entries_.empty() && records_.empty(); }

    // Adds a data entry and returns where its payload goes (bytes from payload()). The caller then
    // copies the payload there, zeroing from *gap to it, and calls set_sums.
    struct Slot {
        size_t entry;
        uint32_t gap, begin, end;
    };
    Slot add_data(Sector start, uint64_t sectors);
    // The same, of data that was at `from` before.
    Slot add_move(Sector start, uint64_t sectors, Place from);
    // Data that was at `from` is in a pack now, at `to`.
    void add_packed(Sector start, uint64_t sectors, Place from, Place to);
    // Adds a delta in place of a block's data; all of it is taken now.
    void add_delta(const DeltaChain& chain, std::span<const uint8_t> delta, uint32_t sum);
    void set_sums(const Slot& slot, const uint32_t* sums, size_t count);
    void add_mapping(ExtentKind kind, Sector start, uint64_t sectors);
    void add_records(std::span<const uint8_t> records);
    uint8_t* payload() { return payload_.data(); }

    // Gives the batch its place and number; builds the header. No more additions.
    struct Seal {
        Sequence sequence;
        Time time;
        uint64_t previous_hash;
        Sequence durable;
        uint64_t session;
        uint64_t seed;  // of the image
        SegmentId segment;
        SegmentId announced;  // the segment after it
        uint32_t offset;
        uint64_t segment_offset;  // of `segment` in the image
    };
    void seal(const Seal& seal);
    uint32_t total_bytes() const;
    const Seal& sealed() const { return seal_; }
    uint64_t hash() const { return hash_; }
    // Header and payload, for pwritev.
    std::vector<iovec> buffers();

    const std::vector<format::Entry>& entries() const { return entries_; }
    const std::vector<uint32_t>& sums() const { return sums_; }
    const std::vector<uint8_t>& records() const { return records_; }

    // Progress; guarded by Core::mutex.
    size_t joined = 0;         // requests in it
    size_t filling = 0;        // requests still copying their payload
    bool closed = false;       // no more may join
    bool sent = false;         // the device was asked
    bool written = false;      // the device has answered
    bool finished = false;     // applied or failed: waiters may go on
    int error = 0;             // errno
    LogPosition before;        // to take the append back
    bool opens_segment = false;
    bool made_point = false;   // by the interval
    AlignedBuffer segment_header;  // if it opens a segment
    WaitList waiters;              // of requests, until finished
    // Points this batch records; taken along if the batch fails.
    std::vector<format::PointRecord> points;
    // Of its deltas, in the order of their entries: pinned until it is applied or has failed.
    std::vector<DeltaChain> chains;

  private:
    uint32_t header_bytes() const;
    // Of header and deltas, if these are so long.
    static uint64_t head_size(uint64_t header_bytes, uint64_t delta_bytes) {
        return align_up(align_up(header_bytes, kDeltaUnit) + delta_bytes, kBlockSize);
    }

    Limits limits_;
    std::vector<format::Entry> entries_;
    std::vector<uint32_t> sums_;
    std::vector<uint8_t> records_;
    AlignedBuffer payload_;
    uint32_t payload_used_ = 0;
    std::vector<uint8_t> deltas_;  // go between the header and the payload
    AlignedBuffer header_;
    uint32_t header_size_ = 0;  // of it and the deltas, in whole blocks
    Seal seal_{};
    uint64_t hash_ = 0;
};

}  // namespace predsnap
