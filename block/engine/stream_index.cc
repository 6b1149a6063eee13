// SPDX-License-Identifier: GPL-2.0-or-later
//
// The index of a stream: what is in it, as bytes. Its beginning, the summary, has a checksum of its own: the list of points
// needs no more of it.
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "stream.h"
#include "text.h"

namespace predsnap {

using format::FrameRow;
using format::kFrameSectors;
using format::PackedExtent;
using format::ReferenceRow;
using format::StreamIndexHeader;

namespace {

// More than any bitmap takes whose runs are not too many: a container of bits has one at least.
constexpr uint64_t kMaxVectorBytes = uint64_t{512} << 20;

template <typename T>
void put(std::vector<uint8_t>& out, const std::vector<T>& items) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(items.data());
    out.insert(out.end(), bytes, bytes + items.size() * sizeof(T));
}

template <typename T>
void take(std::span<const uint8_t>& bytes, std::vector<T>* items, uint64_t count) {
    items->resize(count);
    if (count > 0) {
        std::memcpy(items->data(), bytes.data(), count * sizeof(T));
    }
    bytes = bytes.subspan(count * sizeof(T));
}

uint64_t vector_bytes(const StreamIndexHeader& header) {
    return uint64_t{header.added_bytes} + header.modified_bytes + header.discarded_bytes;
}

Result<StreamIndexHeader> read_header(const StreamInfo& stream, std::span<const uint8_t> bytes) {
    StreamIndexHeader header{};
    if (bytes.size() < sizeof(header)) {
        return damaged(stream, "its index is too short");
    }
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (std::memcmp(header.magic, format::kStreamIndexMagic, sizeof(header.magic)) != 0 ||
        header.algorithm != format::kAlgorithmZstd || (header.flags & ~format::kVectorsLeftOut) != 0 ||
        header.stream != stream.id || header.lower != stream.lower.value || header.upper != stream.upper.value) {
        return damaged(stream, "its index is not that of this stream");
    }
    if (vector_bytes(header) > kMaxVectorBytes) {
        return damaged(stream, "what its index says of its length is too much");
    }
    return header;
}

// The bitmaps, each its length; nothing if one is none.
std::optional<ChangeVector> decode_vectors(const StreamIndexHeader& header, std::span<const uint8_t> bytes) {
    auto added = ChunkSet::decode(bytes.subspan(0, header.added_bytes));
    auto modified = ChunkSet::decode(bytes.subspan(header.added_bytes, header.modified_bytes));
    auto discarded = ChunkSet::decode(bytes.subspan(uint64_t{header.added_bytes} + header.modified_bytes,
                                                    header.discarded_bytes));
    if (!added || !modified || !discarded || !(*added & *modified).empty() ||
        !((*added | *modified) & *discarded).empty()) {
        return std::nullopt;
    }
    return ChangeVector{std::move(*added), std::move(*modified), std::move(*discarded)};
}

// Where no more is known: what the extents tell of the older state.
ChangeVector vectors_of(const ExtentChunks& chunks) { return ChangeVector::of(chunks.changed, chunks.data, chunks.changed); }

bool agrees(const StreamSummary& summary, const ExtentChunks& chunks) {
    const ChangeVector& changes = summary.changes;
    return summary.sectors == chunks.sectors && summary.first == chunks.first && summary.end == chunks.end &&
           (summary.vectors_left_out ||
            (changes.changed() == chunks.changed && (changes.added & chunks.data).empty() &&
             (changes.modified - chunks.data).empty()));
}

}  // namespace

Error damaged(const StreamInfo& stream, const char* what) {
    return Error{EIO, text("stream %llu (states %llu to %llu): %s", static_cast<ull>(stream.id),
                           static_cast<ull>(stream.lower.value), static_cast<ull>(stream.upper.value), what)};
}

std::vector<uint8_t> StreamSummary::encode(const StreamInfo& stream, uint64_t seed) const {
    StreamIndexHeader header{};
    std::memcpy(header.magic, format::kStreamIndexMagic, sizeof(header.magic));
    header.algorithm = format::kAlgorithmZstd;
    header.flags = vectors_left_out ? format::kVectorsLeftOut : 0;
    header.stream = stream.id;
    header.lower = stream.lower.value;
    header.upper = stream.upper.value;
    header.lower_time = stream.lower_time.value;
    header.upper_time = upper_time.value;
    header.first_sector = first.value;
    header.end_sector = end.value;
    header.changed_sectors = sectors;
    header.extents = extents;
    header.frames = frames;
    header.dictionary = dictionary;
    header.dictionary_offset = dictionary_offset;
    header.dictionary_bytes = dictionary_bytes;
    header.dictionary_hash = dictionary_hash;
    header.references = static_cast<uint32_t>(references);
    std::vector<uint8_t> out(sizeof(header));
    if (!vectors_left_out) {
        const auto put_set = [&](const ChunkSet& set, uint32_t* length) {
            const std::vector<uint8_t> packed = set.encode();
            *length = static_cast<uint32_t>(packed.size());
            put(out, packed);
        };
        put_set(changes.added, &header.added_bytes);
        put_set(changes.modified, &header.modified_bytes);
        put_set(changes.discarded, &header.discarded_bytes);
    }
    const uint64_t head = xxh3(&header, sizeof(header), seed);  // its checksum is 0 yet
    header.checksum = out.size() == sizeof(header)
                          ? head
                          : xxh3(out.data() + sizeof(header), out.size() - sizeof(header), head);
    std::memcpy(out.data(), &header, sizeof(header));
    return out;
}

Result<uint64_t> StreamSummary::size(const StreamInfo& stream, std::span<const uint8_t> bytes) {
    TRY_ASSIGN(const StreamIndexHeader header, read_header(stream, bytes));
    return sizeof(header) + vector_bytes(header);
}

