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
constexpr size_t kReadsAtOnce = 8;
// A frame is stored after its reference if that saves this part of it: to read it then takes two reads.
constexpr size_t kWorthReferring = 4;

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

Result<void> StreamWriter::begin_stream(Place base, std::shared_ptr<const Dictionary> dictionary, References references) {
    base_ = base;
    dictionary_ = std::move(dictionary);
    references_ = std::move(references);
    packs_used_.assign(references_.packs.size(), false);
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
    index_.references = index.references;
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
    TRY(read_references(count));
    core_.host.run_on_executor([&] {
        for (size_t i = 0; i < count; ++i) {
            packer_.pack(frame(i), level_, dictionary_.get(), &packed_[i]);
            const size_t without = packed_[i].empty() ? frame(i).size() : packed_[i].size();
            packed_after_[i].clear();
            if (!reference_data_[i].empty()) {
                packer_.pack_after(reference_data_[i], frame(i), level_, &packed_after_[i]);
            }
            if (packed_after_[i].size() > without - without / kWorthReferring) {
                packed_after_[i].clear();
            }
        }
    });
    const size_t first = index_.frames.size();
    for (size_t i = 0; i < count; ++i) {
        if (!packed_after_[i].empty()) {
            TRY(put_frame_after(packed_after_[i], references_.frames[first + i]));
        } else if (!packed_[i].empty()) {
            TRY(put_frame(packed_[i], format::kFormZstd));
        } else {
            TRY(put_frame(frame(i), format::kFormRaw));
        }
    }
    raw_.clear();
    return {};
}

// Of the frames that are packed next. What cannot be read is no reference.
Result<void> StreamWriter::read_references(size_t count) {
    const size_t first = index_.frames.size();
    TaskGroup group(core_.host, kReadsAtOnce);
    for (size_t i = 0; i < count; ++i) {
        reference_data_[i].clear();
        if (first + i < references_.frames.size() && references_.frames[first + i].sectors > 0) {
            group.run([this, &from = references_.frames[first + i], &to = reference_data_[i]]() -> Result<void> {
                to.resize(from.sectors * kSectorSize);
                if (!references_.read(references_.packs[from.pack], from.place, from.sectors, to.data()).ok()) {
                    to.clear();
                }
                return {};
            });
        }
    }
    return group.wait();
}

Result<void> StreamWriter::put_frame_after(std::span<const uint8_t> stored, const References::Candidate& reference) {
    index_.references.push_back({reference.place.value, reference.sectors, 0});
    packs_used_[reference.pack] = true;
    return put_frame(stored, format::kFormAfter + static_cast<uint32_t>(index_.references.size() - 1));
}

Result<void> StreamWriter::put_frame(std::span<const uint8_t> stored, uint32_t form) {
    if (taken_.empty() || used_ + stored.size() > capacity()) {
        TRY(begin_segment());  // frames lie in one segment each
    }
    format::FrameRow row{};
    row.stored = static_cast<uint32_t>(stored.size());
    row.form = form;
    row.hash = xxh3(stored.data(), stored.size(), core_.seed);
    row.offset = position();
    index_.frames.push_back(row);
    return write(stored.data(), stored.size());
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
    references_ = {};
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
    for (size_t i = 0; i < packs_used_.size(); ++i) {
        if (packs_used_[i]) {
            stream->references.push_back(references_.packs[i].id);
        }
    }
    stream->segments.assign(taken_.begin() + static_cast<ptrdiff_t>(first_segment_), taken_.end());
    abandon_stream();
    return {};
}

}  // namespace predsnap
