// SPDX-License-Identifier: GPL-2.0-or-later
//
// Predictions, hints and the threshold, as the engine takes them and says what became of them.
#include <cmath>

#include "engine_impl.h"
#include "text.h"

namespace predsnap {

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
    Lock lock(e.core.mutex);
    Result<void> done = prepared.ok() ? e.forecast.adopt(prepared.value(), e.disk.sequence) : Error(prepared.error());
    if (!done.ok()) {
        e.forecast.refused();
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

PredictionInfo Engine::prediction_info() const {
    Lock lock(impl_->core.mutex);
    return impl_->forecast.info();
}

std::vector<SnapshotForecast> Engine::snapshot_forecasts() const {
    Lock lock(impl_->core.mutex);
    return impl_->forecast.snapshot_forecasts();
}

double Engine::Impl::rate_ahead() { return forecast.write_rate().value_or(bytes_per_second); }

// What holds now, or else what the built-in rules expect, is judged until the horizon has passed.
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
    auto judge = std::make_unique<Judge>(std::move(listed), current.table != nullptr ? current.model : "heuristic",
                                         current.table != nullptr ? current.base : snapshot.sequence,
                                         core.host.uptime_us(), int64_t{snapshot.horizon_s} * 1'000'000);
    Lock lock(core.mutex);
    forecast.judge_snapshot(snapshot.id, std::move(judge));
}

}  // namespace predsnap
