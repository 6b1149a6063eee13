// SPDX-License-Identifier: GPL-2.0-or-later
#include "order.h"

#include <algorithm>

namespace predsnap {

namespace {

// A stretch, which becomes one piece of the image: as long as a batch may be, and guest writes wait behind it.
constexpr uint64_t kStretch = (512 << 10) / kSectorSize;
// Data in pieces that are shorter than this part of one on average is scattered.
constexpr uint64_t kWholePart = 8;
// Looked at in one step while there is nothing to do.
constexpr int kStretchesAtOnce = 64;

}  // namespace

uint64_t Orderer::left() const {
    const Sector end(disk_.size / kSectorSize);
    return at_ < end ? (end - at_) * kSectorSize : 0;
}

bool Orderer::movable(const Extent& extent) const {
    if (!extent.is_data() || extent.in_stream() || extent.is_delta()) {
        return false;
    }
    const Segment& segment = segments_[core_.geometry.segment_of(extent.place)];
    return segment.kind == format::SegmentKind::log && segment.past;
}

// What can be moved up to there, if it is scattered.
bool Orderer::find_scattered(Sector end, std::vector<Extent>* found) const {
    const uint64_t whole = (end - at_) / kWholePart;
    disk_.map.lookup(at_, end, SIZE_MAX, found);
    std::erase_if(*found, [&](const Extent& extent) { return !movable(extent); });
    uint64_t sectors = 0, pieces = 0;
    Place next;
    for (const Extent& extent : *found) {
        sectors += extent.count;
        pieces += extent.place != next;
        next = extent.place + extent.count;
    }
    return pieces > 1 && sectors < pieces * whole;
}

Result<void> Orderer::step() {
    const uint64_t stretch = std::min(kStretch, align_down(log_.max_request_sectors(), kSectorsPerBlock));
    std::vector<Extent> found;
    bool scattered = false;
    Lock lock(core_.mutex);
    for (int i = 0; i < kStretchesAtOnce && left() > 0 && !scattered; ++i) {
        const Sector end(align_down(at_.value, stretch) + stretch);
        found.clear();
        scattered = find_scattered(end, &found);
        at_ = end;
    }
    const ReadPins::Pin pin = core_.readers.pin();
    lock.unlock();
    return scattered ? move(found) : Result<void>();
}

Result<void> Orderer::move(std::span<const Extent> extents) {
    std::vector<Log::Move> moves;
    uint64_t room = log_.max_request_sectors(), sectors = 0;
    for (const Extent& extent : extents) {
        const uint64_t need = align_up(extent.count, kSectorsPerBlock);  // as a batch counts them
        if (need > room) {
            break;  // many short ones: the rest stays where it is
        }
        room -= need;
        moves.push_back({extent.start, extent.count, extent.place, nullptr});
        sectors += extent.count;
    }
    if (moves.empty()) {
        return {};
    }
    data_ = AlignedBuffer(sectors * kSectorSize);
    const uint8_t* at = data_.data();
    for (Log::Move& move : moves) {
        move.data = at;
        at += move.sectors * kSectorSize;
    }
    TRY(reader_.read_packed(extents.first(moves.size()), data_.data()));
    // What has been overwritten meanwhile stays so: a move tells where its data was.
    TRY(log_.append_moves(moves));
    Lock lock(core_.mutex);
    core_.stats.moved_bytes += sectors * kSectorSize;
    return {};
}

}  // namespace predsnap
