// SPDX-License-Identifier: GPL-2.0-or-later
//
// Coalescing: neighbouring streams are merged where the state between them is not kept any more. Of what both hold, only
// the older one's content is needed then. By the one background task.
//
//   1. A run of streams is chosen of which nobody uses a place but by its states. What its merged stream would hold is
//      computed from their indexes; if too little would be saved, the run is left for later: what is read and written
//      is never more than a few times what becomes free.
//   2. The merged stream is written into segments of its own, and flushed.
//   3. One batch drops the old ones and adds the new one, so a crash finds either. Views that were open read the old
//      ones until they are closed.
#include <algorithm>
#include <numeric>

#include "engine_impl.h"
#include "similarity.h"
#include "stream.h"

namespace predsnap {

namespace {

// A run is merged when it gets smaller by this part of it,
constexpr uint64_t kWorth = 4;
// or when it is of so many streams;
constexpr size_t kMany = 32;
// and no more of it at once: what is written needs space beside it.
constexpr size_t kMostStreams = 64;
constexpr size_t kMostSegments = 512;
// Of the runs that could be merged, those whose indexes are read to choose one.
constexpr size_t kLookedAt = 16;

}  // namespace

// Runs of streams between which no state is wanted, each newest first and of two at least. The oldest run comes first,
// and the oldest streams of many make one, so that new ones change the newest run only.
std::vector<Engine::Impl::StreamRun> Engine::Impl::mergeable(format::Tier tier) const {
    std::vector<StreamRun> runs;
    StreamRun run;
    size_t segments_in_run = 0;
    const auto end_run = [&] {
        if (run.size() > 1) {
            runs.emplace_back(run.rbegin(), run.rend());
        }
        run.clear();
        segments_in_run = 0;
    };
    const KeptStates kept = kept_states();
    for (size_t i = history.chain_length(); i-- > 0;) {
        const StreamInfo& stream = history.streams[i];
        if (stream.tier != tier || stream_use(stream) != StreamUse::none) {
            end_run();
            continue;
        }
        const size_t size = stream.segments.size();
        if (run.size() == kMostStreams || (run.size() > 1 && segments_in_run + size > kMostSegments) ||
            keeps(kept, stream.lower)) {
            end_run();
        }
        run.push_back(stream);
        segments_in_run += size;
    }
    end_run();
    return runs;
}

// What the merged stream holds: the content of the oldest state where any of them tells it.
Result<Engine::Impl::StreamContent> Engine::Impl::merge_streams(const StreamRun& run) {
    StreamContent content;
    ChunkSet whole;  // chunks that newer ones changed wholly: what older ones left there is gone
    uint64_t size;
    {
        Lock lock(core.mutex);
        size = history.size_at(run.back().lower);
    }
    Overlay overlay(size / kSectorSize);
    for (const StreamInfo& stream : run) {
        TRY_ASSIGN(const auto index, streams.load(stream));
        for (const format::PackedExtent& extent : index->extents) {
            overlay.add(extent);
        }
        content.after = content.after | (index->summary.changes.after() - whole);
        whole = whole | chunks_of(index->extents).whole;
        content.upper_time = &stream == &run.front() ? index->summary.upper_time : content.upper_time;
    }
    content.extents = lay_out(overlay);
    return content;
}

namespace {

uint64_t data_sectors(std::span<const StreamInfo> run) {
    return std::accumulate(run.begin(), run.end(), uint64_t{0},
                           [](uint64_t sum, const StreamInfo& stream) { return sum + stream.sectors; });
}

uint64_t largest_of(std::span<const StreamInfo> run) {
    uint64_t largest = 0;
    for (const StreamInfo& stream : run) {
        largest = std::max(largest, stream.sectors);
    }
    return largest;
}

bool worth_merging(uint64_t before, uint64_t after) {
    return before > after && before - after >= before / kWorth;
}

// Many of a kind: each is something to remember and to look up, so they are merged even if that saves nothing else.
// The merged one is many times larger than each, so no data is copied often.
bool many_alike(std::span<const StreamInfo> run, uint64_t largest) {
    return run.size() >= kMany && largest <= data_sectors(run) / 4;
}

}  // namespace

// Whether there is nothing to be saved, as far as that is known without reading the indexes.
bool Engine::Impl::not_worth_merging(const StreamRun& run) const {
    if (on_demand()) {
        return false;
    }
    const uint64_t before = data_sectors(run);
    const uint64_t largest = largest_of(run);  // the merged one is no smaller
    const auto known = std::find_if(assessed.begin(), assessed.end(),
                                    [&](const Assessed& one) { return one.oldest == run.back().id; });
    const bool much_more = known == assessed.end() || before > known->sectors + known->sectors / 8;
    return !many_alike(run, largest) && (!much_more || !worth_merging(before, largest));
}

void Engine::Impl::note_assessed(const StreamRun& run) {
    std::erase_if(assessed, [&](const Assessed& one) {
        return one.oldest == run.back().id ||
               std::none_of(history.streams.begin(), history.streams.end(),
                            [&](const StreamInfo& stream) { return stream.id == one.oldest; });
    });
    assessed.push_back({run.back().id, data_sectors(run)});
}

// Those that may be worth it, the oldest first.
std::vector<Engine::Impl::StreamRun> Engine::Impl::worthwhile_runs() {
    Lock lock(core.mutex);
    if (coalesce_failed || !coalesce_due || !segments.counted()) {
        return {};
    }
    std::vector<StreamRun> runs = mergeable(format::Tier::fast);
    std::erase_if(runs, [&](const StreamRun& run) { return not_worth_merging(run); });
    coalesce_due = !runs.empty();
    return runs;
}

// In sectors, as far as their change vectors tell.
uint64_t Engine::Impl::expected_saving(const StreamRun& run) {
    const std::pair<uint64_t, uint64_t> key{run.front().id, run.back().id};
    if (const auto known = expected.find(key); known != expected.end()) {
        return known->second;
    }
    std::vector<Changed> changed;
    for (const StreamInfo& stream : run) {
        const auto summary = streams.summary(stream);
        if (!summary.ok()) {
            return 0;  // whoever needs it will say so
        }
        changed.push_back({summary.value()->changes.changed(), stream.sectors});
    }
    const uint64_t sum = data_sectors(run);
    const uint64_t saving = sum - std::min(sum, expected_union(changed));
    expected.emplace(key, saving);
    return saving;
}

// In sectors, as their indexes tell.
uint64_t Engine::Impl::exact_saving(const StreamRun& run) {
    const std::pair<uint64_t, uint64_t> key{run.front().id, run.back().id};
    if (const auto known = exact.find(key); known != exact.end()) {
        return known->second;
    }
    const Result<StreamContent> merged = merge_streams(run);
    const uint64_t sum = data_sectors(run);
    const uint64_t saving = merged.ok() ? sum - std::min(sum, merged.value().extents.data_sectors()) : 0;
    exact.emplace(key, saving);
    return saving;
}

// The one that frees the most for what is read, among those of which the vectors let expect that; of such as free nothing,
// the smallest.
Engine::Impl::StreamRun Engine::Impl::choose_run(std::vector<StreamRun> runs) {
    if (options.merge_order == MergeOrder::age) {
        return std::move(runs.front());
    }
    if (expected.size() > 4 * runs.size() + 64) {
        expected.clear();  // most are of runs that are gone
        exact.clear();
    }
    const auto best_first = [&](const auto& saving) {
        std::vector<std::pair<double, StreamRun>> ranked;
        for (StreamRun& run : runs) {
            const auto size = static_cast<double>(data_sectors(run) + 1);
            ranked.emplace_back((static_cast<double>(saving(run)) + 1 / size) / size, std::move(run));
        }
        std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
        for (size_t i = 0; i < runs.size(); ++i) {
            runs[i] = std::move(ranked[i].second);
        }
    };
    if (options.merge_order != MergeOrder::exact) {
        best_first([&](const StreamRun& run) { return expected_saving(run); });
        runs.resize(std::min(runs.size(), kLookedAt));
    }
    if (runs.size() > 1) {
        best_first([&](const StreamRun& run) { return exact_saving(run); });
    }
    return std::move(runs.front());
}

// Whether anything may be read yet by the limit of the rate. What is too much at once is made up for by waiting.
bool Engine::Impl::within_rate() {
    constexpr int64_t kSavedUpUs = 60'000'000;
    Lock lock(core.mutex);
    if (options.coalesce_rate == 0 || on_demand()) {
        return true;
    }
    const int64_t now = core.host.uptime_us();
    const int64_t passed = std::clamp<int64_t>(now - credit_at_us, 0, kSavedUpUs);
    const double more = static_cast<double>(options.coalesce_rate) * static_cast<double>(passed) / 1e6;
    const double most = static_cast<double>(options.coalesce_rate) * kSavedUpUs / 1e6;
    coalesce_credit = static_cast<int64_t>(std::min(static_cast<double>(coalesce_credit) + more, most));
    credit_at_us = now;
    return coalesce_credit > 0;
}

void Engine::Impl::spend(const StreamRun& run) {
    coalesce_credit -= static_cast<int64_t>(std::min<uint64_t>(data_sectors(run) * kSectorSize, INT64_MAX / 2));
}

// On the slower tier the smallest: what it becomes may be merged with others later, at less cost than theirs with it.
Engine::Impl::StreamRun Engine::Impl::smallest_run(format::Tier tier) const {
    StreamRun run;
    for (StreamRun& next : mergeable(tier)) {
        if (!not_worth_merging(next) && (run.empty() || data_sectors(next) < data_sectors(run))) {
            run = std::move(next);
        }
    }
    return run;
}

bool Engine::Impl::coalesce_step() {
    std::vector<StreamRun> runs = worthwhile_runs();
    if (runs.empty() || !within_rate()) {
        return false;
    }
    if (const std::optional<bool> made = checkpoints_before_drop()) {
        return *made;
    }
    const StreamRun run = choose_run(std::move(runs));
    spend(run);
    return coalesce_run(run);
}

bool Engine::Impl::coalesce_run(const StreamRun& run) {
    const Result<bool> done = coalesce(run);
    Lock lock(core.mutex);
    if (!done.ok() || !done.value()) {
        note_assessed(run);
    }
    if (!done.ok() && run.front().on_capacity()) {
        lock.unlock();
        tiers_work_failed(done.error());
        return false;
    }
    if (!done.ok()) {
        failed_to_coalesce(done.error());
    }
    note_progress();
    return done.ok();
}

// False if it is not worth it.
Result<bool> Engine::Impl::coalesce(const StreamRun& run, MergeFor why) {
    SealedStreams sealed(*this, run.front().tier);
    {
        TRY_ASSIGN(const StreamContent merged, merge_streams(run));
        bool worth = worth_merging(data_sectors(run), merged.extents.data_sectors()) || many_alike(run, largest_of(run));
        {
            Lock lock(core.mutex);
            worth = worth || why != MergeFor::space || on_demand();
        }
        if (!worth) {
            return false;
        }
        begin_streams(&sealed);
        StreamInfo stream;
        stream.lower = run.back().lower;
        stream.lower_time = run.back().lower_time;
        stream.lower_clock = run.back().lower_clock;
        stream.lower_point = run.back().lower_point;
        stream.upper = run.front().upper;
        TRY(add_stream(merged, std::move(stream), &sealed));
        TRY(end_streams(&sealed));
    }
    // Not while a rollback or a view finds its way through them.
    TaskMutex::Guard guard(core.host, control);
    std::vector<uint8_t> records;
    {
        Lock lock(core.mutex);
        const bool cut = why == MergeFor::cut;
        if (!still_mergeable(run, cut) || (cut && !over_limit()) || !checkpoints_allow_release()) {
            return !cut;  // a rollback came first: look again
        }
        for (const StreamInfo& stream : run) {
            begin_drop(stream, &records);
        }
    }
    put_stream(records, sealed.streams.front());
    const bool merged = log.append_records(records, ExtentKind::hole, Sector(0), 0).ok();
    adopt(sealed, merged);
    Lock lock(core.mutex);
    for (const StreamInfo& stream : run) {
        end_drop(stream, merged);
        core.stats.coalesced_bytes += merged ? stream.sectors * kSectorSize : 0;
    }
    core.stats.merges += merged && run.size() > 1;
    core.stats.merged_bytes += merged ? sealed.streams.front().sectors * kSectorSize : 0;
    reclaim_due = true;
    return merged ? Result<bool>(true) : Error{EIO, "the records of a merged stream could not be written"};
}

// Nothing has happened to the streams since they were chosen that speaks against it.
bool Engine::Impl::still_mergeable(const StreamRun& run, bool cut) const {
    if (!segments.counted()) {
        return false;
    }
    const KeptStates kept = kept_states();
    for (size_t i = 0; i < run.size(); ++i) {
        const bool between = i + 1 < run.size();
        if (!still_there(run[i]) || stream_use(run[i]) != StreamUse::none ||
            (between && keeps(kept, run[i].lower) && (!cut || is_snapshot(run[i].lower)))) {
            return false;
        }
    }
    return true;
}

// It is tried again when the log has moved on by a segment; or, if the background was only paused, when it goes on.
void Engine::Impl::failed_to_coalesce(const Error& error) {
    if (error.code != ECANCELED) {
        coalesce_failed = true;
        demand.error = error.code;
    }
}

// --- on demand ---

// Segments of the log that will be dropped or sealed, and streams that will be merged.
uint64_t Engine::Impl::bytes_to_coalesce() const {
    uint64_t segments_left = 0;
    bool forced;
    if (const SegmentId last = choose_floor(&forced); last != kNoSegment) {
        segments_left += segments.log_count(last);
    }
    for (const StreamRun& run : segments.counted() ? mergeable(format::Tier::fast) : std::vector<StreamRun>()) {
        for (const StreamInfo& stream : run) {
            segments_left += stream.segments.size();
        }
    }
    return segments_left * core.geometry.segment_size + orderer.left();
}

bool Engine::Impl::order_step() {
    uint64_t moved;
    {
        Lock lock(core.mutex);
        if (!ordering() || !segments.counted()) {
            return false;
        }
        moved = core.stats.moved_bytes / core.geometry.segment_size;
    }
    const Result<void> done = orderer.step();
    Lock lock(core.mutex);
    if (!done.ok()) {
        failed_to_coalesce(done.error());
    }
    reclaim_due = reclaim_due || moved != core.stats.moved_bytes / core.geometry.segment_size || !ordering();
    clean_due = clean_due || !ordering();
    note_progress();
    return done.ok();
}

// Requires Core::mutex.
void Engine::Impl::note_progress() {
    if (on_demand()) {
        demand.left = bytes_to_coalesce();
        demand.total = std::max(demand.total, demand.left);
    }
}

// The background has nothing more to do, or cannot. Requires Core::mutex.
void Engine::Impl::end_demand() {
    if (on_demand() && !paused) {
        demand.running = false;
        demand.left = 0;
        const bool failed = floor_failed || seal_failed || coalesce_failed || learn_failed || clean_failed ||
                            checkpoint_failed || index_failed;
        if (demand.error == 0 && failed) {
            demand.error = EIO;
        }
    }
}

void Engine::begin_coalescing(std::optional<Time> until) {
    Impl& e = *impl_;
    Lock lock(e.core.mutex);
    e.demand = {until, true, false, 0, 0, 0, false};
    e.assessed.clear();
    e.tiers_failed = false;
    e.tiers_wait = 0;
    e.orderer.begin();
    e.coalesce_failed = e.seal_failed = e.learn_failed = e.materialise_failed = false;
    e.index_failed = e.checkpoint_failed = e.floor_failed = e.flush_failed = e.clean_failed = false;
    e.reclaim_due = e.clean_due = e.coalesce_due = true;
    e.note_progress();
    e.again = true;
    e.on_progress();
}

void Engine::pause_coalescing(bool paused) {
    Lock lock(impl_->core.mutex);
    impl_->demand.paused = paused;
    impl_->coalesce_due = impl_->again = true;
    impl_->on_progress();
}

void Engine::end_coalescing() {
    Lock lock(impl_->core.mutex);
    impl_->demand.running = false;
}

Engine::CoalesceStatus Engine::coalescing() const {
    Lock lock(impl_->core.mutex);
    const Impl::Demand& demand = impl_->demand;
    return {demand.running, demand.total - std::min(demand.left, demand.total), demand.total, demand.error};
}

}  // namespace predsnap
