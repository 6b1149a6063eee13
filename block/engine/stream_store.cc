// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "stream.h"
#include "text.h"
#include "wait.h"

namespace predsnap {

using format::FrameRow;
using format::kFrameSectors;

namespace {

constexpr uint64_t kMaxIndexBytes = uint64_t{4} << 30;

Error damaged(const StreamInfo& stream, const char* what) {
    return Error{EIO, text("stream %llu (states %llu to %llu): %s", static_cast<ull>(stream.id),
                           static_cast<ull>(stream.lower.value), static_cast<ull>(stream.upper.value), what)};
}

}  // namespace

// Content of the stream's segments, one after the other.
Result<void> StreamStore::read_content(const StreamInfo& stream, uint64_t offset, uint64_t length, uint8_t* to) {
    const uint64_t capacity = core_.geometry.segment_size - kBlockSize;
    while (length > 0) {
        const uint64_t number = offset / capacity;
        const uint64_t within = offset % capacity;
        if (number >= stream.segments.size()) {
            return damaged(stream, "it ends too early");
        }
        const uint64_t part = std::min(length, capacity - within);
        // Whole blocks: the device takes nothing else.
        const uint64_t begin = align_down(within, kBlockSize);
        AlignedBuffer blocks(align_up(within + part, kBlockSize) - begin);
        TRY(core_.file.pread(core_.geometry.offset(stream.segments[number]) + kBlockSize + begin, blocks.data(),
                             blocks.size()));
        std::memcpy(to, blocks.data() + (within - begin), part);
        to += part;
        offset += part;
        length -= part;
    }
    return {};
}

Result<std::shared_ptr<const StreamIndex>> StreamStore::load(const StreamInfo& stream) {
    {
        Lock lock(core_.mutex);
        for (auto found = recent_.begin(); found != recent_.end(); ++found) {
            if (found->first == stream.id) {
                recent_.splice(recent_.begin(), recent_, found);
                return found->second;
            }
        }
    }
    TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
    const uint64_t most = stream.segments.size() * (core_.geometry.segment_size - kBlockSize);
    if (stream.index_bytes > std::min({image_bytes, most, kMaxIndexBytes})) {
        return damaged(stream, "its index is longer than it is");
    }
    std::vector<uint8_t> blob(stream.index_bytes);
    TRY(read_content(stream, stream.index_offset, blob.size(), blob.data()));
    if (xxh3(blob.data(), blob.size(), core_.seed) != stream.index_hash) {
        return damaged(stream, "its index is damaged");
    }
    TRY_ASSIGN(StreamIndex decoded, StreamIndex::decode(stream, core_.geometry, core_.seed, blob));
    const auto index = std::make_shared<const StreamIndex>(std::move(decoded));
    Lock lock(core_.mutex);
    recent_.emplace_front(stream.id, index);
    uint64_t bytes = 0;
    for (auto entry = recent_.begin(); entry != recent_.end();) {
        bytes += entry->second->memory_bytes();
        entry = entry != recent_.begin() && bytes > kMaxBytes ? recent_.erase(entry) : std::next(entry);
    }
    return index;
}

Result<std::shared_ptr<const StreamSummary>> StreamStore::summary(const StreamInfo& stream) {
    {
        Lock lock(core_.mutex);
        for (auto found = summaries_.begin(); found != summaries_.end(); ++found) {
            if (found->first == stream.id) {
                summaries_.splice(summaries_.begin(), summaries_, found);
                return found->second;
            }
        }
    }
    std::vector<uint8_t> bytes(std::min<uint64_t>(stream.index_bytes, kBlockSize));
    TRY(read_content(stream, stream.index_offset, bytes.size(), bytes.data()));
    TRY_ASSIGN(const uint64_t length, StreamSummary::size(stream, bytes));
    if (length > stream.index_bytes) {
        return damaged(stream, "its index is too short");
    }
    if (length > bytes.size()) {
        TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
        if (length > image_bytes) {
            return damaged(stream, "its index is longer than the image");
        }
        bytes.resize(length);
        TRY(read_content(stream, stream.index_offset, bytes.size(), bytes.data()));
    }
    TRY_ASSIGN(StreamSummary decoded, StreamSummary::decode(stream, core_.seed, bytes));
    if (decoded.vectors_left_out) {
        TRY_ASSIGN(const auto index, load(stream));
        decoded = index->summary;
    }
    const auto summary = std::make_shared<const StreamSummary>(std::move(decoded));
    Lock lock(core_.mutex);
    summaries_.emplace_front(stream.id, summary);
    uint64_t kept = 0;
    for (auto entry = summaries_.begin(); entry != summaries_.end();) {
        kept += sizeof(*summary) + entry->second->changes.memory_bytes();
        entry = entry != summaries_.begin() && kept > kMaxSummaryBytes ? summaries_.erase(entry) : std::next(entry);
    }
    return summary;
}

Result<std::shared_ptr<const Dictionary>> StreamStore::dictionary(const StreamInfo& stream,
                                                                  const StreamSummary& summary) {
    if (summary.dictionary == 0) {
        return std::shared_ptr<const Dictionary>();
    }
    {
        Lock lock(core_.mutex);
        for (auto found = dictionaries_.begin(); found != dictionaries_.end(); ++found) {
            if (found->first == summary.dictionary_hash && found->second->id() == summary.dictionary) {
                dictionaries_.splice(dictionaries_.begin(), dictionaries_, found);
                return found->second;
            }
        }
    }
    std::vector<uint8_t> bytes(summary.dictionary_bytes);
    TRY(read_content(stream, summary.dictionary_offset, bytes.size(), bytes.data()));
    if (xxh3(bytes.data(), bytes.size(), core_.seed) != summary.dictionary_hash) {
        return damaged(stream, "its dictionary is damaged");
    }
    TRY_ASSIGN(const auto loaded, Dictionary::load(std::move(bytes), summary.dictionary));
    Lock lock(core_.mutex);
    dictionaries_.emplace_front(summary.dictionary_hash, loaded);
    if (dictionaries_.size() > kMaxDictionaries) {
        dictionaries_.pop_back();
    }
    return loaded;
}

void StreamStore::forget(SegmentId segment) {
    std::erase_if(retired_, [&](const StreamInfo& stream) {
        if (std::find(stream.segments.begin(), stream.segments.end(), segment) == stream.segments.end()) {
            return false;
        }
        recent_.remove_if([&](const auto& entry) { return entry.first == stream.id; });
        summaries_.remove_if([&](const auto& entry) { return entry.first == stream.id; });
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
    std::vector<uint8_t> stored(row.stored);
    TRY(read_content(stream, row.offset, stored.size(), stored.data()));
    if (xxh3(stored.data(), stored.size(), core_.seed) != row.hash) {
        return damaged(stream, "a frame of it is damaged");
    }
    auto frame = std::make_shared<Frame>();
    frame->stream = stream.id;
    frame->number = number;
    const uint64_t sectors = std::min(stream.sectors - number * kFrameSectors, kFrameSectors);
    if (row.raw != 0) {
        frame->bytes = std::move(stored);
    } else {
        TRY_ASSIGN(const auto needed, dictionary(stream, index.summary));
        frame->bytes.resize(sectors * kSectorSize);
        if (!unpack_frame(stored, needed.get(), frame->bytes)) {
            frame->bytes.clear();
        }
    }
    if (frame->bytes.size() != sectors * kSectorSize) {
        return damaged(stream, "a frame of it cannot be unpacked");
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
    const Result<void> done = read_data(stream, place - stream.base, sectors, to);
    return done.ok() ? done : corruption(core_, 0, 0, done.error().message);
}

Result<void> StreamStore::read_data(const StreamInfo& stream, uint64_t from, uint64_t sectors, uint8_t* to) {
    TRY_ASSIGN(const auto index, load(stream));
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
