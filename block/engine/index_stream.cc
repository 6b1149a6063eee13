// SPDX-License-Identifier: GPL-2.0-or-later
#include "index_stream.h"

#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "text.h"

namespace predsnap {

using format::ChunkHeader;
using format::StreamPosition;

void IndexStream::start(const StreamPosition& position, uint64_t next_blob) {
    position_ = position;
    next_blob_ = next_blob;
}

namespace {

// The most blob bytes a chunk at that offset can hold.
uint32_t room(const Geometry& geometry, uint32_t offset) {
    return geometry.segment_size - offset - static_cast<uint32_t>(sizeof(ChunkHeader));
}

bool can_hold_chunk(const Geometry& geometry, uint32_t offset) {
    return offset + kBlockSize <= geometry.segment_size;
}

}  // namespace

// Where the chunk after one of so many bytes goes: the same segment, or a newly taken one.
Result<StreamPosition> IndexStream::after(const StreamPosition& at, uint32_t bytes) {
    const auto end = static_cast<uint32_t>(align_up(at.offset + sizeof(ChunkHeader) + bytes, kBlockSize));
    if (can_hold_chunk(core_.geometry, end)) {
        return StreamPosition{at.segment, end, at.ordinal};
    }
    std::lock_guard lock(core_.mutex);
    TRY_ASSIGN(const SegmentId next, segments_.take(core_.geometry));
    return StreamPosition{next.value, kBlockSize, at.ordinal + 1};
}

Result<StreamPosition> IndexStream::append(const std::vector<uint8_t>& blob) {
    ChunkHeader head{};
    std::memcpy(head.magic, format::kChunkMagic, sizeof(head.magic));
    head.blob = next_blob_;
    head.blob_bytes = blob.size();
    head.blob_hash = hash64(blob.data(), blob.size());

    StreamPosition at = position_;
    std::vector<SegmentId> taken;
    Result<void> result;
    for (uint64_t done = 0; done < blob.size() && result.ok();) {
        const uint64_t part = std::min<uint64_t>(blob.size() - done, room(core_.geometry, at.offset));
        head.blob_offset = done;
        head.bytes = static_cast<uint32_t>(part);
        Result<StreamPosition> next = after(at, head.bytes);
        if (!next.ok()) {
            result = next.error();
            break;
        }
        if (next.value().segment != at.segment) {
            taken.push_back(SegmentId(next.value().segment));
        }
        result = write_chunk(at, next.value(), std::span(blob).subspan(done, part), head);
        done += part;
        at = next.value();
    }
    std::lock_guard lock(core_.mutex);
    if (!result.ok()) {
        for (auto id = taken.rbegin(); id != taken.rend(); ++id) {
            segments_.release(*id);
        }
        return Error(result.error());
    }
    // Now in use for good: the segment the blob began in, and those it went on in.
    segments_.ensure(SegmentId(position_.segment)).kind = format::SegmentKind::index;
    for (const SegmentId id : taken) {
        if (id.value != at.segment || at.offset != kBlockSize) {
            segments_[id].kind = format::SegmentKind::index;
        }
    }
    const StreamPosition begin = position_;
    position_ = at;
    ++next_blob_;
    return begin;
}

Result<void> IndexStream::write_chunk(const StreamPosition& at, const StreamPosition& next,
                                      std::span<const uint8_t> part, const ChunkHeader& head) {
    const bool opens = at.offset == kBlockSize;
    AlignedBuffer buffer(align_up((opens ? kBlockSize : 0) + sizeof(head) + part.size(), kBlockSize));
    std::memset(buffer.data(), 0, buffer.size());
    if (opens) {
        format::SegmentHeader header{};
        std::memcpy(header.magic, format::kSegmentMagic, sizeof(header.magic));
        header.kind = static_cast<uint8_t>(format::SegmentKind::index);
        std::memcpy(header.uuid, core_.uuid.data(), core_.uuid.size());
        header.self = at.segment;
        header.next = kNoSegment.value;  // chunks say where the stream goes on
        header.ordinal = at.ordinal;
        header.first_sequence = head.blob;
        header.checksum = self_hash(core_.seed, header);
        std::memcpy(buffer.data(), &header, sizeof(header));
    }
    uint8_t* out = buffer.data() + (opens ? kBlockSize : 0);
    auto* chunk = reinterpret_cast<ChunkHeader*>(out);
    *chunk = head;
    chunk->next = next;
    std::memcpy(out + sizeof(head), part.data(), part.size());
    chunk->checksum = self_hash(core_.seed, *chunk, part.size());
    TRY(core_.file.pwrite(core_.geometry.offset(SegmentId(at.segment)) + at.offset -
                              (opens ? kBlockSize : 0),
                          buffer.data(), buffer.size()));
    std::lock_guard lock(core_.mutex);
    core_.stats.index_bytes += buffer.size();
    return {};
}

Result<IndexStream::Read> IndexStream::read(StreamPosition at) const {
    const Geometry& geometry = core_.geometry;
    TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
    const auto bad = [&](const char* what) {
        return Error{kNoBlob, text("index stream, segment %u offset %u: %s", at.segment, at.offset, what)};
    };
    Read result{};
    uint64_t blob_hash = 0, blob_bytes = 0;
    do {
        if (at.offset < kBlockSize || at.offset % kBlockSize != 0 ||
            !can_hold_chunk(geometry, at.offset) || at.segment >= geometry.max_segments()) {
            return bad("position is out of range");
        }
        const uint64_t offset = geometry.offset(SegmentId(at.segment)) + at.offset;
        // Most blobs fit in the first read.
        const uint64_t in_segment = geometry.segment_size - at.offset;
        uint64_t have = std::min<uint64_t>(in_segment, 128 << 10);
        if (offset >= image_bytes) {
            return bad("lies past the end of the image");
        }
        have = std::min(have, align_down(image_bytes - offset, kSectorSize));
        AlignedBuffer buffer(in_segment);
        if (have < kBlockSize) {
            return bad("is cut short by the end of the image");
        }
        TRY(core_.file.pread(offset, buffer.data(), have));
        const auto* chunk = reinterpret_cast<const ChunkHeader*>(buffer.data());
        if (std::memcmp(chunk->magic, format::kChunkMagic, sizeof(chunk->magic)) != 0 ||
            chunk->bytes > room(geometry, at.offset) || chunk->bytes == 0) {
            return bad("no chunk header");
        }
        const uint64_t need = align_up(sizeof(ChunkHeader) + chunk->bytes, kSectorSize);
        if (offset + need > image_bytes) {
            return bad("chunk is cut short by the end of the image");
        }
        if (need > have) {
            TRY(core_.file.pread(offset + have, buffer.data() + have, need - have));
        }
        if (chunk->checksum != self_hash(core_.seed, *chunk, chunk->bytes)) {
            return bad("checksum mismatch");
        }
        if (result.blob.empty()) {
            result.number = chunk->blob;
            blob_hash = chunk->blob_hash;
            blob_bytes = chunk->blob_bytes;
        }
        if (chunk->blob != result.number || chunk->blob_hash != blob_hash ||
            chunk->blob_bytes != blob_bytes || chunk->blob_offset != result.blob.size() ||
            chunk->bytes > blob_bytes - result.blob.size()) {
            return bad("chunk belongs to another blob");
        }
        const uint8_t* bytes = buffer.data() + sizeof(ChunkHeader);
        result.blob.insert(result.blob.end(), bytes, bytes + chunk->bytes);
        result.segments.push_back(SegmentId(at.segment));
        at = chunk->next;
    } while (result.blob.size() < blob_bytes);
    if (hash64(result.blob.data(), result.blob.size()) != blob_hash) {
        return bad("blob checksum mismatch");
    }
    result.next = at;
    return result;
}

}  // namespace predsnap
