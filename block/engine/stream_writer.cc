// SPDX-License-Identifier: GPL-2.0-or-later
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "stream.h"
#include "wait.h"

namespace predsnap {

using format::kFrameSectors;

StreamWriter::StreamWriter(Core& core, SegmentTable& segments, Place base, int level)
    : core_(core), segments_(segments), base_(base), level_(level), buffer_(core.geometry.segment_size) {
    packed_.resize(ZSTD_compressBound(kFrameSectors * kSectorSize));
}

StreamWriter::~StreamWriter() {
    if (!kept_) {
        Lock lock(core_.mutex);
        for (const SegmentId id : taken_) {
            segments_.release(id);
        }
    }
}

void StreamWriter::put_extent(const Extent& extent) {
    Extent stored = extent;
    if (extent.is_data()) {
        stored.kind = ExtentKind::run;
        stored.head = stored.tail = 0;
        stored.checksum = 0;
        stored.place = base_ + sectors_ + frame_.size() / kSectorSize;
    }
    index_.extents.push_back(format::pack(stored));
}

Result<void> StreamWriter::put_data(const uint8_t* data, uint64_t sectors) {
    while (sectors > 0) {
        const uint64_t room = kFrameSectors - frame_.size() / kSectorSize;
        const uint64_t part = std::min(room, sectors);
        frame_.insert(frame_.end(), data, data + part * kSectorSize);
        data += part * kSectorSize;
        sectors -= part;
        if (part == room) {
            TRY(end_frame());
        }
    }
    return {};
}

Result<void> StreamWriter::end_frame() {
    const size_t packed = ZSTD_compress(packed_.data(), packed_.size(), frame_.data(), frame_.size(), level_);
    const bool raw = ZSTD_isError(packed) != 0 || packed >= frame_.size() - frame_.size() / 16;
    const uint8_t* bytes = raw ? frame_.data() : packed_.data();
    const uint64_t length = raw ? frame_.size() : packed;
    if (used_ + length > capacity()) {
        TRY(write_out());  // frames lie in one segment each
    }
    format::FrameRow row{};
    row.offset = written_ + used_;
    row.stored = static_cast<uint32_t>(length);
    row.raw = raw;
    row.hash = xxh3(bytes, length, core_.seed);
    index_.frames.push_back(row);
    sectors_ += frame_.size() / kSectorSize;
    frame_.clear();
    return write(bytes, length);
}

// What does not fit into this segment goes on in the next.
Result<void> StreamWriter::write(const uint8_t* bytes, uint64_t length) {
    while (length > 0) {
        if (used_ == capacity()) {
            TRY(write_out());
        }
        const uint64_t part = std::min(length, capacity() - used_);
        std::memcpy(buffer_.data() + kBlockSize + used_, bytes, part);
        used_ += part;
        bytes += part;
        length -= part;
    }
    return {};
}

// Writes the segment that is filled, and begins the next.
Result<void> StreamWriter::write_out() {
    SegmentId id;
    {
        Lock lock(core_.mutex);
        TRY_ASSIGN(id, segments_.take(core_.geometry));
        taken_.push_back(id);
    }
    format::SegmentHeader header{};
    header.kind = static_cast<uint8_t>(format::SegmentKind::stream);
    header.self = id.value;
    header.next = kNoSegment.value;
    header.ordinal = taken_.size() - 1;
    header.first_sequence = base_.value;
    const AlignedBuffer block = segment_header_block(core_, header);
    std::memcpy(buffer_.data(), block.data(), kBlockSize);
    const uint64_t length = align_up(kBlockSize + used_, kBlockSize);
    std::memset(buffer_.data() + kBlockSize + used_, 0, length - kBlockSize - used_);
    TRY(core_.file.pwrite(core_.geometry.offset(id), buffer_.data(), length));
    written_ += capacity();
    used_ = 0;
    return {};
}

Result<void> StreamWriter::finish(StreamInfo* stream) {
    if (!frame_.empty()) {
        TRY(end_frame());
    }
    const std::vector<uint8_t> blob = index_.encode();
    stream->base = base_;
    stream->sectors = sectors_;
    stream->index_offset = written_ + used_;
    stream->index_bytes = blob.size();
    stream->index_hash = xxh3(blob.data(), blob.size(), core_.seed);
    TRY(write(blob.data(), blob.size()));
    if (used_ > 0) {
        TRY(write_out());
    }
    stream->segments = taken_;
    return {};
}

}  // namespace predsnap
