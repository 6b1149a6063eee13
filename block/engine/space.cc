// SPDX-License-Identifier: GPL-2.0-or-later
//
// When the image cannot grow. Where the user has limited history in time, the oldest of it goes rather than that the guest's
// writes fail; never snapshots, nor what rules keep: that is put into streams first, as always. It begins as soon as the
// pool of ready segments cannot be filled any more: so there is room left for the record of the new floor, for indexes and
// a checkpoint. Guest writes wait while there is hope, and fail as they would if there is none.
#include "engine_impl.h"

namespace predsnap {

namespace {

// So many segments are to be free or becoming so, beside those of the pool.
constexpr size_t kBeside = 1;
// Index segments that are not freed for want of a checkpoint, when there is no space.
constexpr uint64_t kMostIndexSegments = 4;
// A write is tried so often, each time after something became free.
constexpr uint64_t kMostAttempts = 16;

}  // namespace

// Requires Core::mutex.
size_t Engine::Impl::segments_missing() const {
    const size_t wanted = limited_pool() + kBeside;
    const size_t coming = segments.ready_count() + leaving.size();
    return wanted - std::min(wanted, coming);
}

// Nothing of what was dropped already is going to become free: before that, no more is dropped. Requires Core::mutex.
bool Engine::Impl::all_reclaimed() const {
    return history.floor == Sequence(0) || (!reclaim_due && !clean_due && leaving.empty() && !cleaner.busy());
}

// Index segments stay until both checkpoints are behind them; where there is no space, that is not left to time. Requires
// Core::mutex.
bool Engine::Impl::checkpoint_frees_space() const {
    return fast_full && disk.sequence.value != superblock.checkpoint_sequence &&
           stream.tail().at.ordinal >= previous_index + kMostIndexSegments;
}

// The image could not grow. Without the lock.
void Engine::Impl::note_full() {
    {
        Lock lock(core.mutex);
        fast_full = true;
        // What failed for that reason before may do with what becomes free.
        short_of_space = retention().window_us.has_value() && segments_missing() > 0;
        if (full_reported) {
            return;
        }
        full_reported = true;
    }
    core.host.report(Event::fast_full, 0, 0,
                     "the image cannot grow: writes that need space fail, unless history can be dropped for them "
                     "(cdp-window)");
}

// A segment could be written. Requires Core::mutex.
void Engine::Impl::note_grown(SegmentId id) {
    fast_full = short_of_space = false;
    // What was given back before can be taken again without the image's growing.
    full_reported = full_reported && full_at != kNoSegment && id < full_at;
}

// An append has failed for want of space. True if something has become free since.
bool Engine::Impl::make_space(uint64_t* attempts) {
    note_full();
    Lock lock(core.mutex);
    if (!retention().window_us || paused || ++*attempts > kMostAttempts) {
        return false;
    }
    const auto freed = [this] { return core.stats.reclaimed_segments + core.stats.given_back_bytes; };
    const uint64_t before = freed();
    space_wanted = true;
    index_failed = floor_failed = checkpoint_failed = flush_failed = clean_failed = seal_failed = false;
    reclaim_due = clean_due = again = true;
    on_progress();
    while (working && !paused && freed() == before) {
        throttled.wait(core.host, lock);
    }
    return freed() != before;
}

Result<void> Engine::Impl::with_space(const std::function<Result<void>()>& call) {
    for (uint64_t attempts = 0;;) {
        Result<void> done = call();
        if (done.ok() || done.error().code != ENOSPC || !make_space(&attempts)) {
            return done;
        }
    }
}

}  // namespace predsnap
