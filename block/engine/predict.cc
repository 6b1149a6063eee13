// SPDX-License-Identifier: GPL-2.0-or-later
//
// Predictions, hints and the threshold, as the engine takes them and says what became of them.
#include <algorithm>
#include <cmath>

#include "engine_impl.h"
#include "text.h"

namespace predsnap {

namespace {

// What was gone back to is likely to be read; what is said of it in particular counts more.
constexpr float kRestored = 0.5f;
// Of 255: rather than not.
constexpr uint8_t kRather = 128;

// Chunks of which something is said to be at least that likely, in 255ths: the most likely ones, as many as can be queued.
std::vector<Prefetcher::Wish> likeliest(const ChunkTable& table, uint8_t ChunkTable::Entry::* what, uint8_t least) {
    std::vector<Prefetcher::Wish> wishes;
    table.for_each([&](const ChunkTable::Entry& entry) {
        if (entry.*what >= least) {
            wishes.push_back({entry.chunk, static_cast<float>(entry.*what) / 255});
        }
    });
    const size_t count = std::min(wishes.size(), Prefetcher::kMaxQueued);
    std::partial_sort(wishes.begin(), wishes.begin() + static_cast<ptrdiff_t>(count), wishes.end(),
                      [](const auto& a, const auto& b) { return a.score > b.score; });
    wishes.resize(count);
    return wishes;
}

// The chunks of a range of bytes, which is not empty; no more than can be queued.
void add_wishes(uint64_t offset, uint64_t length, float score, std::vector<Prefetcher::Wish>* wishes) {
    const uint64_t last = (offset + length - 1) / kChunkBytes;
    for (uint64_t chunk = offset / kChunkBytes; chunk <= last && wishes->size() < Prefetcher::kMaxQueued; ++chunk) {
        wishes->push_back({chunk, score});
    }
}

}  // namespace

// The extents ascend. Requires Core::mutex.
void Engine::Impl::wish_restored(std::span<const Extent> piece, Wishes* wishes) {
    for (const Extent& extent : piece) {
        const bool below = extent.kind == ExtentKind::hole && reader.has_backing();
        if ((!below && !extent.in_stream()) || extent.start >= kVmStateBase) {
            continue;
        }
        const uint64_t last = (std::min(extent.end(), kVmStateBase).value - 1) / kChunkSectors;
        for (uint64_t chunk = extent.start.value / kChunkSectors; chunk <= last; ++chunk) {
            if (wishes->size() >= Prefetcher::kMaxQueued) {
                return;
            }
            if (wishes->empty() || wishes->back().chunk != chunk) {
                const auto said = forecast.relevance(Sector(chunk * kChunkSectors), Staged::prefetch);
                wishes->push_back({chunk, std::max(said.value_or(kRestored), kRestored)});
            }
        }
    }
}

void Engine::set_fine(const FineOptions& options) {
    Lock lock(impl_->core.mutex);
    if (impl_->core.writable) {
        impl_->configure_fine(options);
    }
}

void Engine::Impl::configure_fine(const FineOptions& fine_options) {
    fine.configure(fine_options);
    staged_reads.configure(fine_options);
}

FineInfo Engine::fine_info() const {
    Lock lock(impl_->core.mutex);
    return impl_->fine.info();
}

Result<void> Engine::set_predictions(PredictionSet set) {
    Impl& e = *impl_;
    uint64_t size;
    bool judged;
    {
        Lock lock(e.core.mutex);
        size = e.disk.size;
        judged = !e.forecast.judging();
    }
    Result<Forecast::Prepared> prepared = Forecast::prepare(std::move(set), size, judged, e.core.host.uptime_us());
    const std::vector<Prefetcher::Wish> wishes =
        prepared.ok() ? likeliest(*prepared.value().table, &ChunkTable::Entry::read, 1) : std::vector<Prefetcher::Wish>();
    Lock lock(e.core.mutex);
    Result<void> done = prepared.ok() ? e.forecast.adopt(prepared.value(), e.disk.sequence) : Error(prepared.error());
    if (!done.ok()) {
        e.forecast.refused();
    } else if (e.fine.options().use.staging) {
        e.prefetcher.forget(FetchCause::predicted);
        e.prefetcher.want(FetchCause::predicted, wishes);
    }
    lock.unlock();  // what was replaced is freed without it
    return done;
}

Result<void> Engine::hint(const Hint& hint) {
    Lock lock(impl_->core.mutex);
    const uint64_t size = impl_->disk.size;
    if (hint.length == 0 || hint.length > size || hint.offset > size - hint.length) {
        return Error{EINVAL, text("%llu bytes at %llu are not within the disk of %llu bytes",
                                  static_cast<ull>(hint.length), static_cast<ull>(hint.offset),
                                  static_cast<ull>(size))};
    }
    if (hint.latency_us.value_or(0) < 0) {
        return Error{EINVAL, "the latency is in microseconds, and not negative"};
    }
    impl_->forecast.add_hint(hint);
    if (hint.kind == HintKind::will_read) {
        const Sector from(hint.offset / kSectorSize);
        const float score = impl_->forecast.relevance(from, Staged::prefetch).value_or(0);
        Impl::Wishes wishes;
        add_wishes(hint.offset, hint.length, score, &wishes);
        impl_->prefetcher.want(FetchCause::hinted, wishes);
    }
    return {};
}

Result<void> Engine::set_threshold(const ThresholdChange& change) {
    Lock lock(impl_->core.mutex);
    ThresholdControl& control = impl_->fine.threshold();
    ThresholdOptions options = control.options();
    if (!change.threshold) {
        options.threshold = control.value();
    }
    options.threshold = change.threshold.value_or(options.threshold);
    options.adaptive = change.adaptive.value_or(options.adaptive);
    options.min = change.min.value_or(options.min);
    options.max = change.max.value_or(options.max);
    options.target_hit_rate = change.target_hit_rate.value_or(options.target_hit_rate);
    TRY(ThresholdControl::check(options));
    control.configure(options, impl_->core.host.uptime_us());
    return {};
}

ThresholdInfo Engine::threshold_info() const {
    Lock lock(impl_->core.mutex);
    return impl_->fine.threshold().info(impl_->core.host.uptime_us());
}

Result<bool> Engine::prefetch(const Moment& moment, const std::vector<FetchRange>& parts) {
    TRY(impl_->writable());
    Impl& e = *impl_;
    TaskMutex::Guard guard(e.core.host, e.control);
    TRY_ASSIGN(const Resolved state, e.resolve(moment));
    Impl::Wishes wishes;
    for (const FetchRange& part : parts) {
        if (part.length == 0 || part.length > state.size || part.offset > state.size - part.length) {
            return Error{EINVAL, text("%llu bytes at %llu are not within the state's %llu bytes",
                                      static_cast<ull>(part.length), static_cast<ull>(part.offset),
                                      static_cast<ull>(state.size))};
        }
        add_wishes(part.offset, part.length, static_cast<float>(part.score), &wishes);
    }
    return e.stage_state(state, wishes);
}

// Queues chunks of a state for the staging cache. False if there is no room for a view, or no cache.
Result<bool> Engine::Impl::stage_state(const Resolved& state, const Wishes& wishes) {
    {
        Lock lock(core.mutex);
        if (!prefetcher.takes_views()) {
            return false;
        }
    }
    TRY_ASSIGN(std::unique_ptr<FrozenState> frozen, freeze(state));
    {
        Lock lock(core.mutex);
        frozen = prefetcher.want_of_view(std::move(frozen), wishes);
    }
    if (frozen != nullptr) {
        thaw(frozen.get());
    }
    return frozen == nullptr;
}

PrefetchInfo Engine::prefetch_info() const {
    Lock lock(impl_->core.mutex);
    return impl_->prefetcher.info();
}

PredictionInfo Engine::prediction_info() const {
    Lock lock(impl_->core.mutex);
    return impl_->forecast.info();
}

std::vector<SnapshotForecast> Engine::snapshot_forecasts() const {
    Lock lock(impl_->core.mutex);
    return impl_->forecast.snapshot_forecasts();
}

// What was predicted is ten seconds old, or a minute, and a burst that nobody foresaw is seen here at once: a prediction
// can only raise it.
double Engine::Impl::rate_ahead() { return std::max(forecast.write_rate().value_or(0), bytes_per_second); }

// What holds now, or else what the built-in rules expect, is judged until the horizon has passed; and what is likely to be
// overwritten until then is staged, so that it is logged as what differs from the snapshot. Requires `control`.
void Engine::Impl::begin_forecast(const SnapshotInfo& snapshot) {
    std::vector<std::pair<uint64_t, float>> likely;
    Forecast::Current current;
    {
        Lock lock(core.mutex);
        current = forecast.current();
        if (current.table == nullptr) {
            fine.map().for_each_likely(disk.time, [&](uint64_t chunk, float p) { likely.emplace_back(chunk, p); });
        }
    }
    const size_t chunks = current.table != nullptr ? current.table->size() : likely.size();
    ChunkTable listed(chunks + Judge::kMaxUnlisted);
    if (current.table != nullptr) {
        current.table->for_each([&](const ChunkTable::Entry& entry) {
            if (ChunkTable::Entry* const own = listed.claim(entry.chunk)) {
                *own = entry;
            }
        });
    }
    for (const auto& [chunk, p] : likely) {
        if (ChunkTable::Entry* const own = listed.claim(chunk)) {
            own->write = static_cast<uint8_t>(std::lround(p * 255));
        }
    }
    const Wishes overwritten = likeliest(listed, &ChunkTable::Entry::write, kRather);
    auto judge = std::make_unique<Judge>(std::move(listed), current.table != nullptr ? current.model : "heuristic",
                                         current.table != nullptr ? current.base : snapshot.sequence,
                                         core.host.uptime_us(), int64_t{snapshot.horizon_s} * 1'000'000);
    Lock lock(core.mutex);
    forecast.judge_snapshot(snapshot.id, std::move(judge));
    const bool wanted = fine.options().use.staging && !overwritten.empty();
    lock.unlock();
    if (wanted) {
        // If it fails, nothing is staged ahead, and the snapshot is none the worse.
        stage_state({snapshot.sequence, snapshot.time, snapshot.disk_size}, overwritten).discard().ok();
    }
}

}  // namespace predsnap
