// SPDX-License-Identifier: GPL-2.0-or-later
#include "disk_watch.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "allocator.h"
#include "block/engine/text.h"
#include "cold_start.h"

namespace predsnap::predict {
namespace {

// What one disk may take of memory: see docs/prediction.md for what it comes to.
constexpr size_t kChunksMax = 16384, kRowsMax = 60000, kMomentRowsMax = 400, kEarlyRowsMax = 18000;
// Predictions that are judged are kept until their horizon has passed: so not each one is.
constexpr int64_t kJudgeEvery = 60 * kSecond;
// While there is no model: how often one of a similar disk is looked for.
constexpr int64_t kBorrowEvery = 60 * kSecond;
// What was told holds on while no more than that of it would be told otherwise.
constexpr double kChangedShare = 0.02, kRateShare = 0.5;

}  // namespace

std::vector<Target> daemon_targets() {
    std::vector<Target> targets;
    for (const int64_t horizon : {10, 60, 600}) {
        targets.push_back({Op::kWrite, horizon * kSecond});
        targets.push_back({Op::kRead, horizon * kSecond});
    }
    return targets;
}

Forecaster::Options disk_options() {
    Forecaster::Options options;
    options.targets = daemon_targets();
    options.samples = {.rows_max = kRowsMax, .moment_rows_max = kMomentRowsMax};
    options.chunks_max = kChunksMax;
    options.early_rows_max = kEarlyRowsMax;
    return options;
}

bool is_judged(const Target& target, int64_t time_us) {
    return time_us % (std::max<int64_t>(target.horizon_us / 3 / kJudgeEvery, 1) * kJudgeEvery) == 0;
}

DiskWatch::DiskWatch(DiskConfig config) : config_(std::move(config)), forecaster_(disk_options()) {}

void DiskWatch::load_models(ModelStore& store, std::vector<std::string>& messages) {
    const auto& targets = forecaster_.options().targets;
    for (size_t i = 0; i < targets.size(); ++i) {
        std::string message;
        auto loaded = store.load(config_.name, targets[i], message);
        if (!loaded.ok()) {
            message = loaded.error().message;
        } else if (loaded.value()) {
            forecaster_.adopt(i, std::move(loaded.value()->model), loaded.value()->facts.trained_us,
                              loaded.value()->facts.serves);
        }
        if (!message.empty()) {
            messages.push_back(message);
        }
    }
}

// The log put aside comes first, if there is one; then the one that is written.
Result<void> DiskWatch::open_log() {
    const std::string aside = config_.log + ".1";
    in_aside_ = !begun_ && ::access(aside.c_str(), R_OK) == 0;
    begun_ = true;
    TRY_ASSIGN(AccessLogReader reader, AccessLogReader::open(in_aside_ ? aside : config_.log));
    reader_.emplace(std::move(reader));
    return {};
}

Result<void> DiskWatch::advance(int64_t now_us) {
    // After a pause only the newest moment is worth judging.
    next_judge_us_ = std::max(next_judge_us_, now_us - now_us % kJudgeEvery - kJudgeEvery);
    while (next_judge_us_ + kJudgeEvery <= now_us) {
        next_judge_us_ += kJudgeEvery;
        forecaster_.advance(next_judge_us_);
        forecaster_.forecast(next_judge_us_, true, [&](const Target& target) {
            return is_judged(target, next_judge_us_);
        });
    }
    forecaster_.advance(now_us);
    return {};
}

Result<void> DiskWatch::observe(const AccessRecord& record) {
    if (record.op == AccessOp::kDiscard) {
        return {};
    }
    TRY(advance(record.time_us));
    const float changed = record.changed ? static_cast<float>(*record.changed) / 255 : -1;
    forecaster_.observe({record.time_us, record.offset, record.length,
                         record.op == AccessOp::kRead ? Op::kRead : Op::kWrite, changed});
    return {};
}

Result<bool> DiskWatch::catch_up(size_t records_max) {
    size_t count = 0;
    while (count < records_max) {
        if (!reader_) {
            TRY(open_log());
        }
        std::vector<AccessRecord> records;
        const uint64_t dropped_before = reader_->facts().dropped;
        const Result<bool> more = reader_->next(records);
        if (!more.ok()) {
            reader_.reset();
            return more.error();
        }
        if (!more.value()) {
            if (!in_aside_ && !reader_->rotated()) {
                return false;
            }
            reader_.reset();
            continue;
        }
        for (const AccessRecord& record : records) {
            TRY(observe(record));
        }
        count += records.size();
        records_ += records.size();
        dropped_ += reader_->facts().dropped - dropped_before;
        sequence_ = reader_->facts().sequence;
    }
    return true;
}

Result<void> DiskWatch::train() {
    Result<void> done = forecaster_.train();
    give_memory_back();
    return done;
}

Result<void> DiskWatch::save_models(ModelStore& store) const { return keep_models(store, config_.name, forecaster_); }

Result<std::string> DiskWatch::borrow_models(ModelStore& store, std::vector<std::string>& messages) {
    const int64_t now_us = forecaster_.activity().now_us();
    if (!wants_models(forecaster_) || now_us < next_borrow_us_) {
        return std::string();
    }
    next_borrow_us_ = now_us + kBorrowEvery;
    return predict::borrow_models(store, config_.name, forecaster_, messages);
}

Result<PredictionSet> DiskWatch::predict(int64_t now_us, int64_t horizon_us, size_t ranges_max) {
    const std::vector<Forecast> forecasts =
        forecaster_.forecast(now_us, false, [&](const Target& target) { return target.horizon_us == horizon_us; });
    const auto of = [&](Op op) {
        return std::find_if(forecasts.begin(), forecasts.end(), [&](const Forecast& forecast) {
            return forecast.target == Target{op, horizon_us};
        });
    };
    const auto writes = of(Op::kWrite), reads = of(Op::kRead);
    if (writes == forecasts.end() || reads == forecasts.end()) {
        return Error{EINVAL, "the horizon is 10, 60 or 600 seconds"};
    }
    PredictionSet set;
    set.model = text("predsnapd write:%.20s read:%.20s", std::string(method_name(writes->champion)).c_str(),
                     std::string(method_name(reads->champion)).c_str());
    set.base_sequence = sequence_;
    set.horizon_us = horizon_us;
    set.write_rate = forecaster_.activity().write_rate(now_us);
    set.predictions = make_predictions(*writes, *reads, ranges_max);
    return set;
}

// A set is told again before it is stale, and whenever the driver may have forgotten it for a rollback or a restart: it is
// not known here, so none is trusted for longer than half its horizon.
bool DiskWatch::worth_telling(const PredictionSet& set, int64_t now_us) const {
    const bool holds = told_us_ <= now_us && now_us - told_us_ < told_.horizon_us / 2;
    return !holds || set.horizon_us != told_.horizon_us || set.base_sequence < told_.base_sequence ||
           std::abs(set.write_rate - told_.write_rate) > kRateShare * std::max(set.write_rate, told_.write_rate) ||
           changed_share(told_.predictions, set.predictions) > kChangedShare;
}

void DiskWatch::note_told(const PredictionSet& set, int64_t now_us) {
    told_ = set;
    told_us_ = now_us;
}

}  // namespace predsnap::predict
