// SPDX-License-Identifier: GPL-2.0-or-later
#include "log_scan.h"

#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "segment_index.h"
#include "text.h"

namespace predsnap {

using format::BatchHeader;
using format::Entry;

Result<ScannedSegment> ScannedSegment::read(Core& core, SegmentId id, uint32_t limit) {
    TRY_ASSIGN(const uint64_t image_bytes, core.file.length());
    const uint64_t offset = core.geometry.offset(id);
    const uint32_t most = std::min(core.geometry.segment_size, limit);
    uint64_t length = 0;
    if (image_bytes > offset) {
        length = align_down(std::min<uint64_t>(image_bytes - offset, most), kSectorSize);
    }
    ScannedSegment segment(core, id, AlignedBuffer(most), length);
    if (length > 0) {
        const Result<void> result = core.file.pread(offset, segment.bytes_.data(), length);
        if (!result.ok()) {
            TRY(segment.read_block_by_block(result.error()));
        }
    }
    return segment;
}

// One bad block must not cost the rest. If nothing can be read, the error is the answer.
Result<void> ScannedSegment::read_block_by_block(const Error& error) {
    unreadable_.assign(align_up(length_, kBlockSize) / kBlockSize, false);
    size_t failed = 0;
    for (size_t block = 0; block < unreadable_.size(); ++block) {
        const size_t begin = block * kBlockSize;
        const size_t part = std::min<size_t>(kBlockSize, length_ - begin);
        if (!core_->file.pread(core_->geometry.offset(id_) + begin, bytes_.data() + begin, part).ok()) {
            unreadable_[block] = true;
            std::memset(bytes_.data() + begin, 0, part);
            ++failed;
        }
    }
    return failed == unreadable_.size() ? Result<void>(error) : Result<void>();
}

bool ScannedSegment::readable(uint32_t offset) const {
    return unreadable_.empty() || offset >= length_ || !unreadable_[offset / kBlockSize];
}

std::optional<format::SegmentHeader> ScannedSegment::header() const {
    if (length_ < kBlockSize) {
        return {};
    }
    format::SegmentHeader header{};
    std::memcpy(&header, bytes_.data(), sizeof(header));
    const bool valid = std::memcmp(header.magic, format::kSegmentMagic, sizeof(header.magic)) == 0 &&
                       header.checksum == self_hash(core_->seed, header) && header.self == id_.value &&
                       header.kind == static_cast<uint8_t>(format::SegmentKind::log) &&
                       header.next < core_->geometry.max_segments();
    return valid ? std::optional(header) : std::nullopt;
}

const BatchHeader* ScannedSegment::intact_header_at(uint32_t offset) const {
    if (offset + kBlockSize > length_) {
        return nullptr;
    }
    const auto* header = reinterpret_cast<const BatchHeader*>(bytes_.data() + offset);
    if (std::memcmp(header->magic, format::kBatchMagic, sizeof(header->magic)) != 0 ||
        header->header_bytes < sizeof(BatchHeader) || header->header_bytes > length_ - offset) {
        return nullptr;
    }
    const bool intact = header->checksum == self_hash(core_->seed, *header,
                                                      header->header_bytes - sizeof(BatchHeader));
    return intact ? header : nullptr;
}

// The batch at an offset, if its header makes sense; the payload is not looked at.
std::optional<ScannedBatch> ScannedSegment::parse(uint32_t offset) const {
    const BatchHeader* header = intact_header_at(offset);
    if (header == nullptr) {
        return {};
    }
    const uint64_t body = uint64_t{header->entry_count} * sizeof(Entry) +
                          uint64_t{header->sum_count} * sizeof(uint32_t) + header->record_bytes;
    if (body != header->header_bytes - sizeof(BatchHeader) || header->total_bytes % kBlockSize != 0 ||
        header->total_bytes < align_up(header->header_bytes, kBlockSize) ||
        header->total_bytes > core_->geometry.segment_size - offset) {
        return {};
    }
    ScannedBatch batch{*header, offset, {}, {}, {}};
    batch.entries.resize(header->entry_count);
    batch.sums.resize(header->sum_count);
    batch.records.resize(header->record_bytes);
    const uint8_t* in = bytes_.data() + offset + sizeof(BatchHeader);
    const auto take = [&](void* to, size_t length) {
        if (length > 0) {
            std::memcpy(to, in, length);
        }
        in += length;
    };
    take(batch.entries.data(), batch.entries.size() * sizeof(Entry));
    take(batch.sums.data(), batch.sums.size() * sizeof(uint32_t));
    take(batch.records.data(), batch.records.size());
    uint64_t floor = (offset + align_up(header->header_bytes, kBlockSize)) / kSectorSize;
    const uint64_t ceiling = (offset + header->total_bytes) / kSectorSize;
    for (const Entry& entry : batch.entries) {
        const uint64_t length = entry.is_plain() ? entry.count : 0;
        if (!plausible(core_->geometry, entry, batch.sums.size()) || entry.place < floor ||
            entry.place + length > ceiling || !delta_fits(batch, entry)) {
            return {};
        }
        floor = entry.place + length;
    }
    return batch;
}

// True for all that is no delta.
bool ScannedSegment::delta_fits(const ScannedBatch& batch, const Entry& entry) const {
    if (!entry.has(format::kEntryDelta)) {
        return true;
    }
    const uint64_t begin = delta_begin(core_->geometry, id_, entry);
    const uint64_t end = batch.offset + uint64_t{batch.header.total_bytes};
    return begin >= batch.offset + batch.header.header_bytes && begin < end &&
           entry.units * kDeltaUnit <= end - begin;
}

std::optional<ScannedSegment::BadUnit> ScannedSegment::bad_unit(const ScannedBatch& batch,
                                                                const Entry& entry) const {
    if (!entry.is_data() || entry.has(format::kEntryPacked)) {
        return {};
    }
    if (entry.has(format::kEntryDelta)) {
        const uint64_t begin = delta_begin(core_->geometry, id_, entry);
        const uint64_t length = entry.units * kDeltaUnit;
        const bool good = begin + length <= length_ &&
                          unit_checksum(bytes_.data() + begin, length) == batch.sums[entry.first_sum];
        return good ? std::nullopt : std::optional(BadUnit{0, entry.count});
    }
    const uint64_t units = unit_count(Sector(entry.start), entry.count);
    for (uint64_t i = 0; i < units; ++i) {
        const UnitRange range = unit_range(Sector(entry.start), entry.count, i);
        const uint64_t begin = (entry.place + range.begin) * kSectorSize;
        const uint64_t length = (range.end - range.begin) * kSectorSize;
        if (begin + length > length_ ||
            unit_checksum(bytes_.data() + begin, length) != batch.sums[entry.first_sum + i]) {
            return BadUnit{range.begin, range.end};
        }
    }
    return {};
}

std::optional<ScannedBatch> ScannedSegment::chained_at(uint32_t offset, Sequence sequence,
                                                       uint64_t previous_hash) const {
    const BatchHeader* header = intact_header_at(offset);
    if (header == nullptr || header->sequence != sequence.value ||
        header->previous_hash != previous_hash || offset + header->total_bytes > length_) {
        return {};
    }
    return parse(offset);
}

Result<std::vector<ScannedBatch>> ScannedSegment::chain_from(uint32_t offset, Sequence sequence,
                                                             uint64_t previous_hash) const {
    std::vector<ScannedBatch> batches;
    while (offset + kBlockSize <= length_) {
        std::optional<ScannedBatch> batch = chained_at(offset, sequence, previous_hash);
        if (!batch) {
            break;
        }
        batch->whole = std::none_of(batch->entries.begin(), batch->entries.end(), [&](const Entry& entry) {
            return bad_unit(*batch, entry).has_value();
        });
        for (uint32_t at = offset; at < offset + batch->header.total_bytes; at += kBlockSize) {
            batch->unreadable |= !readable(at);
        }
        offset += batch->header.total_bytes;
        sequence += 1;
        previous_hash = batch->header.checksum;
        batches.push_back(std::move(*batch));
    }
    if (!readable(offset)) {
        return Error{EIO, text("log segment %u cannot be read at image offset %llu", id_.value,
                               static_cast<ull>(core_->geometry.offset(id_) + offset))};
    }
    return batches;
}

std::optional<uint32_t> ScannedSegment::later_history(uint32_t offset, Sequence newest) const {
    for (uint64_t at = align_up(offset, kBlockSize); at + kBlockSize <= length_; at += kBlockSize) {
        const BatchHeader* header = intact_header_at(static_cast<uint32_t>(at));
        if (header != nullptr && header->sequence > newest.value &&
            header->durable_sequence > newest.value) {
            return static_cast<uint32_t>(at);
        }
    }
    return {};
}

}  // namespace predsnap
