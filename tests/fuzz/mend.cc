// SPDX-License-Identifier: GPL-2.0-or-later
//
// Checksums made right again after edits.
#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "block/engine/checksum.h"
#include "block/engine/format.h"
#include "block/engine/segment_index.h"
#include "hostile_image.h"

namespace predsnap::fuzz {

namespace {

constexpr uint32_t kSegment = 64 << 10;

class Mender {
  public:
    explicit Mender(Image& image) : image_(image) {
        if (image_.size() >= kBlockSize) {
            seed_ = image_seed(at<format::Superblock>(0)->uuid);
        }
    }

    void mend() {
        std::map<uint64_t, size_t> log;  // by ordinal
        for (size_t base = format::kSuperblockArea; base + kBlockSize <= image_.size(); base += kSegment) {
            const auto* header = at<format::SegmentHeader>(base);
            const bool is_log = header->kind == static_cast<uint8_t>(format::SegmentKind::log);
            if (has_magic(base, format::kSegmentMagic) && is_log) {
                log[header->ordinal] = base;
            }
        }
        hashes_[0] = seed_;
        uint64_t previous = seed_;
        for (const auto& [ordinal, base] : log) {
            previous = mend_log_segment(base, previous);
        }
        for (size_t block = format::kSuperblockArea; block + kBlockSize <= image_.size();
             block += kBlockSize) {
            mend_block(block);
        }
        for (size_t slot = 0; slot < format::kSuperblockSlots; ++slot) {
            if (image_.size() >= (slot + 1) * kBlockSize) {
                auto* block = at<format::Superblock>(slot * kBlockSize);
                block->checksum = self_hash(0, *block);
            }
        }
    }

  private:
    template <typename T>
    T* at(size_t offset) {
        return reinterpret_cast<T*>(&image_[offset]);
    }
    bool has_magic(size_t offset, const uint8_t (&magic)[4]) const {
        return std::memcmp(&image_[offset], magic, sizeof(magic)) == 0;
    }
    bool holds(size_t offset, uint64_t length) const {
        return length <= image_.size() && offset <= image_.size() - length;
    }

    // Chains the batches of a segment; returns the checksum of the last.
    uint64_t mend_log_segment(size_t base, uint64_t previous) {
        at<format::SegmentHeader>(base)->previous_hash = previous;
        for (size_t offset = base + kBlockSize; offset < base + kSegment && holds(offset, kBlockSize);) {
            auto* batch = at<format::BatchHeader>(offset);
            if (!has_magic(offset, format::kBatchMagic) || batch->header_bytes < sizeof(*batch) ||
                !holds(offset, batch->header_bytes)) {
                break;
            }
            mend_sums(base, *batch);
            batch->previous_hash = previous;
            batch->checksum = self_hash(seed_, *batch, batch->header_bytes - sizeof(*batch));
            hashes_[batch->sequence] = previous = batch->checksum;
            offset += std::max<uint64_t>(align_up(batch->total_bytes, kBlockSize), kBlockSize);
        }
        return previous;
    }

    // Units where entries point to now.
    void mend_sums(size_t base, format::BatchHeader& batch) {
        const uint64_t entries_end = sizeof(batch) + uint64_t{batch.entry_count} * sizeof(format::Entry);
        const uint64_t sums_end = entries_end + uint64_t{batch.sum_count} * sizeof(uint32_t);
        if (sums_end > batch.header_bytes) {
            return;
        }
        auto* entries = reinterpret_cast<format::Entry*>(&batch + 1);
        auto* sums = reinterpret_cast<uint8_t*>(entries + batch.entry_count);
        const Geometry geometry{kSegment};
        const auto segment = static_cast<uint32_t>((base - format::kSuperblockArea) / kSegment);
        for (uint32_t i = 0; i < batch.entry_count; ++i) {
            const format::Entry& entry = entries[i];
            if (entry.kind < 2 || entry.has(format::kEntryPacked) || !plausible(geometry, entry, batch.sum_count)) {
                continue;
            }
            if (entry.has(format::kEntryDelta)) {
                mend_delta_sum(delta_begin(geometry, SegmentId(segment), entry), base, entry, sums);
                continue;
            }
            for (uint64_t u = 0; u < unit_count(Sector(entry.start), entry.count); ++u) {
                const UnitRange range = unit_range(Sector(entry.start), entry.count, u);
                const size_t from = base + (entry.place + range.begin) * kSectorSize;
                const size_t length = (range.end - range.begin) * kSectorSize;
                if (holds(from, length)) {
                    const uint32_t sum = unit_checksum(&image_[from], length);
                    std::memcpy(sums + (entry.first_sum + u) * sizeof(sum), &sum, sizeof(sum));
                }
            }
        }
    }

    void mend_delta_sum(uint64_t begin, size_t base, const format::Entry& entry, uint8_t* sums) {
        const size_t length = entry.units * kDeltaUnit;
        if (begin < kSegment && holds(base + begin, length)) {
            const uint32_t sum = unit_checksum(&image_[base + begin], length);
            std::memcpy(sums + entry.first_sum * sizeof(sum), &sum, sizeof(sum));
        }
    }

    void mend_block(size_t block) {
        if (has_magic(block, format::kSegmentMagic)) {
            auto* header = at<format::SegmentHeader>(block);
            header->checksum = self_hash(seed_, *header);
        } else if (has_magic(block, format::kChunkMagic)) {
            mend_chunk(block);
        } else if (has_magic(block, format::kPageMagic)) {
            mend_page(block);
        }
    }

    // Blobs of the images here fit in one chunk.
    void mend_chunk(size_t offset) {
        auto* chunk = at<format::ChunkHeader>(offset);
        if (!holds(offset, sizeof(*chunk) + uint64_t{chunk->bytes})) {
            return;
        }
        auto* index = reinterpret_cast<format::IndexHeader*>(chunk + 1);
        const auto hash = hashes_.find(index->last_sequence);
        if (chunk->bytes >= sizeof(*index) && hash != hashes_.end()) {
            index->last_hash = hash->second;
        }
        chunk->blob_hash = hash64(chunk + 1, chunk->bytes);
        chunk->previous_hash = hash_before_blob(chunk->blob);
        chunk->checksum = self_hash(seed_, *chunk, chunk->bytes);
        chunk_hashes_[chunk->blob] = chunk->checksum;
    }

    uint64_t hash_before_blob(uint64_t blob) const {
        const auto before = chunk_hashes_.find(blob - 1);
        return before != chunk_hashes_.end() ? before->second : seed_;
    }

    void mend_page(size_t offset) {
        auto* page = at<format::PageHeader>(offset);
        if (!holds(offset, sizeof(*page) + uint64_t{page->bytes})) {
            return;
        }
        auto* state = reinterpret_cast<format::CheckpointState*>(page + 1);
        if (page->kind == static_cast<uint8_t>(format::PageKind::state) && page->bytes >= sizeof(*state)) {
            const auto hash = hashes_.find(state->sequence);
            state->log_hash = hash != hashes_.end() ? hash->second : state->log_hash;
            state->index_hash = hash_before_blob(state->next_blob);
        }
        page->checksum = self_hash(seed_, *page, page->bytes);
    }

    Image& image_;
    uint64_t seed_ = 0;
    std::map<uint64_t, uint64_t> hashes_;  // checksum of each batch, by sequence number
    std::map<uint64_t, uint64_t> chunk_hashes_;  // checksum of each blob's chunk, by number
};

}  // namespace

void mend(Image& image) { Mender(image).mend(); }

}  // namespace predsnap::fuzz
