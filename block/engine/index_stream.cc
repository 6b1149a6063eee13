// SPDX-License-Identifier: GPL-2.0-or-later
#include "index_stream.h"

#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "text.h"

namespace predsnap {

using format::ChunkHeader;
using format::StreamPosition;

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
    TRY_ASSIGN(const SegmentId next, segments_.take(core_.geometry, taken_back_));
    return StreamPosition{next.value, kBlockSize, at.ordinal + 1};
}

Result<IndexStream::Appended> IndexStream::append(const std::vector<uint8_t>& blob) {
    ChunkHeader head{};
    std::memcpy(head.magic, format::kChunkMagic, sizeof(head.magic));
    head.blob = tail_.blob;
    head.blob_bytes = blob.size();
    head.blob_hash = hash64(blob.data(), blob.size());
    head.session = core_.session;
    head.previous_hash = tail_.hash;

    StreamPosition at = tail_.at;
    std::vector<SegmentId> taken;
    Result<uint64_t> result = tail_.hash;
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
        head.next = next.value();
        result = write_chunk(at, std::span(blob).subspan(done, part), head);
        done += part;
        at = next.value();
        if (result.ok()) {
            head.previous_hash = result.value();
        }
    }
    std::lock_guard lock(core_.mutex);
    if (!result.ok()) {
        taken_back_.insert(taken_back_.begin(), taken.begin(), taken.end());
        return Error(result.error());
    }
    // Now in use for good: the segment the blob began in, and those it went on in.
    Segment& first = segments_.ensure(SegmentId(tail_.at.segment));
    first.kind = format::SegmentKind::index;
    first.ordinal = tail_.at.ordinal;
    Appended appended{tail_.at, 1};
    for (const SegmentId id : taken) {
        if (id.value != at.segment || at.offset != kBlockSize) {
            segments_[id].kind = format::SegmentKind::index;
            segments_[id].ordinal = first.ordinal + appended.span++;
        }
    }
    tail_ = {at, tail_.blob + 1, head.previous_hash};
    return appended;
}

Result<uint64_t> IndexStream::write_chunk(const StreamPosition& at, std::span<const uint8_t> part,
                                          const ChunkHeader& head) {
    const bool opens = at.offset == kBlockSize;
    AlignedBuffer buffer(align_up((opens ? kBlockSize : 0) + sizeof(head) + part.size(), kBlockSize));
    std::memset(buffer.data(), 0, buffer.size());
    if (opens) {
        format::SegmentHeader header{};
        header.kind = static_cast<uint8_t>(format::SegmentKind::index);
        header.self = at.segment;
        header.next = kNoSegment.value;  // chunks say where the stream goes on
        header.ordinal = at.ordinal;
        header.first_sequence = head.blob;
        const AlignedBuffer block = segment_header_block(core_, header);
        std::memcpy(buffer.data(), block.data(), block.size());
    }
    uint8_t* out = buffer.data() + (opens ? kBlockSize : 0);
    auto* chunk = reinterpret_cast<ChunkHeader*>(out);
    *chunk = head;
    std::memcpy(out + sizeof(head), part.data(), part.size());
    chunk->checksum = self_hash(core_.seed, *chunk, part.size());
    TRY(core_.file.pwrite(core_.geometry.offset(SegmentId(at.segment)) + at.offset -
                              (opens ? kBlockSize : 0),
                          buffer.data(), buffer.size()));
    std::lock_guard lock(core_.mutex);
    core_.stats.index_bytes += buffer.size();
    return chunk->checksum;
}

Error IndexStream::no_blob(const StreamPosition& at, const char* what) {
    return Error{kNoBlob, text("index stream, segment %u offset %u: %s", at.segment, at.offset, what)};
}

