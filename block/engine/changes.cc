// SPDX-License-Identifier: GPL-2.0-or-later
//
// What differs between two states, to the sector. Which ranges may differ is known from the maps of two views; where
// these name the same place, the content is the same, and the rest is read and compared: data that was moved, or
// written again as it was, is no change.
#include <algorithm>
#include <cstring>

#include "buffer.h"
#include "engine_impl.h"

namespace predsnap {
namespace {

// So much of the disk is looked at in one go.
constexpr uint64_t kWindowSectors = 2048;  // 1 MiB
// Then others get their turn.
constexpr uint64_t kWindowsAtOnce = 16;

struct Range {
    Sector from, to;
};

void append(Range range, std::vector<Range>* list) {
    if (!list->empty() && list->back().to == range.from) {
        list->back().to = range.to;
    } else {
        list->push_back(range);
    }
}

// The extents of a state in a window, whose end they do not cross; gaps are holes.
class Walk {
  public:
    Walk(const DiskState& disk, const FrozenState& state, Range window) : window_(window) {
        disk.lookup(&state, window.from, window.to, SIZE_MAX, &extents_);
    }
    // What lies at a sector, cut to begin there. Sectors ascend from call to call.
    Extent at(Sector sector) {
        while (next_ < extents_.size() && extents_[next_].end() <= sector) {
            ++next_;
        }
        if (next_ < extents_.size() && extents_[next_].start <= sector) {
            return extents_[next_].slice(sector, extents_[next_].end());
        }
        Extent gap;
        gap.start = sector;
        gap.count = (next_ < extents_.size() ? extents_[next_].start : window_.to) - sector;
        return gap;
    }

  private:
    const Range window_;
    std::vector<Extent> extents_;
    size_t next_ = 0;
};

bool surely_same(const Extent& a, const Extent& b) {
    return a.is_data() == b.is_data() && (a.is_data() ? a.place == b.place : a.kind == b.kind);
}

class Comparison {
  public:
    Comparison(Engine::Impl& engine, const FrozenState& from, const FrozenState& to)
        : e_(engine), from_(from), to_(to) {}

    Result<void> run(const ChangesQuery& query, uint64_t end_bytes, Changes* changes) {
        const Sector end(end_bytes / kSectorSize);
        Sector at(query.offset / kSectorSize);
        while (at < end) {
            if (changes->ranges.size() >= query.ranges_max || compared_ >= query.bytes_max) {
                changes->next = to_bytes(at);
                return {};
            }
            if (++windows_ % kWindowsAtOnce == 0) {
                e_.core.host.yield();
            }
            const Range window = next_window(at, end);
            for (const Range& range : candidates(window)) {
                TRY(compare(range, changes));
            }
            at = window.to;
        }
        return {};
    }

  private:
    // From where on either of the states has something of its own; empty at the end if none has.
    Range next_window(Sector at, Sector end) {
        Lock lock(e_.core.mutex);
        Sector begin = end;
        for (const FrozenState* state : {&from_, &to_}) {
            Extent found;
            if (state->difference.find(at, &found)) {
                begin = std::min(begin, std::max(found.start, at));
            }
        }
        return {begin, std::min(begin + kWindowSectors, end)};
    }

    std::vector<Range> candidates(Range window) {
        std::vector<Range> list;
        Lock lock(e_.core.mutex);
        Walk from(e_.disk, from_, window), to(e_.disk, to_, window);
        for (Sector at = window.from; at < window.to;) {
            const Extent a = from.at(at), b = to.at(at);
            const Sector until = std::min({a.end(), b.end(), window.to});
            if (!surely_same(a, b)) {
                append({at, until}, &list);
            }
            at = until;
        }
        return list;
    }

    Result<void> read(const FrozenState& state, Range range, AlignedBuffer& buffer) {
        const iovec vector{buffer.data(), (range.to - range.from) * kSectorSize};
        return e_.reader.read(&state, range.from, range.to - range.from, {&vector, 1}, 0);
    }

    Result<void> compare(Range range, Changes* changes) {
        TRY(read(from_, range, before_));
        TRY(read(to_, range, after_));
        compared_ += (range.to - range.from) * kSectorSize;
        for (Sector at = range.from; at < range.to; at = at + 1) {
            const uint64_t offset = (at - range.from) * kSectorSize;
            if (std::memcmp(before_.data() + offset, after_.data() + offset, kSectorSize) != 0) {
                changes->add(to_bytes(at), kSectorSize);
            }
        }
        return {};
    }

    Engine::Impl& e_;
    const FrozenState &from_, &to_;
    AlignedBuffer before_{kWindowSectors * kSectorSize}, after_{kWindowSectors * kSectorSize};
    uint64_t compared_ = 0;  // bytes
    uint64_t windows_ = 0;
};

}  // namespace

void Changes::add(uint64_t offset, uint64_t length) {
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == offset) {
        ranges.back().length += length;
    } else {
        ranges.push_back({offset, length});
    }
}

Result<Changes> Engine::changes(const Moment& from, const Moment& to, const ChangesQuery& query) {
    TRY_ASSIGN(const std::unique_ptr<View> before, open_view(from));
    TRY_ASSIGN(const std::unique_ptr<View> after, open_view(to));
    Changes changes;
    changes.from = {before->sequence(), before->time(), before->size()};
    changes.to = {after->sequence(), after->time(), after->size()};
    const uint64_t common = std::min(before->size(), after->size()), most = std::max(before->size(), after->size());
    TRY(Comparison(*impl_, *before->impl_->state, *after->impl_->state).run(query, common, &changes));
    // What only one of them has.
    if (!changes.next && common < most) {
        const uint64_t begin = std::max(query.offset, common);
        if (begin < most) {
            changes.add(begin, most - begin);
        }
    }
    return changes;
}

}  // namespace predsnap
