// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cstring>

#include "checkpoint.h"
#include "checksum.h"

namespace predsnap {

using format::PageHeader;
using format::PageKind;

namespace {

constexpr uint32_t kPageContent = format::kPageSize - sizeof(PageHeader);

}  // namespace

CheckpointWriter::~CheckpointWriter() {
    std::lock_guard lock(core_.mutex);
    if (announced_ != kNoSegment) {
        segments_.release(announced_);
    }
    for (size_t i = 0; !kept_ && i < taken_.size(); ++i) {
        segments_.release(taken_[i]);
    }
}

Result<void> CheckpointWriter::put_extents(const std::vector<Extent>& extents) {
    for (const Extent& extent : extents) {
        const format::PackedExtent packed = format::pack(extent);
        TRY(put(PageKind::extents, &packed, sizeof(packed)));
    }
    return {};
}

// Adds content; items of up to a few hundred bytes are not cut by page ends if they divide evenly, so
// readers treat the content of consecutive pages of a kind as one stream.
Result<void> CheckpointWriter::put(PageKind kind, const void* data, size_t length) {
    if (page_used_ > 0 && page_kind_ != kind) {
        TRY(end_page());
    }
    page_kind_ = kind;
    const auto* bytes = static_cast<const uint8_t*>(data);
    while (length > 0) {
        const size_t part = std::min<size_t>(length, kPageContent - page_used_);
        std::memcpy(buffer_.data() + buffered_ + sizeof(PageHeader) + page_used_, bytes, part);
        page_used_ += static_cast<uint32_t>(part);
        bytes += part;
        length -= part;
        if (page_used_ == kPageContent) {
            TRY(end_page());
        }
    }
    return {};
}

Result<void> CheckpointWriter::end_page() {
    uint8_t* page = buffer_.data() + buffered_;
    std::memset(page + sizeof(PageHeader) + page_used_, 0, kPageContent - page_used_);
    PageHeader header{};
    std::memcpy(header.magic, format::kPageMagic, sizeof(header.magic));
    header.kind = static_cast<uint8_t>(page_kind_);
    header.bytes = page_used_;
    header.number = page_number_++;
    header.checkpoint_id = id_;
    std::memcpy(page, &header, sizeof(header));
    auto* placed = reinterpret_cast<PageHeader*>(page);
    placed->checksum = self_hash(core_.seed, *placed, page_used_);
    buffered_ += format::kPageSize;
    page_used_ = 0;
    const uint64_t in_segment =
        taken_.empty() ? core_.geometry.segment_size - kBlockSize : core_.geometry.segment_size - segment_offset_;
    const bool segment_full = buffered_ + format::kPageSize > in_segment;
    if (segment_full || buffered_ + format::kPageSize > buffer_.size()) {
        return write_out();
    }
    return {};
}

Result<void> CheckpointWriter::open_segment() {
    std::lock_guard lock(core_.mutex);
    if (announced_ == kNoSegment) {
        TRY_ASSIGN(announced_, segments_.take(core_.geometry));
    }
    TRY_ASSIGN(const SegmentId next, segments_.take(core_.geometry));
    taken_.push_back(announced_);
    announced_ = next;
    return {};
}

// Writes the buffered pages, opening the next segment first if the last one is full.
Result<void> CheckpointWriter::write_out() {
    if (taken_.empty() || segment_offset_ + buffered_ > core_.geometry.segment_size) {
        TRY(open_segment());
        format::SegmentHeader header{};
        header.kind = static_cast<uint8_t>(format::SegmentKind::checkpoint);
        header.self = taken_.back().value;
        header.next = announced_.value;
        header.ordinal = taken_.size() - 1;
        header.first_sequence = id_;
        const AlignedBuffer block = segment_header_block(core_, header);
        TRY(core_.file.pwrite(core_.geometry.offset(taken_.back()), block.data(), kBlockSize));
        segment_offset_ = kBlockSize;
        bytes_ += kBlockSize;
    }
    TRY(core_.file.pwrite(core_.geometry.offset(taken_.back()) + segment_offset_, buffer_.data(),
                          buffered_));
    segment_offset_ += buffered_;
    bytes_ += buffered_;
    buffered_ = 0;
    return {};
}

Result<void> CheckpointWriter::finish(const CheckpointParts& parts) {
    const History& history = parts.history;
    std::vector<uint8_t> snapshots;
    for (const SnapshotInfo& snapshot : history.snapshots) {
        put_snapshot(snapshots, snapshot);
    }
    format::CheckpointState state{};
    state.sequence = parts.sequence.value;
    state.initial_size = history.initial_size;
    state.next_snapshot_id = history.next_snapshot_id;
    state.next_blob = parts.index.blob;
    state.index = parts.index.at;
    state.index_hash = parts.index.hash;
    state.log = {parts.log.segment.value, parts.log.offset, parts.log.ordinal};
    state.log_announced = parts.log.announced.value;
    state.log_hash = parts.log.hash;
    state.last_time = parts.time.value;
    state.point_sequence = history.last_point.value;
    state.point_time = history.last_point_time.value;
    state.floor_sequence = history.floor.value;
    state.floor_time = history.floor_time.value;
    state.floor_clock = history.floor_clock;
    std::vector<uint8_t> streams;
    for (auto stream = history.streams.rbegin(); stream != history.streams.rend(); ++stream) {
        put_stream(streams, *stream);
    }
    state.next_stream_id = history.next_stream_id;
    state.next_stream_base = history.next_stream_base.value;
    state.stream_bytes = streams.size();
    state.snapshot_bytes = snapshots.size();
    state.rollback_count = history.rollbacks.size();
    state.resize_count = history.resizes.size();
    state.open_indexes = static_cast<uint32_t>(parts.open_indexes.size());
    TRY(put(PageKind::state, &state, sizeof(state)));
    TRY(put(PageKind::state, snapshots.data(), snapshots.size()));
    for (const History::Rollback& rollback : history.rollbacks) {
        const uint64_t row[2] = {rollback.sequence.value,
                                 rollback.target.value | (rollback.deep ? format::kDeepRollback : 0)};
        TRY(put(PageKind::state, row, sizeof(row)));
    }
    for (const History::Resize& resize : history.resizes) {
        const uint64_t row[2] = {resize.sequence.value, resize.size};
        TRY(put(PageKind::state, row, sizeof(row)));
    }
    TRY(put(PageKind::state, streams.data(), streams.size()));
    TRY(put(PageKind::segments, parts.segments.data(),
            parts.segments.size() * sizeof(format::SegmentRow)));
    TRY(put(PageKind::levels, parts.fine_chunks.data(), parts.fine_chunks.size() * sizeof(uint64_t)));
    for (const SegmentIndex& index : parts.open_indexes) {
        const std::vector<uint8_t> blob = index.encode();
        const uint64_t length = blob.size();
        TRY(put(PageKind::index, &length, sizeof(length)));
        TRY(put(PageKind::index, blob.data(), blob.size()));
    }
    if (page_used_ > 0) {
        TRY(end_page());
    }
    page_kind_ = PageKind::last;
    TRY(end_page());
    return buffered_ > 0 ? write_out() : Result<void>();
}

}  // namespace predsnap