// What seems to be the chunk at a position: its header, and its bytes behind it.
Result<AlignedBuffer> IndexStream::read_chunk(const StreamPosition& at, uint64_t image_bytes) const {
    const Geometry& geometry = core_.geometry;
    if (at.offset < kBlockSize || at.offset % kBlockSize != 0 || !can_hold_chunk(geometry, at.offset) ||
        at.segment >= geometry.max_segments()) {
        return no_blob(at, "position is out of range");
    }
    const uint64_t offset = geometry.offset(SegmentId(at.segment)) + at.offset;
    const uint64_t in_segment = geometry.segment_size - at.offset;
    if (offset + kBlockSize > image_bytes) {
        return no_blob(at, "lies past the end of the image");
    }
    // Most chunks fit in the first read.
    constexpr uint64_t kFirstRead = 128 << 10;
    const uint64_t in_image = align_down(image_bytes - offset, kSectorSize);
    const uint64_t have = std::min({in_segment, kFirstRead, in_image});
    AlignedBuffer buffer(have);
    TRY(core_.file.pread(offset, buffer.data(), have));
    const auto* chunk = reinterpret_cast<const ChunkHeader*>(buffer.data());
    if (std::memcmp(chunk->magic, format::kChunkMagic, sizeof(chunk->magic)) != 0 ||
        chunk->bytes > room(geometry, at.offset) || chunk->bytes == 0) {
        return no_blob(at, "no chunk header");
    }
    const uint64_t need = align_up(sizeof(ChunkHeader) + chunk->bytes, kSectorSize);
    if (need > in_image) {
        return no_blob(at, "chunk is cut short by the end of the image");
    }
    if (need > have) {
        AlignedBuffer whole(need);
        std::memcpy(whole.data(), buffer.data(), have);
        TRY(core_.file.pread(offset + have, whole.data() + have, need - have));
        buffer.swap(whole);
        chunk = reinterpret_cast<const ChunkHeader*>(buffer.data());
    }
    return buffer;
}

// Checks a chunk that was read, and adds it to the blob.
Result<void> IndexStream::take_chunk(const StreamPosition& at, const AlignedBuffer& buffer, Read& read) const {
    const auto& chunk = *reinterpret_cast<const ChunkHeader*>(buffer.data());
    if (chunk.checksum != self_hash(core_.seed, chunk, chunk.bytes)) {
        return no_blob(at, "checksum mismatch");
    }
    const bool is_first = read.blob.empty();
    if (is_first) {
        read.number = chunk.blob;
        read.previous_hash = chunk.previous_hash;
        read.bytes = chunk.blob_bytes;
        read.hash = chunk.blob_hash;
    }
    if (chunk.blob != read.number || chunk.blob_hash != read.hash ||
        (!is_first && chunk.previous_hash != read.next.hash) || chunk.blob_bytes != read.bytes ||
        chunk.blob_offset != read.blob.size() || chunk.bytes > read.bytes - read.blob.size()) {
        return no_blob(at, "chunk belongs to another blob");
    }
    const uint8_t* bytes = buffer.data() + sizeof(ChunkHeader);
    read.blob.insert(read.blob.end(), bytes, bytes + chunk.bytes);
    read.segments.push_back(SegmentId(at.segment));
    read.next = {chunk.next, chunk.blob + 1, chunk.checksum};
    if (read.blob.size() == read.bytes && hash64(read.blob.data(), read.blob.size()) != read.hash) {
        return no_blob(at, "blob checksum mismatch");
    }
    return {};
}

Result<IndexStream::Read> IndexStream::read(StreamPosition at) const {
    TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
    Read read{};
    do {
        TRY_ASSIGN(const AlignedBuffer buffer, read_chunk(at, image_bytes));
        const auto* chunk = reinterpret_cast<const ChunkHeader*>(buffer.data());
        read.blob.reserve(read.blob.size() + chunk->bytes);  // not by a thread of the executor, which keeps some
        Result<void> taken;
        compute(core_, buffer.size(), [&] { taken = take_chunk(at, buffer, read); });
        TRY(taken);
        at = read.next.at;
    } while (read.blob.size() < read.bytes);
    return read;
}

}  // namespace predsnap
