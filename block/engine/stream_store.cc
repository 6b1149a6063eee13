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
// Frames that are read in one go, and unpacked by one piece of the executor's work: 1 MiB.
constexpr size_t kFramesInARow = 64;

constexpr const char* kFrameDamaged = "a frame of it is damaged";
constexpr const char* kNotUnpacked = "a frame of it cannot be unpacked";
constexpr const char* kReferenceGone = "the pack that a frame of it is stored after is not there";

// Within this file: what was read is not what was written. Everything else is what a device returned.
constexpr int kDamaged = EBADMSG;

Error torn(const StreamInfo& stream, const char* what) { return Error{kDamaged, damaged(stream, what).message}; }

uint64_t sectors_of_frame(const StreamInfo& stream, uint64_t number) {
    return std::min(stream.sectors - number * kFrameSectors, kFrameSectors);
}

// From `first` to `last` at most: as far as each begins where the one before ends.
std::span<const FrameRow> frames_in_a_row(const StreamIndex& index, uint64_t first, uint64_t last) {
    const FrameRow* const rows = &index.frames[first];
    const size_t most = std::min<uint64_t>(last - first + 1, kFramesInARow);
    size_t count = 1;
    while (count < most && rows[count - 1].offset + rows[count - 1].stored == rows[count].offset) {
        ++count;
    }
    return {rows, count};
}

// False if a frame, whose checksum is right, does not hold just so much.
bool unpack(const FrameRow& row, std::span<const uint8_t> stored, const Dictionary* dictionary,
            std::span<const uint8_t> reference, std::span<uint8_t> to) {
    if (row.form >= format::kFormAfter) {
        return unpack_frame_after(reference, stored, to);
    }
    if (row.form == format::kFormZstd) {
        return unpack_frame(stored, dictionary, to);
    }
    if (stored.size() != to.size()) {
        return false;
    }
    std::memcpy(to.data(), stored.data(), to.size());
    return true;
}

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

Result<uint64_t> StreamStore::length_of_tier(const StreamInfo& stream) {
    if (!stream.on_capacity()) {
        return core_.file.length();
    }
    return capacity_.present() ? capacity_.device().length() : Result<uint64_t>(capacity_.absent());
}

Result<std::shared_ptr<const StreamIndex>> StreamStore::load_index(const StreamInfo& stream) {
    {
        Lock lock(core_.mutex);
        for (auto found = recent_.begin(); found != recent_.end(); ++found) {
            if (found->stream == stream.id && found->index_hash == stream.index_hash) {
                recent_.splice(recent_.begin(), recent_, found);
                return found->index;
            }
        }
    }
    TRY_ASSIGN(const uint64_t image_bytes, length_of_tier(stream));
    const uint64_t most = stream.segments.size() * (core_.geometry.segment_size - kBlockSize);
    if (stream.index_bytes > std::min({image_bytes, most, kMaxIndexBytes})) {
        return torn(stream, "its index is longer than it is");
    }
    std::vector<uint8_t> blob(stream.index_bytes);
    TRY(read_content(stream, stream.index_offset, blob.size(), blob.data()));
    if (xxh3(blob.data(), blob.size(), core_.seed) != stream.index_hash) {
        return torn(stream, "its index is damaged");
    }
    Result<StreamIndex> decoded = StreamIndex::decode(stream, core_.geometry, core_.seed, blob);
    if (!decoded.ok()) {
        return Error{kDamaged, decoded.error().message};
    }
    const auto index = std::make_shared<const StreamIndex>(decoded.take());
    Lock lock(core_.mutex);
    recent_.push_front({stream.id, stream.index_hash, index});
    uint64_t bytes = 0;
    for (auto entry = recent_.begin(); entry != recent_.end();) {
        bytes += entry->index->memory_bytes();
        entry = entry != recent_.begin() && bytes > kMaxBytes ? recent_.erase(entry) : std::next(entry);
    }
    return index;
}

