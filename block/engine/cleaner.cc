// SPDX-License-Identifier: GPL-2.0-or-later
#include "cleaner.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace predsnap {

namespace {

// Copied at once, at most: guest writes wait behind it.
constexpr uint64_t kMostAtOnce = 256 << 10;
constexpr uint64_t kLeastAtOnce = 64 << 10;
// A small part of a segment, else much would be left over at its end.
constexpr uint64_t kPartOfSegment = 32;
constexpr uint64_t kReadBytes = 1 << 20;
// Less room than that part of a group, at the end of a segment, is not filled: for its header alone it would not pay.
constexpr uint64_t kWorthFilling = 8;
// Where more than all but that part is to be copied, nothing is worth it.
constexpr uint64_t kLeastGained = 8;

uint64_t group_sectors(const Geometry& geometry, uint64_t max_request_sectors) {
    const uint64_t part = std::clamp(geometry.segment_size / kPartOfSegment, kLeastAtOnce, kMostAtOnce);
    return std::min(part / kSectorSize, max_request_sectors);
}

}  // namespace

uint64_t Cleaner::packed_sectors(const Geometry& geometry, uint64_t max_request_sectors) {
    const uint64_t blocks = geometry.segment_size / kBlockSize - 2;  // its header, records
    const uint64_t group = group_sectors(geometry, max_request_sectors) / kSectorsPerBlock;
    return blocks / (group + 1) * group * kSectorsPerBlock;
}

// What has lived long goes on living, so to wait gains little there, while a young segment is the emptier for each write
// that it waits.
double Cleaner::worth(uint64_t capacity, uint64_t needed, uint64_t ordinal) const {
    if (needed == 0 || needed >= capacity - capacity / kLeastGained) {
        return 0;
    }
    const uint64_t newest = log_.position().ordinal;
    const auto age = static_cast<double>(newest - std::min(newest, ordinal) + 1);
    return static_cast<double>(capacity - needed) / static_cast<double>(needed) * std::sqrt(age);
}

double Cleaner::worth(const Segment& segment, Sequence oldest, double most_in_history) const {
    if (segment.kind != format::SegmentKind::log || !segment.past || segment.leaving || segment.failures >= kMaxFailures) {
        return 0;
    }
    const uint64_t capacity = packed_sectors(core_.geometry, log_.max_request_sectors());
    const auto most = static_cast<uint64_t>(most_in_history * static_cast<double>(capacity));
    if (segment.last_death > oldest && segment.needed() > most) {
        return 0;
    }
    return worth(capacity, segment.needed(), segment.ordinal);
}

bool Cleaner::choose(Sequence oldest, double most_in_history) {
    double best = 0;
    for (uint32_t id = 0; id < segments_.size(); ++id) {
        const double worth = this->worth(std::as_const(segments_)[SegmentId(id)], oldest, most_in_history);
        if (worth > best) {
            best = worth;
            victim_ = SegmentId(id);
        }
    }
    if (busy()) {
        segments_[victim_].cleaned = true;
        needed_ = segments_[victim_].needed();
    }
    stream_ = Place(0);
    loaded_ = false;
    return busy();
}

Result<uint64_t> Cleaner::step() {
    uint64_t moved = 0;
    const Result<void> done = loaded_ ? copy(&moved) : load();
    const uint64_t segment = core_.geometry.segment_size / kSectorSize;
    const bool of_segment = stream_.value == 0 && needed_ > 0;
    const uint64_t gained = of_segment ? moved * (segment - std::min(segment, needed_)) / needed_ : 0;
    if (!done.ok() || (loaded_ && next_ == extents_.size())) {
        finish(!done.ok());
    }
    return done.ok() ? Result<uint64_t>(gained) : Result<uint64_t>(Error(done.error()));
}

void Cleaner::finish(bool failed) {
    Lock lock(core_.mutex);
    // What a rollback or a write that failed left there may have changed what is in use.
    if (stream_.value != 0) {
        if (SegmentTable::StreamUse* const use = segments_.stream_use(stream_)) {  // else it has been dropped
            use->failures += failed || use->live > 0;
        }
    } else {
        Segment& segment = segments_[victim_];
        segment.failures += failed || segment.needed() > 0;
        segment.cleaned = false;
        core_.stats.cleaned_segments += !failed;
    }
    victim_ = kNoSegment;
    stream_ = Place(0);
    extents_.clear();
}

void Cleaner::choose_stream(const StreamInfo& stream) {
    if (const auto* use = segments_.stream_use(stream.base); use != nullptr && use->failures < kMaxFailures) {
        stream_ = stream.base;
        loaded_ = false;
    }
}

// What of [start, start + count) is at that place.
void Cleaner::collect(Sector start, uint64_t count, Place place) {
    std::vector<Extent> found;
    Lock lock(core_.mutex);
    disk_.map.lookup(start, start + count, SIZE_MAX, &found);
    lock.unlock();
    for (const Extent& extent : found) {
        if (extent.is_data() && extent.place == place + (extent.start - start)) {
            extents_.push_back(extent);
        }
    }
}

