// SPDX-License-Identifier: GPL-2.0-or-later
#include "staged_reads.h"

#include <algorithm>
#include <bit>

#include "buffer.h"
#include "wait.h"

namespace predsnap {

namespace {

// Longer reads are copies, or sequential: they only use what was fetched ahead of time, in parts of that length.
constexpr uint64_t kMostSectors = 128;
constexpr size_t kPartsAtOnce = 4;
constexpr size_t kMostPlaces = size_t{1} << 22;
constexpr uint16_t kMostCounted = 255;

Extent hole(Sector from, Sector to) {
    Extent extent;
    extent.start = from;
    extent.count = to - from;
    return extent;
}

}  // namespace

void UseCounts::set_capacity(uint64_t blocks) {
    if (blocks != capacity_) {
        capacity_ = blocks;
        places_ = {};
    }
}

unsigned UseCounts::use(uint64_t block) {
    if (capacity_ == 0) {
        return 0;
    }
    if (places_.empty()) {
        places_.resize(std::bit_ceil(std::min<uint64_t>(2 * capacity_, kMostPlaces)));
    }
    const uint64_t hash = block * 0x9e3779b97f4a7c15ull;
    const auto tag = static_cast<uint16_t>(hash >> 48 | 1);
    Place& place = places_[hash >> 16 & (places_.size() - 1)];
    if (place.tag == tag) {
        const unsigned before = place.count;
        place.count = std::min<uint16_t>(static_cast<uint16_t>(place.count + 1), kMostCounted);
        return before;
    }
    if (place.count > 1) {
        --place.count;
    } else {
        place = {tag, 1};
    }
    return 0;
}

struct StagedReads::Request {
    Sector from, end;           // what is asked for
    std::vector<Extent> extents; // whole blocks around it
    std::vector<Block> blocks;
    std::vector<iovec> contents; // of the blocks
    bool current = false;        // it is of the current state
    bool has_hole = false;
    float score = 0;
};

void StagedReads::configure(const FineOptions& options) {
    enabled_ = options.stage_reads && options.staging_bytes > 0;
    counts_.set_capacity(enabled_ ? options.staging_bytes / kBlockSize : 0);
}

// Whether a read goes on where another one ended.
bool StagedReads::in_order(Sector from, uint64_t sectors) {
    const auto known = std::find(stream_ends_.begin(), stream_ends_.end(), from);
    if (known != stream_ends_.end() && from > Sector(0)) {
        *known = from + sectors;
        return true;
    }
    stream_ends_[next_stream_++ % stream_ends_.size()] = from + sectors;
    return false;
}

std::optional<unsigned> StagedReads::wants(Sector from, uint64_t sectors) {
    if (!enabled_ || sectors == 0 || from >= kVmStateBase) {
        return {};
    }
    const bool fetching = prefetcher_.active();
    if (fetching) {
        prefetcher_.passed(from, sectors);
    }
    if (sectors > kMostSectors) {
        const bool some = fetching && (prefetcher_.is_fetching(from, sectors) || is_fetched(from, sectors));
        return some ? std::optional(0u) : std::nullopt;
    }
    const Sector block(align_down(from.value, kSectorsPerBlock));
    const unsigned uses = counts_.use(block.value / kSectorsPerBlock);
    const bool alone = !in_order(from, sectors);
    const auto said = [&] { return forecast_.relevance(block, Staged::read, uses > 0).value_or(0); };
    if ((alone && (uses > 0 || said() >= std::max(fine_.threshold().value(), 1e-6f))) ||
        fine_.staging().contains(block) || (fetching && prefetcher_.is_fetching(from, sectors))) {
        return uses;
    }
    return {};
}

// Whether there is a copy of the first block of any part.
bool StagedReads::is_fetched(Sector from, uint64_t sectors) const {
    const Sector begin(align_down(from.value, kSectorsPerBlock));
    for (Sector at = begin; at < from + sectors; at = Sector(align_up(at.value + 1, kMostSectors))) {
        if (fine_.staging().contains(at)) {
            return true;
        }
    }
    return false;
}

// Finds out where the blocks are. False if any is neither data in one piece nor a hole.
bool StagedReads::look_up(const FrozenState* view, Request& request) const {
    const Sector begin(align_down(request.from.value, kSectorsPerBlock));
    const Sector end(align_up(request.end.value, kSectorsPerBlock));
    const size_t most = (end - begin) / kSectorsPerBlock;
    if (disk_.lookup(view, begin, end, most + 1, &request.extents) < end || request.extents.size() > most) {
        return false;
    }
    Sector at = begin;
    const auto add_until = [&](Sector until, const Extent& extent) {
        for (; at < until; at += kSectorsPerBlock) {
            request.blocks.push_back({at, fine_.source_of(extent.slice(at, at + kSectorsPerBlock)), {}});
        }
    };
    for (const Extent& extent : request.extents) {
        if (!extent.is_data() || (extent.start.value | extent.count) % kSectorsPerBlock != 0) {
            return false;
        }
        request.has_hole = request.has_hole || extent.start > at;
        add_until(extent.start, hole(at, extent.start));
        add_until(extent.end(), extent);
    }
    request.has_hole = request.has_hole || at < end;
    add_until(end, hole(at, end));
    return true;
}

// Pins the copies if all of them are there.
bool StagedReads::find_all(Request& request) {
    Staging& staging = fine_.staging();
    for (size_t i = 0; i < request.blocks.size(); ++i) {
        const auto slot = staging.peek(request.blocks[i].start, request.blocks[i].source);
        if (!slot) {
            while (i > 0) {
                staging.unpin(request.blocks[--i].slot);
            }
            return false;
        }
        request.blocks[i].slot = *slot;
    }
    return true;
}

// False if they are not relevant enough, or there is no room; then nothing is taken.
bool StagedReads::take_slots(Request& request) {
    const bool whole = (request.from.value | request.end.value) % kSectorsPerBlock == 0;
    Staging& staging = fine_.staging();
    if (request.has_hole) {
        return false;  // only what was said to be read is copied from below
    }
    if (!whole || request.score < fine_.threshold().value()) {
        staging.refuse(Staged::read);
        return false;
    }
    for (size_t i = 0; i < request.blocks.size(); ++i) {
        const auto slot = staging.take(request.score, Staged::read);
        if (!slot) {
            while (i > 0) {
                staging.give_back(request.blocks[--i].slot);
            }
            return false;
        }
        request.blocks[i].slot = *slot;
    }
    for (const Block& block : request.blocks) {
        request.contents.push_back({staging.content(block.slot), kBlockSize});
    }
    return true;
}

Result<void> StagedReads::read(const FrozenState* view, Sector from, uint64_t sectors,
                               std::span<const iovec> buffers, unsigned uses) {
    return sectors > kMostSectors ? read_long(view, from, sectors, buffers)
                                  : read_short(view, from, sectors, buffers, uses);
}

// What was fetched is copied; what lies between is read in one go.
Result<void> StagedReads::read_long(const FrozenState* view, Sector from, uint64_t sectors,
                                    std::span<const iovec> buffers) {
    const Sector end = from + sectors;
    TaskGroup group(core_.host, kPartsAtOnce);
    Sector unread = from;  // from here on to the part
    const auto read_until = [&](Sector until) {
        if (unread < until) {
            const auto part = slice(buffers, (unread - from) * kSectorSize, (until - unread) * kSectorSize);
            group.run([this, view, at = unread, count = until - unread, part] {
                return reader_.read(view, at, count, part, 0);
            });
        }
    };
    if (view == nullptr) {
        Lock lock(core_.mutex);
        prefetcher_.wait(lock, from, sectors);
    }
    for (Sector at = from; at < end;) {
        const Sector until = std::min(end, Sector(align_up(at.value + 1, kMostSectors)));
        Request request{at, until, {}, {}, {}, view == nullptr};
        Lock lock(core_.mutex);
        const bool staged = look_up(view, request) && find_all(request);
        lock.unlock();
        if (staged) {
            copy_out(request, slice(buffers, (at - from) * kSectorSize, (until - at) * kSectorSize));
            lock.lock();
            unpin(request);
            lock.unlock();
            read_until(at);
            unread = until;
        }
        at = until;
    }
    read_until(end);
    return group.wait();
}

void StagedReads::unpin(const Request& request) {
    for (const Block& block : request.blocks) {
        fine_.staging().unpin(block.slot);
    }
    prefetcher_.start();  // there may be room again
}

Result<void> StagedReads::read_short(const FrozenState* view, Sector from, uint64_t sectors,
                                     std::span<const iovec> buffers, unsigned uses) {
    Request request{from, from + sectors, {}, {}, {}, view == nullptr};
    Lock lock(core_.mutex);
    if (view == nullptr) {
        prefetcher_.wait(lock, from, sectors);
    }
    // So that no place is used anew before it was read.
    const ReadPins::Pin pin = core_.readers.pin();
    const bool found = look_up(view, request);
    const bool staged = found && find_all(request);
    bool taken = false;
    if (found) {
        fine_.note_lookups(request.blocks.size());
        request.score = fine_.relevance(from, Staged::read, fine_.map().score_of_count(uses, fine_.load()),
                                        uses > 0);
        taken = !staged && take_slots(request);
    }
    lock.unlock();
    if (!staged && !taken) {
        return reader_.read(view, from, sectors, buffers, 0);
    }
    if (taken) {
        return fill(request, buffers);
    }
    copy_out(request, buffers);
    lock.lock();
    unpin(request);
    return {};
}

Result<void> StagedReads::fill(Request& request, std::span<const iovec> buffers) {
    const Result<void> done = reader_.read_found(request.extents, request.contents);
    if (done.ok()) {
        copy_out(request, buffers);
    }
    Lock lock(core_.mutex);
    finish(request, done.ok());
    return done;
}

// A state before does not take the place of what the disk has now.
void StagedReads::finish(Request& request, bool read) {
    Staging& staging = fine_.staging();
    for (const Block& block : request.blocks) {
        const bool wanted = read && (request.current ? fine_.is_current(block.start, block.source)
                                                     : !staging.contains(block.start));
        if (wanted) {
            staging.put(block.slot, block.start, block.source, request.score, Staged::read);
        } else {
            staging.give_back(block.slot);
        }
    }
}

void StagedReads::copy_out(const Request& request, std::span<const iovec> buffers) {
    size_t skip = 0;
    for (const Block& block : request.blocks) {
        const Sector from = std::max(block.start, request.from);
        const Sector end = std::min(block.start + kSectorsPerBlock, request.end);
        const size_t length = (end - from) * kSectorSize;
        copy_to(buffers, skip, fine_.staging().content(block.slot) + (from - block.start) * kSectorSize, length);
        skip += length;
    }
}

}  // namespace predsnap
