// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reclaiming: segments that nothing needs any more become free.
//
// A segment of data is needed by the current state while `live` sectors of it are mapped, and by history while the
// floor, or an open view, lies before `last_death`, when the last of its other data was replaced; and while deltas of
// the current state are based on what is in it (`pins`, delta_table.h). An index segment
// is needed while it holds the index of a segment in use, or what the checkpoint has not. Then a segment is
// *leaving* until
//   - what made it useless is durable (the state after a crash must not refer to it),
//   - the two checkpoints are new enough (see checkpoints_allow_release), and
//   - whoever may have looked up a place in it has read it.
#include <algorithm>
#include <unordered_set>
#include <utility>

#include "engine_impl.h"

namespace predsnap {

namespace {

// Segments that leave before the engine flushes of its own accord, so that they do.
constexpr size_t kMaxLeaving = 2;

}  // namespace

// What the current map refers to is counted anew, and may have been replaced just now. Places in streams got into it, and
// into what was replaced, by rollbacks to before the floor only.
void Engine::Impl::recount_use() {
    const bool in_streams = std::any_of(history.rollbacks.begin(), history.rollbacks.end(),
                                        [](const History::Rollback& r) { return r.deep; });
    segments.recount(disk.sequence, in_streams);
    set_pressing(false);  // what there is to clean is not known until all is counted
    reclaim_due = clean_due = coalesce_due = true;
}

// The oldest state that somebody may read of.
Sequence Engine::Impl::oldest_reachable() const {
#if PREDSNAP_CANARY == 7  // a known bug: open views are forgotten
    return history.floor;
#else
    return std::min(history.floor, disk.oldest_view());
#endif
}

bool Engine::Impl::reclaim_step() {
    Lock lock(core.mutex);
    if (history.floor == Sequence(0) || (!reclaim_due && leaving.empty() && leaving_capacity.empty())) {
        return false;
    }
    if (!segments.counted()) {
        segments.count_piece(core.geometry, disk.map);
        return true;
    }
    if (reclaim_due && segments.deltas().complete()) {
        find_leaving_data();
        find_leaving_indexes();
        reclaim_due = false;
    }
    core.readers.advance();
    if (leaving.empty() && leaving_capacity.empty()) {
        return false;
    }
    if (!checkpoints_allow_release()) {
        return !checkpoint_failed && prepare_checkpoints(lock);
    }
    const bool flush = std::any_of(leaving.begin(), leaving.end(), [&](const Leaving& next) {
        return next.since > log.durable() && next.since <= disk.sequence;
    });
    if (flush && (leaving.size() >= kMaxLeaving || pressing) && !flush_failed) {
        lock.unlock();
        const bool flushed = log.flush(false).ok();
        lock.lock();
        flush_failed = !flushed;
        return flushed;
    }
    return release_leaving();
}

// Opening goes on from the checkpoint, or, if that is damaged, from the one before it: neither may need what is going
// to be something else. Rollbacks after them are done again, by indexes of what was undone. And whoever has neither
// must not take for the log's beginning what lies there.
bool Engine::Impl::checkpoints_allow_release() const {
    const uint64_t oldest =
        previous_segments.empty() ? superblock.checkpoint_sequence : superblock.previous_sequence;
    return beginning_forgotten &&
           (history.rollbacks.empty() || history.rollbacks.back().sequence.value <= oldest);
}

// A stream is dropped, or moved to the other tier, only then: an opening after that may find its segments free, and must
// not need them to do a rollback again. Nothing if that holds now; else whether a step towards it was done.
std::optional<bool> Engine::Impl::checkpoints_before_drop() {
    Lock lock(core.mutex);
    if (checkpoints_allow_release()) {
        return std::nullopt;
    }
    return !checkpoint_failed && prepare_checkpoints(lock);
}

bool Engine::Impl::prepare_checkpoints(Lock& lock) {
    const bool known = superblock.log.segment == kNoSegment.value;
    lock.unlock();
    // A write of the superblock goes to one slot; the other then has what was before.
    const bool done = known && !beginning_forgotten ? update_superblock([](format::Superblock&) {}).ok()
                                                    : checkpoint(true).ok();
    lock.lock();
    beginning_forgotten = beginning_forgotten || (known && done);
    checkpoint_failed = !done;
    return done;
}

void Engine::Impl::find_leaving_data() {
    const Sequence oldest = oldest_reachable();
    if (segments.deltas().last_unknown_death > oldest) {
        return;  // what that needed is not known
    }
    for (uint32_t id = 0; id < segments.size(); ++id) {
        const Segment& segment = std::as_const(segments)[SegmentId(id)];
#if PREDSNAP_CANARY == 9  // a known bug: what deltas are based on is forgotten
        const bool needed = segment.live > 0;
#else
        const bool needed = segment.needed() > 0;
#endif
        if (segment.kind == format::SegmentKind::log && segment.past && !segment.leaving && !needed &&
            segment.last_death <= oldest && !segment.cleaned) {
            leave(SegmentId(id), disk.sequence);
        }
    }
}

void Engine::Impl::find_leaving_indexes() {
    // By ordinal: those before the one where the checkpoint leaves off, and that hold the index of a segment in use.
    const uint64_t first_kept = previous_segments.empty() ? checkpoint_index : previous_index;
    std::unordered_set<uint64_t> needed;
    for (uint32_t id = 0; id < segments.size(); ++id) {
        const Segment& segment = segments[SegmentId(id)];
        if (segment.kind == format::SegmentKind::log && segment.has_index()) {
            for (uint64_t i = 0; i < segment.index_span; ++i) {
                needed.insert(segment.index.ordinal + i);
            }
        }
    }
    for (uint32_t id = 0; id < segments.size(); ++id) {
        const Segment& segment = segments[SegmentId(id)];
        if (segment.kind == format::SegmentKind::index && !segment.leaving &&
            segment.ordinal < first_kept && !needed.contains(segment.ordinal)) {
            leave(SegmentId(id), disk.sequence);
        }
    }
}

// Of the log, views need what they were made of (see oldest_reachable); of streams, what was there at that time.
void Engine::Impl::leave(SegmentId id, Sequence since) {
    segments[id].leaving = true;
    leaving.push_back({id, since, core.readers.epoch(), 0});
}

bool Engine::Impl::may_be_released(const Leaving& next) const {
#if PREDSNAP_CANARY == 5  // a known bug: a segment is used again though a crash may lead back to where it was needed
    const bool durable = true;
#else
    const bool durable = next.since <= log.durable();
#endif
    return durable && history_readers == 0 && core.readers.drained(next.epoch) &&
           next.view <= disk.oldest_view_number();
}

bool Engine::Impl::release_leaving() {
    bool released = false;
    std::erase_if(leaving, [&](const Leaving& next) {
        if (!may_be_released(next)) {
            return false;
        }
        indexes.forget(next.id);
        streams.forget(format::Tier::fast, next.id);
        segments.release(next.id);
        ++core.stats.reclaimed_segments;
        return released = true;
    });
    if (released) {
        short_of_space = fast_full && segments_missing() > 0;
        throttled.wake_all(core.host);
    }
    return released;
}

}  // namespace predsnap
