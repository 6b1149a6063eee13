// SPDX-License-Identifier: GPL-2.0-or-later
#include "predict_ops.h"

#include "moment.h"

#include <algorithm>
#include <limits>

namespace predsnap::sim {
namespace {

double share(Random& random) { return static_cast<double>(random.below(1001)) / 1000; }

// A part of the disk, in bytes: of a Prediction or a Hint.
template <typename T>
void pick_range(World& world, T* part) {
    const uint64_t size = world.disk_sectors() * kSectorSize;
    part->offset = world.random.below(size);
    part->length = std::min(1 + world.random.skewed(size - part->offset), size - part->offset);
}

Prediction pick_prediction(World& world) {
    Random& random = world.random;
    Prediction prediction;
    pick_range(world, &prediction);
    prediction.write = share(random);
    prediction.read = share(random);
    if (random.chance(0.7)) {
        prediction.change = random.chance(0.6) ? share(random) / 5 : share(random);
    }
    return prediction;
}

// Makes nonsense of a prediction.
void spoil(World& world, Prediction& prediction) {
    switch (world.random.below(5)) {
        case 0:
            prediction.length = 0;
            break;
        case 1:
            prediction.offset = UINT64_MAX - world.random.below(4096);
            break;
        case 2:
            prediction.write = std::numeric_limits<double>::quiet_NaN();
            break;
        case 3:
            prediction.read = 1.5;
            break;
        default:
            prediction.change = -std::numeric_limits<double>::infinity();
    }
}

}  // namespace

void give_predictions(World& world) {
    Random& random = world.random;
    PredictionSet set;
    set.model = "simulated";
    const uint64_t newest = world.newest();
    set.base = Sequence(random.chance(0.7) ? newest : random.below(newest + 1));
    set.horizon_us = static_cast<int64_t>(1 + random.skewed(60'000'000));
    for (uint64_t n = random.below(40); n > 0; --n) {
        set.predictions.push_back(pick_prediction(world));
    }
    if (random.chance(0.5)) {
        set.write_rate = static_cast<double>(random.skewed(1 << 30));
    }
    bool nonsense = false;
    if (!set.predictions.empty() && random.chance(0.1)) {
        spoil(world, set.predictions[random.below(set.predictions.size())]);
        nonsense = true;
    } else if (random.chance(0.05)) {
        set.base = Sequence(newest + 1'000'000);
        nonsense = true;
    }
    const Result<void> given = world.engine->set_predictions(std::move(set));
    if (nonsense && given.ok()) {
        world.fail("predictions that make no sense were taken");
    }
    // What is too late depends on the clock, and on rollbacks.
    if (!given.ok() && !nonsense && given.error().code != ESTALE) {
        world.fail("predictions were refused: " + given.error().message);
    }
    world.coverage.hit(given.ok()  ? "predictions taken"
                       : nonsense ? "predictions refused as nonsense"
                                  : "predictions refused as late");
}

void give_hint(World& world) {
    Random& random = world.random;
    Hint hint;
    pick_range(world, &hint);
    hint.kind = static_cast<HintKind>(random.below(3));
    if (random.chance(0.3)) {
        hint.latency_us = static_cast<int64_t>(random.skewed(1'000'000));
    }
    if (!world.engine->hint(hint).ok()) {
        world.fail("a hint was refused");
    }
    world.coverage.hit("hint given");
}

void fetch_a_state(World& world) {
    const Moment moment = pick_moment(world);
    std::vector<Engine::FetchRange> parts(1 + world.random.below(4));
    for (Engine::FetchRange& part : parts) {
        pick_range(world, &part);
        part.score = share(world.random);
    }
    const FaultMark faults = world.mark();
    const Result<bool> taken = world.engine->prefetch(moment, parts);
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    if (!taken.ok()) {
        const int code = taken.error().code;
        if (!((code == ENOENT && may_be_unknown(world, moment)) || code == EINVAL)) {  // it may be a smaller disk
            world.require_excused("prefetch", taken.error(), faults);
        }
        return;
    }
    world.coverage.hit(taken.value() ? "state to be fetched" : "too many states to be fetched");
}

void change_threshold(World& world) {
    Engine::ThresholdChange change;
    change.threshold = share(world.random) * share(world.random);
    change.adaptive = world.random.chance(0.5);
    if (!world.engine->set_threshold(change).ok()) {
        world.fail("a threshold was refused");
    }
    world.coverage.hit("threshold set");
}

void note_predictions(World& world) {
    const FineInfo fine = world.engine->fine_info();
    const StagingUse& reads = fine.staging.by_purpose[1];
    world.coverage.hit("read served from the staging cache", reads.hits > 0);
    world.coverage.hit("read staged", reads.admitted > 0);
    world.coverage.hit("staged read overwritten", reads.invalidations > 0);
    world.coverage.hit("staged read evicted", reads.evictions > 0);
    const PrefetchInfo prefetch = world.engine->prefetch_info();
    world.coverage.hit("blocks fetched ahead of time", prefetch.fetched > 0);
    world.coverage.hit("fetched block used", fine.staging.by_purpose[2].used > 0);
    world.coverage.hit("fetched block overwritten", fine.staging.by_purpose[2].invalidations > 0);
    world.coverage.hit("fetching was late", prefetch.late > 0);
    world.coverage.hit("fetching failed", prefetch.failures > 0);
    world.coverage.hit("read waited for what was being fetched", prefetch.waits > 0);
    const PredictionInfo info = world.engine->prediction_info();
    world.coverage.hit("predictions hold", info.source == PredictionInfo::Source::predictions);
    world.coverage.hit("predictions expired", info.expired > 0);
    world.coverage.hit("predictions judged", info.judged.has_value());
    for (const SnapshotForecast& forecast : world.engine->snapshot_forecasts()) {
        world.coverage.hit("snapshot's forecast judged", forecast.judgement.finished);
        if (forecast.judgement.writes.came_true > forecast.judgement.writes.predicted) {
            world.fail("more predictions came true than there were");
        }
    }
}

}  // namespace predsnap::sim