Result<StreamSummary> StreamStore::read_summary(const StreamInfo& stream) {
    std::vector<uint8_t> bytes(std::min<uint64_t>(stream.index_bytes, kBlockSize));
    TRY(read_content(stream, stream.index_offset, bytes.size(), bytes.data()));
    const Result<uint64_t> length = StreamSummary::size(stream, bytes);
    if (!length.ok() || length.value() > stream.index_bytes) {
        return torn(stream, "its index is too short");
    }
    if (length.value() > bytes.size()) {
        TRY_ASSIGN(const uint64_t image_bytes, length_of_tier(stream));
        if (length.value() > image_bytes) {
            return torn(stream, "its index is longer than the image");
        }
        bytes.resize(length.value());
        TRY(read_content(stream, stream.index_offset, bytes.size(), bytes.data()));
    }
    Result<StreamSummary> decoded = StreamSummary::decode(stream, core_.seed, bytes);
    return decoded.ok() ? std::move(decoded) : Result<StreamSummary>(Error{kDamaged, decoded.error().message});
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
    Result<StreamSummary> read = as_eio(read_summary(stream));
    if (!read.ok()) {
        return read.error();
    }
    StreamSummary decoded = read.take();
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
    return as_eio(read_dictionary(stream, summary));
}

Result<std::shared_ptr<const Dictionary>> StreamStore::read_dictionary(const StreamInfo& stream,
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
        return torn(stream, "its dictionary is damaged");
    }
    const auto made = Dictionary::load(std::move(bytes), summary.dictionary);
    if (!made.ok()) {
        return torn(stream, "its dictionary is none");
    }
    const std::shared_ptr<const Dictionary> loaded = made.value();
    Lock lock(core_.mutex);
    dictionaries_.emplace_front(summary.dictionary_hash, loaded);
    if (dictionaries_.size() > kMaxDictionaries) {
        dictionaries_.pop_back();
    }
    return loaded;
}

void StreamStore::forget(format::Tier tier, SegmentId segment) {
    std::erase_if(retired_, [&](const StreamInfo& stream) {
        if (stream.tier != tier ||
            std::find(stream.segments.begin(), stream.segments.end(), segment) == stream.segments.end()) {
            return false;
        }
        recent_.remove_if([&](const auto& entry) { return entry.stream == stream.id; });
        summaries_.remove_if([&](const auto& entry) { return entry.first == stream.id; });
        frames_.remove_if([&](const auto& frame) { return frame->stream == stream.id; });
        return true;
    });
}

