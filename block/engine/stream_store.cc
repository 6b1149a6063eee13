// SPDX-License-Identifier: GPL-2.0-or-later
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "stream.h"
#include "text.h"
#include "wait.h"

namespace predsnap {

using format::FrameRow;
using format::kFrameSectors;
using format::PackedExtent;
using format::StreamIndexHeader;

namespace {

constexpr uint64_t kMaxIndexBytes = uint64_t{4} << 30;

Error damaged(const StreamInfo& stream, const char* what) {
    return Error{EIO, text("stream %llu (states %llu to %llu): %s", static_cast<ull>(stream.id),
                           static_cast<ull>(stream.lower.value), static_cast<ull>(stream.upper.value), what)};
}

template <typename T>
void put(std::vector<uint8_t>& out, const std::vector<T>& items) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(items.data());
    out.insert(out.end(), bytes, bytes + items.size() * sizeof(T));
}

}  // namespace

std::vector<uint8_t> StreamIndex::encode() const {
    const StreamIndexHeader header{extents.size(), frames.size()};
    std::vector<uint8_t> out(sizeof(header));
    std::memcpy(out.data(), &header, sizeof(header));
    put(out, extents);
    put(out, frames);
    return out;
}

Result<StreamIndex> StreamIndex::decode(const StreamInfo& stream, const Geometry& geometry,
                                        std::span<const uint8_t> bytes) {
    StreamIndexHeader header{};
    if (bytes.size() < sizeof(header)) {
        return damaged(stream, "its index is too short");
    }
    std::memcpy(&header, bytes.data(), sizeof(header));
    bytes = bytes.subspan(sizeof(header));
    if (header.extents > bytes.size() || header.frames > bytes.size() ||
        header.extents * sizeof(PackedExtent) + header.frames * sizeof(FrameRow) != bytes.size() ||
        header.frames != (stream.sectors + kFrameSectors - 1) / kFrameSectors) {
        return damaged(stream, "the sizes in its index do not add up");
    }
    StreamIndex index;
    index.extents.resize(header.extents);
    index.frames.resize(header.frames);
    const size_t extent_bytes = header.extents * sizeof(PackedExtent);
    if (header.extents > 0) {
        std::memcpy(index.extents.data(), bytes.data(), extent_bytes);
    }
    if (header.frames > 0) {
        std::memcpy(index.frames.data(), bytes.data() + extent_bytes, header.frames * sizeof(FrameRow));
    }
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
    const uint64_t capacity = geometry.segment_size - kBlockSize;
    for (const FrameRow& row : index.frames) {
        if (row.stored == 0 || row.stored > ZSTD_compressBound(kFrameSectors * kSectorSize) ||
            row.offset >= stream.segments.size() * capacity ||
            row.offset % capacity + row.stored > capacity) {
            return damaged(stream, "a frame in its index is out of range");
        }
    }
    return index;
}

namespace {

// Within this file: what was read is not what was written. Everything else is what a device returned.
constexpr int kDamaged = EBADMSG;

Error torn(const StreamInfo& stream, const char* what) { return Error{kDamaged, damaged(stream, what).message}; }

template <typename T>
Result<T> as_eio(Result<T> result) {
    return result.ok() || result.error().code != kDamaged ? std::move(result) : Error{EIO, result.error().message};
}

}  // namespace

Result<void> StreamStore::read_segment(const StreamInfo& stream, SegmentId id, uint64_t offset, AlignedBuffer& to) {
    if (!stream.on_capacity()) {
        return core_.file.pread(core_.geometry.offset(id) + offset, to.data(), to.size());
    }
    return capacity_.present() ? capacity_.read(id, offset, to.data(), to.size())
                               : Result<void>(capacity_.absent());
}

// Content of the stream's segments, one after the other.
Result<void> StreamStore::read_content(const StreamInfo& stream, uint64_t offset, uint64_t length, uint8_t* to) {
    const uint64_t capacity = core_.geometry.segment_size - kBlockSize;
    while (length > 0) {
        const uint64_t number = offset / capacity;
        const uint64_t within = offset % capacity;
        if (number >= stream.segments.size()) {
            return torn(stream, "it ends too early");
        }
        const uint64_t part = std::min(length, capacity - within);
        // Whole blocks: the device takes nothing else.
        const uint64_t begin = align_down(within, kBlockSize);
        AlignedBuffer blocks(align_up(within + part, kBlockSize) - begin);
        TRY(read_segment(stream, stream.segments[number], kBlockSize + begin, blocks));
        std::memcpy(to, blocks.data() + (within - begin), part);
        to += part;
        offset += part;
        length -= part;
    }
    return {};
}

Result<std::shared_ptr<const StreamIndex>> StreamStore::load(const StreamInfo& stream) {
    return as_eio(load_index(stream));
}

