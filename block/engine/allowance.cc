// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much space the image takes. Where history is limited, all that is not history may take a quarter more than the
// data of the current state, and some segments beside that (OpenOptions::spare_segments). The image grows until then, since what dies
// meanwhile need not be copied; then the cleaner makes as much room as the log takes. If it is behind, guest writes
// wait: each for as many bytes as it writes, so that no write waits for a whole segment to be cleaned.
#include <algorithm>

#include "engine_impl.h"

namespace predsnap {

namespace {

// Beside the data of the current state, a part of it.
constexpr uint64_t kLiveShare = 4;
// Cleaning begins when fewer segments than that are left, and goes on until so many are: what is copied in one go is
// mostly old, and stays together. Guest writes wait for it when fewer than that are left.
constexpr int64_t kCleanBelow = 2;
constexpr int64_t kCleanTo = 4;
constexpr int64_t kPressBelow = 1;
// It is not worth it while what is dead is less than this part of what is live, and a segment: small segments are never
// packed much better than that.
constexpr uint64_t kLeastDeadShare = 6;
// More is not copied, in case that what is copied fills as many segments as were cleaned: for each byte of the guest,
// and segments beside that.
constexpr uint64_t kMostMoved = 8;
constexpr uint64_t kMovedWithoutGuest = 32;
// Free segments kept though the image takes more space than it may: they would soon be taken again.
constexpr uint64_t kKeptReady = 1;
// A flush takes some 110 us longer if what is written before it was never written there, and to write a segment of
// 8 MiB ahead takes a disk that is not slow about 8 ms (docs/performance.md).
constexpr double kFlushesWorthMiB = 9;
constexpr double kPoolSeconds = 2;

uint64_t segments_of(uint64_t sectors, const Geometry& geometry) {
    return (sectors * kSectorSize + geometry.segment_size - 1) / geometry.segment_size;
}

}  // namespace

Engine::Impl::Space Engine::Impl::space() const {
    const uint64_t packed = packed_sectors();
    const bool history_counts = retention().window_us != 0;
    Space result;
    const SegmentTotals& totals = segments.totals(packed);
    result.leaving = totals.leaving;
    result.window = history_counts ? totals.window * packed : 0;
    result.live = totals.past_live;
    result.dead = totals.past_dead;
    const uint64_t history = totals.streams + (history_counts ? totals.window : 0);
    const uint64_t others = history_counts ? 0 : totals.window_live;
    result.ready = segments.ready_count();
    result.taken = segments.size() - segments.bare_count();
    // What was put apart counts as what it is of the disk, and compressing it makes room that spares copying.
    const PackTotals packs = places_apart() ? pack_totals() : PackTotals();
    const uint64_t live = result.live + others + packs.live;
    result.leaving += packs.leaving;
    if (packs.sectors > 0) {
        const uint64_t room = packs.segments * core.geometry.segment_size / kSectorSize;
        const auto in_use = static_cast<uint64_t>(static_cast<double>(room) * static_cast<double>(packs.live) /
                                                  static_cast<double>(packs.sectors));
        result.live += in_use;
        result.dead += room - std::min(room, in_use);
    }
    result.allowed = history - std::min(history, packs.segments + packs.leaving) +
                     segments_of(live + live / kLiveShare, core.geometry) + options.spare_segments;
    return result;
}

// Segments that a checkpoint takes which is going to be written soon.
uint64_t Engine::Impl::checkpoint_need() const {
    return checkpoint_is_due() ? segments_of(checkpoint_bytes / kSectorSize, core.geometry) + 1 : 0;
}

// Whether there is enough to gain.
bool Engine::Impl::worth_cleaning(const Space& now) const {
    const uint64_t segment = core.geometry.segment_size / kSectorSize;
    const uint64_t most_moved =
        kMostMoved * core.stats.write_bytes + kMovedWithoutGuest * core.geometry.segment_size;
    return !clean_failed && history.floor > Sequence(0) && segments.counted() && segments.deltas().complete() &&
           now.dead > now.live / kLeastDeadShare + segment &&
           core.stats.moved_bytes + (places_apart() ? core.stats.packed_bytes : 0) < most_moved;
}

// How full a segment may be that is cleaned though history needs what is dead in it. What is copied is stored twice until
// the window has passed, as much as is written meanwhile or more: the longer the window, the less that is worth.
double Engine::Impl::most_in_history(const Space& now) const {
    constexpr double kAlways = 0.25;
    return std::max(kAlways, static_cast<double>(now.live) / static_cast<double>(now.live + now.window + 1));
}

// What is to be put apart, else the cleaner's victim.
bool Engine::Impl::choose_victims(const Space& now, Packable* apart) {
    *apart = places_apart() ? choose_apart(now) : Packable();
    return !apart->empty() || cleaner.choose(oldest_reachable(), most_in_history(now));
}

bool Engine::Impl::choose_victims(Packable* apart) {
    const Space now = space();
    const auto enough =
        static_cast<int64_t>(checkpoint_need() + placement_need()) + (cleaning ? kCleanTo : kCleanBelow);
    cleaning = worth_cleaning(now) && now.left() + static_cast<int64_t>(now.leaving) < enough &&
               choose_victims(now, apart);
    note_pressing(now);
    return cleaning;
}

// Guest writes have to wait, or not any more.
void Engine::Impl::note_pressing(const Space& now) {
    set_pressing(retention().window_us == 0 && now.left() < kPressBelow && worth_cleaning(now));
    // Headers take some of what is gained; of less than that, what was taken beyond what is allowed comes back.
    credit_eighths = static_cast<uint64_t>(std::clamp<int64_t>(3 + 2 * now.left(), 2, 7));
}

bool Engine::Impl::clean_step() {
    Lock lock(core.mutex);
    if (clean_failed || history.floor == Sequence(0) || !segments.counted() || !segments.deltas().complete() ||
        (ordering() && !cleaner.busy())) {  // which empties the same segments
        set_pressing(false);
        return false;
    }
    if (!cleaner.busy() && !clean_due) {
        return false;
    }
    if (!cleaner.busy()) {
        if (const StreamInfo* needless = needless_stream(true); needless != nullptr) {
            // The disk was taken back to it: what it has of that goes to the log, and it can be dropped.
            cleaner.choose_stream(*needless);
        }
    }
    Packable apart;
    if (!cleaner.busy() && !choose_victims(&apart)) {
        set_pressing(false);
        clean_due = false;
        return false;
    }
    lock.unlock();
    const Result<uint64_t> gained = apart.empty() ? cleaner.step() : Result<uint64_t>(place_apart(apart));
    lock.lock();
    clean_failed = !gained.ok();
    reclaim_due = reclaim_due || !cleaner.busy();
    if (gained.ok() && pressing) {
        credit_bytes = std::min<int64_t>(credit_bytes + static_cast<int64_t>(gained.value() * credit_eighths / 8),
                                         core.geometry.segment_size);
        throttled.wake_all(core.host);
    }
    return gained.ok();
}

void Engine::Impl::set_pressing(bool now) {
    if (now && !pressing) {
        credit_bytes = 0;
    }
    pressing = now;
    if (!now) {
        throttled.wake_all(core.host);
    }
}

void Engine::Impl::throttle(uint64_t bytes) {
    if (!pressing && !short_of_space) {
        return;
    }
    Lock lock(core.mutex);
    while (((pressing && credit_bytes <= 0) || short_of_space) && working && !paused) {
        throttled.wait(core.host, lock);
    }
    credit_bytes -= static_cast<int64_t>(bytes);
}

// Gives free segments that will not be needed soon back to the host.
bool Engine::Impl::give_back_step() {
    Lock lock(core.mutex);
    if (history.floor == Sequence(0) || segments.ready_count() == 0) {
        return false;
    }
    const bool surplus = segments.counted() &&
                         segments.ready_count() > kKeptReady + pool_target() + ready_at_open && takes_too_much();
    if (!surplus && !space_wanted) {
        return false;
    }
    space_wanted = false;
    const SegmentId id = segments.take_surplus();
    lock.unlock();
    const Result<void> given = core.file.discard(core.geometry.offset(id), core.geometry.segment_size);
    lock.lock();
    given.ok() ? segments.add_bare(id) : segments.add_ready(id);
    ready_at_open += given.ok() ? 0 : 1;  // do not try again and again
    core.stats.given_back_bytes += given.ok() ? core.geometry.segment_size : 0;
    throttled.wake_all(core.host);
    return given.ok();
}

bool Engine::Impl::takes_too_much() const {
    const Space now = space();
    return now.taken > now.allowed + ready_at_open;
}

// Whether a segment that was written ahead saves more time than that takes.
bool Engine::Impl::writing_ahead_pays() const {
    return flushes_per_segment > kFlushesWorthMiB * core.geometry.segment_size / (1 << 20);
}

size_t Engine::Impl::pool_target() {
    const Retention limits = retention();
    if (limits.window_us.value_or(0) > 0) {
        return limited_pool();  // some are for dropping history when there is no space
    }
    const uint64_t least = options.pool_min / core.geometry.segment_size;
    if (limits.limited()) {
        // Segments that become free are used again: only while the image grows are there others.
        if (!writing_ahead_pays() || !segments.counted()) {
            return 0;
        }
        const Space now = space();
        const uint64_t can_grow = now.allowed - std::min(now.allowed, now.taken);
        return std::min(least, now.ready + can_grow);
    }
    // Ahead of the present rate, between the limits; never more than what was really written.
    const auto ahead = static_cast<uint64_t>(rate_ahead() * kPoolSeconds);
    const uint64_t most = std::max(options.pool_min, std::min(options.pool_max, core.stats.batch_bytes));
    return std::clamp(ahead, options.pool_min, most) / core.geometry.segment_size;
}

}  // namespace predsnap
