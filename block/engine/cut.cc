// SPDX-License-Identifier: GPL-2.0-or-later
//
// When space is short: the log and the streams together take more than history may (`cdp-bytes`). Then points that only
// rules keep are given up, first the one that frees the most: either the oldest, whose stream is dropped, or one between
// two streams, which are merged. So where the history's states differ much, and diverge, it is cut; states that are
// nearly alike cost little and stay longest. Snapshots are never given up. By the one background task.
#include <algorithm>

#include "engine_impl.h"
#include "stream.h"
#include "text.h"

namespace predsnap {

namespace {

// Two streams are not copied to free less than that part of them.
constexpr uint64_t kWorthCutting = 8;

}  // namespace

// Segments that are leaving do not count: they are free soon.
bool Engine::Impl::over_limit() const {
    const std::optional<uint64_t> limit = retention().bytes;
    if (!limit || history.chain_length() == 0) {
        return false;
    }
    const uint64_t used = segments.log().size() + segments.totals(packed_sectors()).streams;
    if (used * core.geometry.segment_size <= *limit) {
        return false;
    }
    const PackTotals packs = pack_totals();  // which are no history
    return (used - std::min(used, packs.segments + packs.leaving)) * core.geometry.segment_size > *limit;
}

bool Engine::Impl::is_snapshot(Sequence state) const {
    return std::any_of(history.snapshots.begin(), history.snapshots.end(),
                       [&](const SnapshotInfo& snapshot) { return snapshot.sequence == state; });
}

// The best of them; an empty run if there is none.
Engine::Impl::Cut Engine::Impl::choose_cut() {
    std::vector<Cut> cuts;
    {
        Lock lock(core.mutex);
        if (cut_failed || !segments.counted() || !over_limit()) {
            return {};
        }
        const KeptStates kept = kept_states();
        const size_t count = history.chain_length();
        for (size_t i = 0; i < count; ++i) {
            const StreamInfo& stream = history.streams[i];
            const bool last = i + 1 == count;
            const auto is_free = [&](const StreamInfo& one) {
                return !one.on_capacity() && stream_use(one) == StreamUse::none;  // on capacity it takes no space here
            };
            const bool free = is_free(stream) && (last || is_free(history.streams[i + 1]));
            if (!free || is_snapshot(stream.lower)) {
                continue;
            }
            Cut cut;
            cut.run = last ? StreamRun{stream} : StreamRun{stream, history.streams[i + 1]};
            cut.saving = last ? stream.sectors : 0;
            cut.is_point = keeps(kept, stream.lower);
            cuts.push_back(std::move(cut));
        }
    }
    Cut best;
    for (Cut& cut : cuts) {
        if (cut.run.size() > 1) {
            const uint64_t saving = expected_saving(cut.run);
            cut.saving = saving < (cut.run[0].sectors + cut.run[1].sectors) / kWorthCutting ? 0 : saving;
        }
        if (cut.saving > best.saving) {
            best = std::move(cut);
        }
    }
    return best;
}

// False if it is not the time for that any more.
Result<bool> Engine::Impl::drop_oldest(const StreamInfo& stream) {
    TaskMutex::Guard guard(core.host, control);
    std::vector<uint8_t> records;
    {
        Lock lock(core.mutex);
        const size_t count = history.chain_length();
        const bool oldest = count > 0 && history.streams[count - 1].id == stream.id;
        if (!oldest || !over_limit() || is_snapshot(stream.lower) || !segments.counted() ||
            stream_use(stream) != StreamUse::none || !checkpoints_allow_release()) {
            return false;
        }
        begin_drop(stream, &records);
    }
    const bool dropped = log.append_records(records, ExtentKind::hole, Sector(0), 0).ok();
    Lock lock(core.mutex);
    end_drop(stream, dropped);
    reclaim_due = reclaim_due || dropped;
    return dropped ? Result<bool>(true) : Error{EIO, "the record of a dropped stream could not be written"};
}

void Engine::Impl::report_cut(Time time) {
    uint64_t limit;
    {
        Lock lock(core.mutex);
        ++core.stats.points_cut;
        limit = retention().bytes.value_or(0);
    }
    core.host.report(Event::window_shrunk, 0, 0,
                     text("the point at %lld (microseconds since the epoch) is given up: the limit of %llu bytes does not "
                          "hold all that the rules for old history keep",
                          static_cast<long long>(time.value), static_cast<ull>(limit)));
}

bool Engine::Impl::cut_step() {
    const Cut cut = choose_cut();
    if (cut.run.empty()) {
        return false;
    }
    if (const std::optional<bool> made = checkpoints_before_drop()) {
        return *made;
    }
    // What is dropped is not kept for others to lie on; of two, the state between them goes.
    const StreamInfo& first = cut.run.front();
    const Result<bool> done = cut.run.size() > 1 ? coalesce(cut.run, MergeFor::cut) : drop_oldest(first);
    if (!done.ok()) {
        Lock lock(core.mutex);
        cut_failed = true;
        return false;
    }
    if (!done.value()) {
        return false;
    }
    if (cut.is_point) {
        report_cut(first.lower_time);
    }
    return true;
}

}  // namespace predsnap