Result<std::shared_ptr<const StreamIndex>> StreamStore::load_index(const StreamInfo& stream) {
    {
        Lock lock(core_.mutex);
        for (auto found = recent_.begin(); found != recent_.end(); ++found) {
            if (found->stream == stream.id && found->tier == stream.tier) {
                recent_.splice(recent_.begin(), recent_, found);
                return found->index;
            }
        }
    }
    if (stream.on_capacity() && !capacity_.present()) {
        return capacity_.absent();
    }
    TRY_ASSIGN(const uint64_t image_bytes, stream.on_capacity() ? capacity_.device().length() : core_.file.length());
    const uint64_t most = stream.segments.size() * (core_.geometry.segment_size - kBlockSize);
    if (stream.index_bytes > std::min({image_bytes, most, kMaxIndexBytes})) {
        return torn(stream, "its index is longer than it is");
    }
    std::vector<uint8_t> blob(stream.index_bytes);
    TRY(read_content(stream, stream.index_offset, blob.size(), blob.data()));
    if (xxh3(blob.data(), blob.size(), core_.seed) != stream.index_hash) {
        return torn(stream, "its index is damaged");
    }
    Result<StreamIndex> decoded = StreamIndex::decode(stream, core_.geometry, blob);
    if (!decoded.ok()) {
        return Error{kDamaged, decoded.error().message};
    }
    const auto index = std::make_shared<const StreamIndex>(decoded.take());
    Lock lock(core_.mutex);
    recent_.push_front({stream.id, stream.tier, index});
    uint64_t bytes = 0;
    for (auto entry = recent_.begin(); entry != recent_.end();) {
        bytes += entry->index->memory_bytes();
        entry = entry != recent_.begin() && bytes > kMaxBytes ? recent_.erase(entry) : std::next(entry);
    }
    return index;
}

void StreamStore::forget(format::Tier tier, SegmentId segment) {
    std::erase_if(retired_, [&](const StreamInfo& stream) {
        if (stream.tier != tier ||
            std::find(stream.segments.begin(), stream.segments.end(), segment) == stream.segments.end()) {
            return false;
        }
        recent_.remove_if([&](const auto& entry) { return entry.stream == stream.id; });
        frames_.remove_if([&](const auto& frame) { return frame->stream == stream.id; });
        return true;
    });
}

const StreamInfo* StreamStore::find(Place place) const {
    const StreamInfo* found = history_.stream_at(place);
    for (const StreamInfo& stream : retired_) {
        if (stream.holds(place)) {
            found = &stream;
        }
    }
    return found;
}

Result<std::vector<uint8_t>> StreamStore::stored_frame(const StreamInfo& stream, const StreamIndex& index,
                                                       uint64_t number) {
    const FrameRow& row = index.frames[number];
    std::vector<uint8_t> stored(row.stored);
    TRY(read_content(stream, row.offset, stored.size(), stored.data()));
    if (xxh3(stored.data(), stored.size(), core_.seed) != row.hash) {
        return torn(stream, "a frame of it is damaged");
    }
    return stored;
}

Result<std::vector<uint8_t>> StreamStore::read_stored(const StreamInfo& stream, const StreamIndex& index,
                                                      uint64_t number) {
    return as_eio(stored_frame(stream, index, number));
}

Result<std::shared_ptr<const StreamStore::Frame>> StreamStore::frame(const StreamInfo& stream,
                                                                     const StreamIndex& index, uint64_t number) {
    {
        Lock lock(core_.mutex);
        for (auto found = frames_.begin(); found != frames_.end(); ++found) {
            if ((*found)->stream == stream.id && (*found)->number == number) {
                frames_.splice(frames_.begin(), frames_, found);
                return frames_.front();
            }
        }
    }
    const FrameRow& row = index.frames[number];
    TRY_ASSIGN(std::vector<uint8_t> stored, stored_frame(stream, index, number));
    auto frame = std::make_shared<Frame>();
    frame->stream = stream.id;
    frame->number = number;
    const uint64_t sectors = std::min(stream.sectors - number * kFrameSectors, kFrameSectors);
    if (row.raw != 0) {
        frame->bytes = std::move(stored);
    } else {
        frame->bytes.resize(sectors * kSectorSize);
        const size_t unpacked =
            ZSTD_decompress(frame->bytes.data(), frame->bytes.size(), stored.data(), stored.size());
        frame->bytes.resize(ZSTD_isError(unpacked) != 0 ? 0 : unpacked);
    }
    if (frame->bytes.size() != sectors * kSectorSize) {
        return torn(stream, "a frame of it cannot be unpacked");
    }
    Lock lock(core_.mutex);
    frames_.push_front(frame);
    if (frames_.size() > kMaxFrames) {
        frames_.pop_back();
    }
    return std::shared_ptr<const Frame>(frame);
}

Result<void> StreamStore::read(Place place, uint64_t sectors, uint8_t* to) {
    StreamInfo stream;
    {
        Lock lock(core_.mutex);
        const StreamInfo* found = find(place);
        if (found == nullptr || place + sectors > found->base + found->sectors) {
            lock.unlock();
            return corruption(core_, 0, 0,
                              text("there is no stream at virtual place %llu", static_cast<ull>(place.value)));
        }
        stream = *found;
    }
    const Result<void> done = read_sectors(stream, place - stream.base, sectors, to);
    return !done.ok() && done.error().code == kDamaged ? corruption(core_, 0, 0, done.error().message) : done;
}

Result<void> StreamStore::read_data(const StreamInfo& stream, uint64_t from, uint64_t sectors, uint8_t* to) {
    return as_eio(read_sectors(stream, from, sectors, to));
}

Result<void> StreamStore::read_sectors(const StreamInfo& stream, uint64_t from, uint64_t sectors, uint8_t* to) {
    TRY_ASSIGN(const auto index, load_index(stream));
    while (sectors > 0) {
        const uint64_t within = from % kFrameSectors;
        const uint64_t part = std::min(sectors, kFrameSectors - within);
        TRY_ASSIGN(const auto unpacked, frame(stream, *index, from / kFrameSectors));
        std::memcpy(to, unpacked->bytes.data() + within * kSectorSize, part * kSectorSize);
        to += part * kSectorSize;
        from += part;
        sectors -= part;
    }
    return {};
}

}  // namespace predsnap
