// SPDX-License-Identifier: GPL-2.0-or-later
#include "forecast_teller.h"

#include <algorithm>
#include <chrono>

#include "disk_watch.h"
#include "prediction.h"

namespace predsnap::predict {
namespace {

constexpr int64_t kJudgeEvery = 60 * kSecond, kTrainEvery = 600 * kSecond;
// Models of a long past change slowly: the time between trainings grows with it.
constexpr int64_t kTrainingsPerAge = 12;
constexpr size_t kRangesMax = 16384;

Forecaster::Options options(int64_t horizon_us) {
    Forecaster::Options options = disk_options();
    options.targets = {{Op::kWrite, horizon_us}, {Op::kRead, horizon_us}};
    return options;
}

}  // namespace

ForecastTeller::ForecastTeller(replay::Source trace, bool learns, int64_t horizon_us)
    : trace_(std::move(trace)),
      learns_(learns),
      forecaster_(options(horizon_us)),
      next_judge_us_(kJudgeEvery),
      next_train_us_(kTrainEvery) {}

// What is judged, and what is learnt, at its time: with nothing that came later.
Result<void> ForecastTeller::observe_until(int64_t now_us) {
    while (true) {
        const int64_t request_us = trace_.peek() ? trace_.peek()->time_us : INT64_MAX;
        const int64_t next_us = std::min({request_us, next_judge_us_, next_train_us_});
        if (next_us > now_us || (next_us == now_us && next_us == request_us)) {
            return {};
        }
        if (next_us == next_train_us_) {
            forecaster_.advance(next_us);
            if (learns_) {
                TRY(forecaster_.train());
            }
            next_train_us_ += std::max(kTrainEvery, next_us / kTrainingsPerAge);
        } else if (next_us == next_judge_us_) {
            forecaster_.advance(next_us);
            forecaster_.forecast(next_us, true);
            next_judge_us_ += kJudgeEvery;
        } else {
            const replay::Request& request = *trace_.peek();
            forecaster_.observe({request.time_us, request.offset, request.length,
                                 request.write ? Op::kWrite : Op::kRead});
            TRY(trace_.advance());
        }
    }
}

Result<void> ForecastTeller::tell(Engine& engine, int64_t now_us) {
    const auto begin = std::chrono::steady_clock::now();
    TRY(observe_until(now_us));
    forecaster_.advance(now_us);
    const std::vector<Forecast> forecasts = forecaster_.forecast(now_us, false);
    predsnap::PredictionSet set;
    set.model = std::string(method_name(forecasts[1].champion));
    set.base = engine.info().sequence;
    set.horizon_us = forecaster_.options().targets[0].horizon_us;
    set.write_rate = forecaster_.activity().write_rate(now_us);
    for (const Prediction& told : make_predictions(forecasts[0], forecasts[1], kRangesMax)) {
        const uint64_t size = engine.size();
        if (told.offset >= size) {
            continue;  // ahead of a stream, beyond the disk's end
        }
        set.predictions.push_back({told.offset, std::min(told.length, size - told.offset),
                                   static_cast<double>(told.write), static_cast<double>(told.read),
                                   told.change < 0 ? std::nullopt : std::optional(static_cast<double>(told.change))});
    }
    ranges_told_ += set.predictions.size();
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return engine.set_predictions(std::move(set));
}

}  // namespace predsnap::predict