bool StreamStore::retired_in(format::Tier tier, SegmentId segment) const {
    return std::any_of(retired_.begin(), retired_.end(), [&](const StreamInfo& stream) {
        return stream.tier == tier &&
               std::find(stream.segments.begin(), stream.segments.end(), segment) != stream.segments.end();
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
        return torn(stream, kFrameDamaged);
    }
    return stored;
}

Result<std::vector<uint8_t>> StreamStore::read_stored(const StreamInfo& stream, const StreamIndex& index,
                                                      uint64_t number) {
    return as_eio(stored_frame(stream, index, number));
}

std::shared_ptr<const StreamStore::Frame> StreamStore::kept_frame(const StreamInfo& stream, uint64_t number) {
    Lock lock(core_.mutex);
    for (auto found = frames_.begin(); found != frames_.end(); ++found) {
        if ((*found)->stream == stream.id && (*found)->number == number) {
            frames_.splice(frames_.begin(), frames_, found);
            return frames_.front();
        }
    }
    return nullptr;
}

void StreamStore::keep_frame(std::shared_ptr<const Frame> frame) {
    Lock lock(core_.mutex);
    frames_.push_front(std::move(frame));
    if (frames_.size() > kMaxFrames) {
        frames_.pop_back();
    }
}

Result<std::shared_ptr<const StreamStore::Frame>> StreamStore::frame(const StreamInfo& stream,
                                                                     const StreamIndex& index, uint64_t number) {
    const FrameRow& row = index.frames[number];
    TRY_ASSIGN(const std::vector<uint8_t> stored, stored_frame(stream, index, number));
    std::shared_ptr<const Dictionary> needed;
    std::vector<uint8_t> reference;
    if (row.form == format::kFormZstd) {
        TRY_ASSIGN(needed, read_dictionary(stream, index.summary));
    } else if (const format::ReferenceRow* const after = reference_of(index, row)) {
        TRY_ASSIGN(reference, read_reference(stream, Place(after->place), after->sectors));
    }
    auto frame = std::make_shared<Frame>(Frame{stream.id, number, {}});
    frame->bytes.resize(sectors_of_frame(stream, number) * kSectorSize);
    if (!unpack(row, stored, needed.get(), reference, frame->bytes)) {
        return torn(stream, kNotUnpacked);
    }
    keep_frame(frame);
    return std::shared_ptr<const Frame>(frame);
}

Result<void> StreamStore::read(Place place, uint64_t sectors, uint8_t* to) {
    while (sectors > 0) {
        StreamInfo stream;
        {
            Lock lock(core_.mutex);
            const StreamInfo* found = find(place);
            if (found == nullptr) {
                lock.unlock();
                return corruption(core_, 0, 0,
                                  text("there is no stream at virtual place %llu", static_cast<ull>(place.value)));
            }
            stream = *found;
        }
        const uint64_t part = std::min(sectors, stream.places_end() - place);
        const Result<void> done = read_sectors(stream, place - stream.base, part, to);
        if (!done.ok()) {
            return done.error().code == kDamaged ? corruption(core_, 0, 0, done.error().message) : done;
        }
        place = place + part;
        sectors -= part;
        to += part * kSectorSize;
    }
    return {};
}

Result<void> StreamStore::read_data(const StreamInfo& stream, uint64_t from, uint64_t sectors, uint8_t* to) {
    return as_eio(read_sectors(stream, from, sectors, to));
}

Result<void> StreamStore::read_sectors(const StreamInfo& stream, uint64_t from, uint64_t sectors, uint8_t* to) {
    TRY_ASSIGN(const auto index, load_index(stream));
    while (sectors > 0) {
        const uint64_t number = from / kFrameSectors;
        const uint64_t within = from % kFrameSectors;
        uint64_t part = std::min(sectors, kFrameSectors - within);
        std::shared_ptr<const Frame> unpacked = kept_frame(stream, number);
        if (unpacked == nullptr && part == sectors) {
            TRY_ASSIGN(unpacked, frame(stream, *index, number));
        }
        if (unpacked != nullptr) {
            std::memcpy(to, unpacked->bytes.data() + within * kSectorSize, part * kSectorSize);
        } else {
            TRY_ASSIGN(part, read_run(stream, *index, from, sectors, to));
        }
        to += part * kSectorSize;
        from += part;
        sectors -= part;
    }
    return {};
}

// Packs do not refer to others, so this does not go deeper. While the stream is there, the packs are.
Result<std::vector<uint8_t>> StreamStore::read_reference(const StreamInfo& stream, Place place, uint64_t sectors) {
    std::vector<uint8_t> data(sectors * kSectorSize);
    for (uint64_t done = 0; done < sectors;) {  // places of one pack may follow those of another
        Lock lock(core_.mutex);
        const StreamInfo* const found = find(place + done);
        if (found == nullptr || !found->is_pack()) {
            return torn(stream, kReferenceGone);
        }
        const StreamInfo pack = *found;
        const ReadPins::Pin pin = core_.readers.pin();  // who reads a stream on the capacity image has none
        lock.unlock();
        const uint64_t from = place + done - pack.base;
        const uint64_t part = std::min(sectors - done, pack.sectors - from);
        TRY(read_sectors(pack, from, part, data.data() + done * kSectorSize));
        done += part;
    }
    return data;
}

// For each of the rows; empty where none is needed. Frames that follow each other mostly have references that do, too: these are
// read in one go.
Result<std::vector<std::vector<uint8_t>>> StreamStore::read_references(const StreamInfo& stream, const StreamIndex& index,
                                                                       std::span<const FrameRow> rows) {
    std::vector<std::vector<uint8_t>> data(rows.size());
    for (size_t i = 0, next; i < rows.size(); i = next) {
        next = i + 1;
        const format::ReferenceRow* const first = reference_of(index, rows[i]);
        if (first == nullptr) {
            continue;
        }
        const Place begin(first->place);
        Place end = begin + first->sectors;
        for (; next < rows.size(); ++next) {
            const format::ReferenceRow* const more = reference_of(index, rows[next]);
            if (more == nullptr || Place(more->place) < begin || Place(more->place) > end ||
                Place(more->place) + more->sectors > begin + kFramesInARow * kFrameSectors) {
                break;
            }
            end = std::max(end, Place(more->place) + more->sectors);
        }
        TRY_ASSIGN(const std::vector<uint8_t> all, read_reference(stream, begin, end - begin));
        for (size_t j = i; j < next; ++j) {
            const format::ReferenceRow* const row = reference_of(index, rows[j]);
            const auto from = all.begin() + static_cast<ptrdiff_t>((Place(row->place) - begin) * kSectorSize);
            data[j].assign(from, from + static_cast<ptrdiff_t>(row->sectors * kSectorSize));
        }
    }
    return data;
}

// Reads frames that lie one behind the other in one go. Returns how many sectors of the data these were. What is wanted
// of whole frames is unpacked where it is to go; the others are kept, as what is read next begins there.
Result<uint64_t> StreamStore::read_run(const StreamInfo& stream, const StreamIndex& index, uint64_t from, uint64_t sectors,
                                       uint8_t* to) {
    const uint64_t first = from / kFrameSectors;
    const std::span<const FrameRow> rows = frames_in_a_row(index, first, (from + sectors - 1) / kFrameSectors);
    std::vector<uint8_t> stored(rows.back().offset + rows.back().stored - rows.front().offset);
    TRY(read_content(stream, rows.front().offset, stored.size(), stored.data()));
    std::shared_ptr<const Dictionary> needed;
    if (std::any_of(rows.begin(), rows.end(), [](const FrameRow& row) { return row.form == format::kFormZstd; })) {
        TRY_ASSIGN(needed, read_dictionary(stream, index.summary));
    }
    TRY_ASSIGN(const auto references, read_references(stream, index, rows));
    const uint64_t end = std::min(from + sectors, (first + rows.size()) * kFrameSectors);
    std::vector<std::shared_ptr<const Frame>> partly;
    const char* wrong = nullptr;
    const auto unpack_one = [&](uint64_t number) {
        const FrameRow& row = rows[number - first];
        const std::vector<uint8_t>& reference = references[number - first];
        const auto packed = std::span(stored).subspan(row.offset - rows.front().offset, row.stored);
        if (xxh3(packed.data(), packed.size(), core_.seed) != row.hash) {
            return kFrameDamaged;
        }
        const uint64_t start = number * kFrameSectors;
        const size_t length = sectors_of_frame(stream, number) * kSectorSize;
        if (start >= from && start + length / kSectorSize <= end) {
            return unpack(row, packed, needed.get(), reference, {to + (start - from) * kSectorSize, length}) ? nullptr : kNotUnpacked;
        }
        auto frame = std::make_shared<Frame>(Frame{stream.id, number, std::vector<uint8_t>(length)});
        if (!unpack(row, packed, needed.get(), reference, frame->bytes)) {
            return kNotUnpacked;
        }
        const uint64_t begin = std::max(from, start);
        std::memcpy(to + (begin - from) * kSectorSize, &frame->bytes[(begin - start) * kSectorSize],
                    (std::min(end, start + length / kSectorSize) - begin) * kSectorSize);
        partly.push_back(std::move(frame));
        return static_cast<const char*>(nullptr);
    };
    compute(core_, stored.size(), [&] {
        for (uint64_t number = first; number < first + rows.size() && wrong == nullptr; ++number) {
            wrong = unpack_one(number);
        }
    });
    if (wrong != nullptr) {
        return torn(stream, wrong);
    }
    for (auto& frame : partly) {
        keep_frame(std::move(frame));
    }
    return end - from;
}

}  // namespace predsnap