Result<StreamSummary> StreamSummary::decode(const StreamInfo& stream, uint64_t seed, std::span<const uint8_t> bytes) {
    TRY_ASSIGN(StreamIndexHeader header, read_header(stream, bytes));
    const uint64_t length = sizeof(header) + vector_bytes(header);
    if (bytes.size() < length) {
        return damaged(stream, "its index is too short");
    }
    const uint64_t expected = std::exchange(header.checksum, 0);
    const uint64_t head = xxh3(&header, sizeof(header), seed);
    const uint64_t sum =
        length == sizeof(header) ? head : xxh3(bytes.data() + sizeof(header), length - sizeof(header), head);
    if (sum != expected) {
        return damaged(stream, "the header of its index is damaged");
    }
    StreamSummary summary;
    summary.vectors_left_out = (header.flags & format::kVectorsLeftOut) != 0;
    if (!summary.vectors_left_out) {
        auto changes = decode_vectors(header, bytes.subspan(sizeof(header), vector_bytes(header)));
        if (!changes) {
            return damaged(stream, "its change vectors make no sense");
        }
        summary.changes = std::move(*changes);
    } else if (vector_bytes(header) > 0) {
        return damaged(stream, "its change vectors make no sense");
    }
    summary.lower_time = Time(header.lower_time);
    summary.upper_time = Time(header.upper_time);
    summary.first = Sector(header.first_sector);
    summary.end = Sector(header.end_sector);
    summary.sectors = header.changed_sectors;
    summary.extents = header.extents;
    summary.frames = header.frames;
    summary.dictionary = header.dictionary;
    summary.dictionary_offset = header.dictionary_offset;
    summary.dictionary_bytes = header.dictionary_bytes;
    summary.dictionary_hash = header.dictionary_hash;
    summary.references = header.references;
    summary.bytes = length;
    const bool none = header.dictionary == 0 && header.dictionary_bytes == 0;
    if (!none && (header.dictionary == 0 || header.dictionary_bytes == 0 ||
                  header.dictionary_bytes > format::kMaxDictionaryBytes)) {
        return damaged(stream, "what its index says of a dictionary makes no sense");
    }
    return summary;
}

std::vector<uint8_t> StreamIndex::encode(const StreamInfo& stream, uint64_t seed) {
    const ExtentChunks chunks = chunks_of(extents);
    const ChangeVector& changes = summary.changes;
    summary.vectors_left_out = std::max({changes.added.runs().size(), changes.modified.runs().size(),
                                         changes.discarded.runs().size()}) > ChunkSet::kMaxRuns;
    summary.first = chunks.first;
    summary.end = chunks.end;
    summary.sectors = chunks.sectors;
    summary.extents = extents.size();
    summary.frames = frames.size();
    summary.references = references.size();
    std::vector<uint8_t> out = summary.encode(stream, seed);
    put(out, extents);
    put(out, frames);
    put(out, references);
    return out;
}

Result<StreamIndex> StreamIndex::decode(const StreamInfo& stream, const Geometry& geometry, uint64_t seed,
                                        std::span<const uint8_t> bytes) {
    StreamIndex index;
    TRY_ASSIGN(index.summary, StreamSummary::decode(stream, seed, bytes));
    bytes = bytes.subspan(index.summary.bytes);
    const uint64_t extents = index.summary.extents, frames = index.summary.frames, references = index.summary.references;
    if (extents > bytes.size() || frames > bytes.size() || (stream.is_pack() && references > 0) ||
        extents * sizeof(PackedExtent) + frames * sizeof(FrameRow) + references * sizeof(ReferenceRow) != bytes.size() ||
        frames != (stream.sectors + kFrameSectors - 1) / kFrameSectors) {
        return damaged(stream, "the sizes in its index do not add up");
    }
    take(bytes, &index.extents, extents);
    take(bytes, &index.frames, frames);
    take(bytes, &index.references, references);
    Sector end{0};
    Place next = stream.base;
    for (const PackedExtent& packed : index.extents) {
        const Extent extent = format::unpack(packed);
        const bool inside = !extent.is_data() || extent.place == next;
        next += extent.is_data() ? extent.count : 0;
        if (packed.kind > static_cast<uint8_t>(ExtentKind::run) || extent.kind == ExtentKind::unit ||
            !plausible(geometry, extent) || extent.start < end || !inside) {
            return damaged(stream, "an extent in its index is out of range");
        }
        end = extent.end();
    }
    if (next != stream.base + stream.sectors) {
        return damaged(stream, "its extents are not those of its data");
    }
    const ExtentChunks chunks = chunks_of(index.extents);
    if (!agrees(index.summary, chunks)) {
        return damaged(stream, "its change vectors are not those of its extents");
    }
    if (index.summary.vectors_left_out) {
        index.summary.changes = vectors_of(chunks);
    }
    const uint64_t capacity = geometry.segment_size - kBlockSize;
    for (const FrameRow& row : index.frames) {
        if (row.stored == 0 || row.stored > ZSTD_compressBound(kFrameSectors * kSectorSize) ||
            row.offset >= stream.segments.size() * capacity ||
            row.offset % capacity + row.stored > capacity || row.form >= format::kFormAfter + references) {
            return damaged(stream, "a frame in its index is out of range");
        }
    }
    for (const ReferenceRow& row : index.references) {
        if (Place(row.place) < kStreamPlaces || Place(row.place) >= kPlaceLimit || row.sectors == 0 ||
            row.sectors > format::kMaxReferenceSectors || row.reserved != 0) {
            return damaged(stream, "a reference in its index is out of range");
        }
    }
    return index;
}

}  // namespace predsnap