// Finds what is in use, and reads it.
Result<void> Cleaner::load() {
    extents_.clear();
    next_ = 0;
    loaded_ = true;
    if (stream_.value != 0) {
        return load_stream();
    }
    TRY_ASSIGN(const SegmentIndex index, indexes_.load(victim_));
    for (const format::Entry& entry : index.entries) {
        if (entry.is_data() && !entry.has(format::kEntryVoid) && !entry.has(format::kEntryPacked)) {
            const Place place = entry.is_plain() ? core_.geometry.place(victim_) + entry.place : get_from(entry);
            collect(Sector(entry.start), entry.count, place);
        }
    }
    const bool has_data = std::any_of(extents_.begin(), extents_.end(),
                                      [](const Extent& extent) { return !extent.is_delta(); });
    load_dependents();
    std::sort(extents_.begin(), extents_.end(),
              [](const Extent& a, const Extent& b) { return a.start < b.start; });
    extents_.erase(std::unique(extents_.begin(), extents_.end()), extents_.end());
    if (!has_data) {
        return {};
    }
    if (content_.size() == 0) {
        content_ = AlignedBuffer(core_.geometry.segment_size);
    }
    for (uint64_t at = 0; at < index.end_offset; at += kReadBytes) {
        const uint64_t length = std::min<uint64_t>(kReadBytes, index.end_offset - at);
        TRY(core_.file.pread(core_.geometry.offset(victim_) + at, content_.data() + at, length));
    }
    return {};
}

// Deltas, in whatever segment, that are based on what is in this one.
void Cleaner::load_dependents() {
    std::vector<DeltaTable::Dependent> dependents;
    for (size_t position = 0; true;) {
        Lock lock(core_.mutex);
        if (!segments_.deltas().find_dependents(victim_, &position, &dependents)) {
            break;
        }
    }
    for (const DeltaTable::Dependent& dependent : dependents) {
        collect(dependent.block, kSectorsPerBlock, dependent.unit);
    }
}

Result<void> Cleaner::load_stream() {
    StreamInfo stream;
    {
        Lock lock(core_.mutex);
        stream = *history_.stream_at(stream_);
    }
    TRY_ASSIGN(const auto index, streams_.load(stream));
    for (const format::PackedExtent& packed : index->extents) {
        const Extent extent = format::unpack(packed);
        if (extent.is_data()) {
            collect(extent.start, extent.count, extent.place);
        }
    }
    return {};
}

// Verified. Stays until the next group.
Result<const uint8_t*> Cleaner::data_of(const Extent& extent) {
    if (stream_.value != 0 || extent.is_delta()) {
        read_.emplace_back(extent.count * kSectorSize);
        TRY(reader_.read_extent(extent, read_.back().data()));
        return static_cast<const uint8_t*>(read_.back().data());
    }
    const Place begin = core_.geometry.place(victim_);
    iovec content{content_.data(), content_.size()};
    TRY(reader_.verify(extent, {&content, 1}, to_bytes(Place(extent.place - extent.head - begin))));
    return static_cast<const uint8_t*>(content_.data() + (extent.place - begin) * kSectorSize);
}

// So many sectors that what is left of the log's segment is not lost, unless it is little.
uint64_t Cleaner::next_group() const {
    const uint64_t most = group_sectors(core_.geometry, log_.max_request_sectors());
    Lock lock(core_.mutex);
    const uint64_t room = log_.room_sectors();
    return room < most / kWorthFilling ? most : std::min(most, room);
}

Result<void> Cleaner::copy(uint64_t* moved) {
    const uint64_t most = next_group();
    std::vector<Log::Move> moves;
    read_.clear();
    for (uint64_t sectors = 0; next_ < extents_.size(); ++next_) {
        Extent extent = extents_[next_];
        const uint64_t need = align_up(std::min(extent.count, most), kSectorsPerBlock);
        if (sectors + need > most && sectors > 0) {
            break;
        }
        Extent now;
        Lock lock(core_.mutex);
        const bool same = disk_.map.find_whole(extent.start, extent.end(), &now) && now == extent;
        lock.unlock();
        if (!same) {
            continue;  // overwritten meanwhile, at least in part
        }
        TRY_ASSIGN(const uint8_t* const data, data_of(extent));
        // Longer than an append can be: in parts.
        const uint64_t count = std::min(extent.count, align_down(most, kSectorsPerBlock));
        moves.push_back({extent.start, count, extent.place, data});
        sectors += need;
        if (count < extent.count) {
            extents_[next_] = extent.slice(extent.start + count, extent.end());
            break;
        }
    }
    if (moves.empty()) {
        return {};
    }
    TRY(log_.append_moves(moves));
    uint64_t bytes = 0, deltas = 0;
    for (const Log::Move& move : moves) {
        bytes += move.sectors * kSectorSize;
        deltas += move.from >= kDeltaPlaces && move.from < kStreamPlaces;
    }
    *moved = bytes;
    Lock lock(core_.mutex);
    core_.stats.moved_bytes += bytes;
    core_.stats.materialised += deltas;
    return {};
}

}  // namespace predsnap
