// SPDX-License-Identifier: GPL-2.0-or-later
//
// The C API's part about predictions, hints and the threshold.
#include <utility>

#include "block/engine/prediction_table.h"
#include "block/engine/threshold.h"
#include "block/qemu/shim_engine.h"

using predsnap::engine_of;
using predsnap::finish_call;
using predsnap::Judgement;

namespace {

static_assert(static_cast<int>(predsnap::HintKind::will_read) == PDS_HINT_WILL_READ &&
              static_cast<int>(predsnap::HintKind::will_write) == PDS_HINT_WILL_WRITE &&
              static_cast<int>(predsnap::HintKind::cold) == PDS_HINT_COLD);
static_assert(PDS_PREDICTIONS_MAX == predsnap::kMaxPredictions);

PdsThreshold from_threshold(const predsnap::ThresholdOptions& from) {
    return {from.threshold, from.min, from.max, from.target_hit_rate, from.adaptive};
}

predsnap::ThresholdOptions to_threshold(const PdsThreshold& from) {
    return {from.threshold, from.adaptive, from.min, from.max, from.target_hit_rate};
}

PdsJudged from_judged(const predsnap::Judged& from) {
    return {from.predicted, from.came_true, from.used, from.expected, from.brier};
}

PdsJudgement from_judgement(const Judgement& from) {
    return {from.model.c_str(), from.base.value,  from.horizon_us,
            from.elapsed_us,    from.finished,    from.cut_short,
            from.chunks,        from_judged(from.writes), from_judged(from.reads)};
}

}  // namespace

PdsThreshold pds_threshold_default(void) { return from_threshold({}); }

int pds_set_predictions(PdsEngine* engine, const PdsPredictions* from, char** message) {
    predsnap::PredictionSet set;
    set.model = from->model;
    set.base = predsnap::Sequence(from->base);
    set.horizon_us = from->horizon_us;
    if (from->has_write_rate) {
        set.write_rate = from->write_rate;
    }
    set.predictions.reserve(from->count);
    for (size_t i = 0; i < from->count; ++i) {
        const PdsPrediction& one = from->predictions[i];
        set.predictions.push_back({one.offset, one.length, one.write, one.read,
                                   one.has_change ? std::optional(one.change) : std::nullopt});
    }
    if (from->packed != nullptr) {
        auto unpacked = predsnap::unpack_predictions({from->packed, from->packed_length}, engine_of(engine).size());
        if (!unpacked.ok()) {
            return finish_call(unpacked.error(), message);
        }
        set.predictions.insert(set.predictions.end(), unpacked.value().begin(), unpacked.value().end());
    }
    return finish_call(engine_of(engine).set_predictions(std::move(set)), message);
}

int pds_hint(PdsEngine* engine, const PdsHint* from, char** message) {
    const predsnap::Hint hint{from->offset, from->length, static_cast<predsnap::HintKind>(from->kind),
                              from->has_latency ? std::optional(from->latency_us) : std::nullopt};
    return finish_call(engine_of(engine).hint(hint), message);
}

int pds_set_threshold(PdsEngine* engine, const PdsThresholdChange* from, char** message) {
    predsnap::Engine::ThresholdChange change;
    const auto take = [](bool has, double value) { return has ? std::optional(value) : std::nullopt; };
    change.threshold = take(from->has_threshold, from->to.threshold);
    change.min = take(from->has_min, from->to.min);
    change.max = take(from->has_max, from->to.max);
    change.target_hit_rate = take(from->has_target_hit_rate, from->to.target_hit_rate);
    if (from->has_adaptive) {
        change.adaptive = from->to.adaptive;
    }
    return finish_call(engine_of(engine).set_threshold(change), message);
}

int pds_check_threshold(const PdsThreshold* threshold, char** message) {
    return finish_call(predsnap::ThresholdControl::check(to_threshold(*threshold)), message);
}

void pds_prediction_info(const PdsEngine* engine, PdsPredictionInfoFn* fn, void* opaque) {
    const predsnap::PredictionInfo from = engine_of(engine).prediction_info();
    const PdsJudgement judging = from.judging ? from_judgement(*from.judging) : PdsJudgement{};
    const PdsJudgement judged = from.judged ? from_judgement(*from.judged) : PdsJudgement{};
    PdsPredictionInfo info{};
    info.predicted = from.source == predsnap::PredictionInfo::Source::predictions;
    info.given = from.given;
    info.model = from.model.c_str();
    info.base = from.base.value;
    info.age_us = from.age_us;
    info.horizon_us = from.horizon_us;
    info.chunks = from.chunks;
    info.has_write_rate = from.write_rate.has_value();
    info.write_rate = from.write_rate.value_or(0);
    info.accepted = from.accepted;
    info.refused = from.refused;
    info.expired = from.expired;
    info.hints = from.hints;
    info.wanted_horizon_us = from.wanted_horizon_us;
    info.judging = from.judging ? &judging : nullptr;
    info.judged = from.judged ? &judged : nullptr;
    fn(opaque, &info);
}

void pds_threshold_info(const PdsEngine* engine, PdsThreshold* threshold, double* value, PdsThresholdChangedFn* fn,
                        void* opaque) {
    const predsnap::ThresholdInfo info = engine_of(engine).threshold_info();
    *threshold = from_threshold(info.options);
    *value = info.value;
    for (const predsnap::ThresholdInfo::Change& from : info.history) {
        const PdsThresholdChanged change{from.age_us, from.value, from.hit_rate, from.occupancy};
        fn(opaque, &change);
    }
}

void pds_snapshot_forecasts(const PdsEngine* engine, PdsSnapshotForecastFn* fn, void* opaque) {
    for (const predsnap::SnapshotForecast& forecast : engine_of(engine).snapshot_forecasts()) {
        const PdsJudgement judgement = from_judgement(forecast.judgement);
        fn(opaque, forecast.snapshot_id, &judgement);
    }
}
