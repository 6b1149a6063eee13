// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "stream.h"
#include "wait.h"

namespace predsnap {

using format::kFrameSectors;

namespace {

constexpr size_t kFrameBytes = kFrameSectors * kSectorSize;

}  // namespace

StreamWriter::StreamWriter(Core& core, StreamTier& tier, int level, const StreamTail& tail)
    : core_(core), tier_(tier), level_(level), buffer_(core.geometry.segment_size) {
    if (tail.segment != kNoSegment && tail.used < capacity()) {
        taken_.push_back(tail.segment);
        used_ = on_disk_ = align_up(tail.used, kBlockSize);
        continued_ = true;
    }
}

StreamWriter::~StreamWriter() {
    if (!kept_) {
        Lock lock(core_.mutex);
        for (size_t i = continued_ ? 1 : 0; i < taken_.size(); ++i) {
            tier_.release(taken_[i]);
        }
    }
}

Result<void> StreamWriter::begin_stream(Place base, std::shared_ptr<const Dictionary> dictionary) {
    base_ = base;
    dictionary_ = std::move(dictionary);
    if (dictionary_ == nullptr) {
        return {};
    }
    const std::vector<uint8_t>& bytes = dictionary_->bytes();
    TRY(write(bytes.data(), bytes.size()));
    index_.summary.dictionary = dictionary_->id();
    index_.summary.dictionary_bytes = static_cast<uint32_t>(bytes.size());
    index_.summary.dictionary_offset = position() - bytes.size() - first_segment_ * capacity();
    index_.summary.dictionary_hash = xxh3(bytes.data(), bytes.size(), core_.seed);
    return {};
}

void StreamWriter::put_extent(const Extent& extent) {
    Extent stored = extent;
    if (extent.is_data()) {
        // What follows each other on the disk does so here, too: one extent.
        if (!index_.extents.empty()) {
            Extent last = format::unpack(index_.extents.back());
            if (last.is_data() && last.end() == extent.start && last.count + extent.count <= kMaxDataSectors) {
                last.count += extent.count;
                index_.extents.back() = format::pack(last);
                return;
            }
        }
        stored.kind = ExtentKind::run;
        stored.head = stored.tail = 0;
        stored.checksum = 0;
        stored.place = base_ + sectors_;
    }
    index_.extents.push_back(format::pack(stored));
}

void StreamWriter::put_extents_of(const StreamIndex& index, uint64_t sectors) {
    index_.extents = index.extents;
    sectors_ = sectors;
}

Result<void> StreamWriter::put_data(const uint8_t* data, uint64_t sectors) {
    sectors_ += sectors;
    for (uint64_t left = sectors * kSectorSize; left > 0;) {
        const uint64_t part = std::min<uint64_t>(left, kFramesAtOnce * kFrameBytes - raw_.size());
        raw_.insert(raw_.end(), data, data + part);
        data += part;
        left -= part;
        if (raw_.size() == kFramesAtOnce * kFrameBytes) {
            TRY(pack_frames());
        }
    }
    return {};
}

Result<void> StreamWriter::pack_frames() {
    const size_t count = (raw_.size() + kFrameBytes - 1) / kFrameBytes;
    const auto frame = [&](size_t i) {
        return std::span<const uint8_t>(raw_).subspan(i * kFrameBytes,
                                                      std::min(kFrameBytes, raw_.size() - i * kFrameBytes));
    };
    core_.host.run_on_executor([&] {
        for (size_t i = 0; i < count; ++i) {
            packer_.pack(frame(i), level_, dictionary_.get(), &packed_[i]);
        }
    });
    for (size_t i = 0; i < count; ++i) {
        const bool raw = packed_[i].empty();
        const std::span<const uint8_t> bytes = raw ? frame(i) : std::span<const uint8_t>(packed_[i]);
        TRY(put_frame(bytes.data(), static_cast<uint32_t>(bytes.size()), raw));
    }
    raw_.clear();
    return {};
}

Result<void> StreamWriter::put_frame(const uint8_t* bytes, uint32_t length, bool raw) {
    if (taken_.empty() || used_ + length > capacity()) {
        TRY(begin_segment());  // frames lie in one segment each
    }
    format::FrameRow row{};
    row.stored = length;
    row.raw = raw;
    row.hash = xxh3(bytes, length, core_.seed);
    row.offset = position();
    index_.frames.push_back(row);
    return write(bytes, length);
}

// What does not fit into this segment goes on in the next.
Result<void> StreamWriter::write(const uint8_t* bytes, uint64_t length) {
    while (length > 0) {
        if (taken_.empty() || used_ == capacity()) {
            TRY(begin_segment());
        }
        if (!begun_) {
            first_segment_ = taken_.size() - 1;
            begun_ = true;
        }
        const uint64_t part = std::min(length, capacity() - used_);
        std::memcpy(buffer_.data() + kBlockSize + used_, bytes, part);
        used_ += part;
        bytes += part;
        length -= part;
    }
    return {};
}

Result<void> StreamWriter::begin_segment() {
    TRY(write_out());
    Lock lock(core_.mutex);
    TRY_ASSIGN(const SegmentId id, tier_.take());
    taken_.push_back(id);
    used_ = on_disk_ = 0;
    return {};
}

// Writes what was put into the present segment, whole blocks.
Result<void> StreamWriter::write_out() {
    if (taken_.empty() || used_ == on_disk_) {
        return {};
    }
    const SegmentId id = taken_.back();
    const uint64_t end = align_up(kBlockSize + used_, kBlockSize);
    std::memset(buffer_.data() + kBlockSize + used_, 0, end - kBlockSize - used_);
    uint64_t begin = 0;
    if (on_disk_ > 0) {
        begin = kBlockSize + on_disk_;
    } else {
        format::SegmentHeader header{};
        header.kind = static_cast<uint8_t>(format::SegmentKind::stream);
        header.self = id.value;
        header.next = kNoSegment.value;
        header.first_sequence = base_.value;
        const AlignedBuffer block = segment_header_block(core_, header, tier_.owner());
        std::memcpy(buffer_.data(), block.data(), kBlockSize);
    }
    on_disk_ = used_;
    bytes_written_ += end - begin;
    return tier_.device().pwrite(core_.geometry.offset(id) + begin, buffer_.data() + begin, end - begin);
}

void StreamWriter::abandon_stream() {
    index_ = {};
    sectors_ = 0;
    raw_.clear();
    dictionary_ = nullptr;
    begun_ = false;
}

Result<void> StreamWriter::end_stream(StreamInfo* stream, Time upper_time, const ChunkSet& after) {
    TRY(pack_frames());
    const ExtentChunks chunks = chunks_of(index_.extents);
    index_.summary.changes = ChangeVector::of(chunks.changed, chunks.data, after);
    index_.summary.upper_time = upper_time;
    for (format::FrameRow& row : index_.frames) {
        row.offset -= first_segment_ * capacity();
    }
    const std::vector<uint8_t> blob = index_.encode(*stream, core_.seed);
    stream->base = base_;
    stream->sectors = sectors_;
    stream->index_bytes = blob.size();
    stream->index_hash = xxh3(blob.data(), blob.size(), core_.seed);
    TRY(write(blob.data(), blob.size()));
    stream->index_offset = position() - blob.size() - first_segment_ * capacity();
    stream->segments.assign(taken_.begin() + static_cast<ptrdiff_t>(first_segment_), taken_.end());
    abandon_stream();
    return {};
}

}  // namespace predsnap
