// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reading the log as it lies on disk, batch by batch, as recovery and check do.
#pragma once

#include <optional>
#include <vector>

#include "buffer.h"
#include "core.h"
#include "format.h"

namespace predsnap {

struct ScannedBatch {
    format::BatchHeader header;
    uint32_t offset;  // bytes from the segment's start
    std::vector<format::Entry> entries;
    std::vector<uint32_t> sums;
    std::vector<uint8_t> records;
    bool whole = true;        // the payload matches its checksums
    bool unreadable = false;  // the device could not read all of it
};

// A log segment in memory, as much of it as the image holds.
class ScannedSegment {
  public:
    // At most `limit` bytes of it. Blocks that the device cannot read count as damaged; see readable().
    static Result<ScannedSegment> read(Core& core, SegmentId id, uint32_t limit = UINT32_MAX);
    bool readable(uint32_t offset) const;

    // Its header, if it is a valid one of a log segment.
    std::optional<format::SegmentHeader> header() const;
    // The batch at that offset if it continues the chain, whatever its payload.
    std::optional<ScannedBatch> chained_at(uint32_t offset, Sequence sequence,
                                           uint64_t previous_hash) const;
    // The batches from an offset on that continue the chain, whole or not. Errors: EIO if the device
    // could not read where the chain goes on.
    Result<std::vector<ScannedBatch>> chain_from(uint32_t offset, Sequence sequence,
                                                 uint64_t previous_hash) const;
    // Offset of a batch at or after `offset` that proves that history up to some sequence number
    // greater than `newest` was durable. Then a log that ends at `newest` has been damaged.
    std::optional<uint32_t> later_history(uint32_t offset, Sequence newest) const;
    // The batch header at an offset, if its checksum is right, whatever it says.
    const format::BatchHeader* intact_header_at(uint32_t offset) const;
    // Sectors [begin, end) of a data entry's first unit whose checksum is wrong; nothing if all match.
    struct BadUnit {
        uint64_t begin, end;
    };
    std::optional<BadUnit> bad_unit(const ScannedBatch& batch, const format::Entry& entry) const;

    SegmentId id() const { return id_; }

  private:
    ScannedSegment(Core& core, SegmentId id, AlignedBuffer bytes, size_t length)
        : core_(&core), id_(id), bytes_(std::move(bytes)), length_(length) {}
    Result<void> read_block_by_block(const Error& error);
    std::optional<ScannedBatch> parse(uint32_t offset) const;
    bool delta_fits(const ScannedBatch& batch, const format::Entry& entry) const;

    Core* core_;
    SegmentId id_;
    AlignedBuffer bytes_;
    size_t length_;
    std::vector<bool> unreadable_;  // by block; empty if all could be read
};

}  // namespace predsnap
