// SPDX-License-Identifier: GPL-2.0-or-later
#include "forecaster.h"

#include <algorithm>

namespace predsnap::predict {
namespace {

// With less a model would only learn by heart.
constexpr size_t kRowsMin = 500, kPositivesMin = 30;
// When nothing happened for longer, every tenth sample is enough.
constexpr int64_t kIdle = 600 * kSecond;
constexpr uint64_t kIdleEvery = 10;
// Chunks that came and were no candidates: of more than so many it does not matter how many.
constexpr size_t kMissedMax = 1 << 16;
// Before the first model: of so many moments rows are kept, to judge it by so many of which the outcome is known.
constexpr size_t kEarlyMax = 9, kEarlyJudged = 3;
constexpr size_t kRowsAtOnce = 256;

}  // namespace

std::string_view method_name(size_t method) {
    return method == kBlendMethod ? "blend" : method == kModelMethod ? "model" : name_of(kHeuristics[method]);
}

Forecaster::Forecaster(Options options, OnSettled on_settled)
    : options_(std::move(options)),
      on_settled_(std::move(on_settled)),
      activity_(options_.chunks_max),
      samples_(options_.samples),
      states_(options_.targets.size()) {}

void Forecaster::observe(const Access& access) {
    advance(access.time_us);
    last_access_us_ = access.time_us;
    activity_.observe(access);
    if (access.length == 0) {
        return;
    }
    const ChunkId last = last_chunk_of(access);
    for (ChunkId id = chunk_of(access.offset); id <= last; ++id) {
        samples_.happened(id, access.op, access.time_us);
        if (access.op == Op::kWrite && access.changed >= 0) {
            changes_.happened(id, access.changed);
        }
    }
    for (size_t i = 0; i < states_.size(); ++i) {
        for (Pending& pending : states_[i].pending) {
            if (options_.targets[i].op == access.op) {
                note(pending, access);
            }
        }
    }
}

void Forecaster::note(Pending& pending, const Access& access) const {
    const auto& chunks = pending.candidates->chunks;
    const ChunkId first = chunk_of(access.offset), last = last_chunk_of(access);
    auto at = std::lower_bound(chunks.begin(), chunks.end(), first);
    for (ChunkId id = first; id <= last; ++id) {
        if (at != chunks.end() && *at == id) {
            pending.came[static_cast<size_t>(at - chunks.begin())] = true;
            ++at;
        } else if (on_settled_ && pending.missed.size() < kMissedMax) {
            pending.missed.insert(id);
        }
    }
}

void Forecaster::advance(int64_t now_us) {
    sample_until(now_us);
    settle_until(now_us);
}

// At multiples of the interval, each with what was known then.
void Forecaster::sample_until(int64_t now_us) {
    const int64_t every_us = options_.sample_every_us;
    if (last_access_us_ == kNever || next_sample_us_ == kNever) {
        next_sample_us_ = (now_us / every_us + 1) * every_us;
        return;
    }
    for (; next_sample_us_ <= now_us; next_sample_us_ += every_us) {
        if (next_sample_us_ - last_access_us_ > kIdle && idle_samples_++ % kIdleEvery != 0) {
            continue;
        }
        const Moment moment(activity_, next_sample_us_);
        samples_.take(moment);
        changes_.take(moment);
    }
}

void Forecaster::settle_until(int64_t now_us) {
    for (size_t i = 0; i < states_.size(); ++i) {
        const Target& target = options_.targets[i];
        auto& pending = states_[i].pending;
        while (!pending.empty() && pending.front().time_us + target.horizon_us < now_us) {
            settle(target, states_[i]);
        }
    }
}

void Forecaster::settle(const Target& target, State& state) {
    Pending pending = std::move(state.pending.front());
    state.pending.pop_front();
    if (on_settled_) {
        report(target, pending);
    }
    Judged judged{pending.time_us, {}, std::move(pending.came)};
    for (size_t method = 0; method < kMethods; ++method) {
        judged.scores.emplace_back(pending.scores[method], method >= kModelMethod);
    }
    state.contest.judge(judged);
    if (state.contest.due()) {
        state.contest.choose();
    }
    if (const EarlyRows* early = early_rows(judged.time_us)) {
        Judged some{judged.time_us, {}, {}};
        for (const PackedScores& scores : judged.scores) {
            some.scores.push_back(scores.of(early->candidates));
        }
        for (const uint32_t candidate : early->candidates) {
            some.came.push_back(judged.came[candidate]);
        }
        state.early.push_back(std::move(some));
        if (state.early.size() > kEarlyJudged) {
            state.early.pop_front();
        }
    }
}

void Forecaster::report(const Target& target, const Pending& pending) const {
    const Settled settled{.forecast = {.time_us = pending.time_us, .target = target, .chunks = pending.candidates->chunks,
                                 .seen = pending.candidates->seen, .scores = pending.exact, .served = pending.served, .changed = {},
                                 .champion = pending.champion},
                    .came = pending.came, .missed = pending.missed.size()};
    on_settled_(settled);
}

// Nothing where there is too little to learn from yet.
Result<std::optional<Trees>> Forecaster::fit(const TrainingRows& rows, const Target& target, int64_t now_us) const {
    const Outcomes outcomes = samples_.outcomes(target, now_us);
    if (outcomes.known < kRowsMin || outcomes.positives < kPositivesMin) {
        return std::optional<Trees>();
    }
    TRY_ASSIGN(Trees model, rows.train(outcomes.labels, outcomes.weights, options_.booster));
    return std::optional(std::move(model));
}

// Judges a first model before it serves: by the newest of the early moments, by one trained on what came
// before them.
Result<void> Forecaster::try_out(const TrainingRows& rows, const Target& target, State& state) const {
    if (state.early.empty()) {
        return {};
    }
    TRY_ASSIGN(const std::optional<Trees> trial, fit(rows, target, state.early.front().time_us));
    if (!trial) {
        return {};
    }
    state.contest.forget_from(state.early.front().time_us);
    for (Judged& judged : state.early) {
        if (const EarlyRows* early = early_rows(judged.time_us)) {
            Rows rows{feature_names().size(), {}};
            for (const Squeezed& some : early->values) {
                const std::vector<Packed24> values = some.values<Packed24>();
                rows.values.insert(rows.values.end(), values.begin(), values.end());
            }
            judged.scores[kModelMethod] = PackedScores(trial->predict(rows), true);
        }
        state.contest.judge(judged);
    }
    state.contest.choose();
    return {};
}

const Forecaster::EarlyRows* Forecaster::early_rows(int64_t time_us) const {
    const auto found = std::find_if(early_rows_.begin(), early_rows_.end(),
                                    [&](const EarlyRows& early) { return early.time_us == time_us; });
    return found == early_rows_.end() ? nullptr : &*found;
}

bool Forecaster::any_model() const {
    return std::any_of(states_.begin(), states_.end(), [](const State& state) { return state.model.has_value(); });
}

void Forecaster::begin_early(int64_t now_us, size_t count) {
    const double share = static_cast<double>(options_.early_rows_max / kEarlyMax) / static_cast<double>(std::max<size_t>(count, 1));
    std::uniform_real_distribution<double> uniform(0, 1);
    EarlyRows early{now_us, {}, {}, 0};
    for (uint32_t i = 0; i < count; ++i) {
        if (share >= 1 || uniform(random_) < share) {
            early.candidates.push_back(i);
        }
    }
    early_rows_.push_back(std::move(early));
    if (early_rows_.size() > kEarlyMax) {
        early_rows_.pop_front();
    }
}

void Forecaster::adopt(size_t target, Trees model, int64_t trained_us, bool serves) {
    states_[target].model = std::move(model);
    states_[target].trained_us = trained_us;
    if (serves) {
        states_[target].contest.trust(kModelMethod);
    }
}

// Of all targets, from the same rows. Whether there is any.
Result<bool> Forecaster::train_models() {
    if (samples_.row_count() < kRowsMin) {
        return false;
    }
    TRY_ASSIGN(const TrainingRows rows, samples_.rows(options_.booster.threads));
    bool any = false;
    for (size_t i = 0; i < states_.size(); ++i) {
        TRY_ASSIGN(std::optional<Trees> model, fit(rows, options_.targets[i], activity_.now_us()));
        if (!model) {
            continue;
        }
        if (!states_[i].model) {
            TRY(try_out(rows, options_.targets[i], states_[i]));
            states_[i].early.clear();
        }
        states_[i].model = std::move(model);
        states_[i].trained_us = activity_.now_us();
        any = true;
    }
    return any;
}

Result<void> Forecaster::train() {
    TRY_ASSIGN(const bool any, train_models());
    TRY(changes_.train(options_.booster));
    if (any) {  // those that learn later are judged as time goes on
        early_rows_.clear();
        for (State& state : states_) {
            state.early.clear();
        }
    }
    return {};
}

// --- what comes next ---

size_t Forecaster::index_of_target(const Target& target) const {
    const auto& targets = options_.targets;
    return static_cast<size_t>(std::find(targets.begin(), targets.end(), target) - targets.begin());
}

std::vector<Forecast> Forecaster::begin(const Moment& moment, const Wanted& wanted) const {
    std::vector<ChunkId> chunks;
    std::vector<bool> seen;
    for (const Candidate& candidate : moment.candidates()) {
        chunks.push_back(candidate.id);
        seen.push_back(candidate.seen());
    }
    std::vector<Forecast> forecasts;
    for (const Target& target : options_.targets) {
        if (!wanted || wanted(target)) {
            forecasts.push_back({.time_us = moment.now_us(), .target = target, .chunks = chunks, .seen = seen,
                                 .scores = std::vector<std::vector<float>>(kMethods), .served = {}, .changed = {}});
        }
    }
    return forecasts;
}

// Whether what the model says is known at all, and anybody's business.
bool Forecaster::asks_model(size_t target, int64_t now_us, bool judged) const {
    const State& state = states_[target];
    return state.model && now_us >= state.trained_us && (judged || state.contest.champion() >= kModelMethod);
}

// A few rows at a time go through all models, while they are in the processor's cache.
void Forecaster::ask_models(const Moment& moment, bool judged, std::vector<Forecast>& forecasts) {
    const size_t columns = feature_names().size(), count = moment.candidates().size();
    const bool keeps = judged && !any_model();
    std::vector<std::pair<const Trees*, float*>> asked;
    for (Forecast& forecast : forecasts) {
        const size_t target = index_of_target(forecast.target);
        if (asks_model(target, moment.now_us(), judged)) {
            forecast.scores[kModelMethod].resize(count);
            asked.emplace_back(&*states_[target].model, forecast.scores[kModelMethod].data());
        }
    }
    if (asked.empty() && !keeps) {
        return;
    }
    if (keeps) {
        begin_early(moment.now_us(), count);
    }
    std::vector<float> rows(kRowsAtOnce * columns);
    for (size_t first = 0; first < count; first += kRowsAtOnce) {
        const size_t here = std::min(kRowsAtOnce, count - first);
        for (size_t i = 0; i < here; ++i) {
            moment.features(first + i, std::span(rows).subspan(i * columns, columns));
        }
        for (const auto& [trees, scores] : asked) {
            trees->predict(rows.data(), here, scores + first);
        }
        if (keeps) {
            keep_early(rows, first, here);
        }
    }
}

// Of those rows, which are of candidates from `first` on.
void Forecaster::keep_early(std::span<const float> rows, size_t first, size_t count) {
    EarlyRows& early = early_rows_.back();
    const size_t columns = feature_names().size();
    std::vector<Packed24> values;
    for (; early.row_count < early.candidates.size(); ++early.row_count) {
        const size_t candidate = early.candidates[early.row_count];
        if (candidate >= first + count) {
            break;
        }
        const std::span<const float> row = rows.subspan((candidate - first) * columns, columns);
        values.insert(values.end(), row.begin(), row.end());
    }
    if (!values.empty()) {
        early.values.emplace_back(std::span<const Packed24>(values), columns * sizeof(Packed24));
    }
}

// All other methods, as far as they are needed; and what is served.
void Forecaster::complete(const Moment& moment, bool judged, Forecast& forecast) const {
    const Contest& contest = states_[index_of_target(forecast.target)].contest;
    const bool blends = judged || contest.champion() == kBlendMethod;
    for (size_t method = 0; method < kHeuristics.size(); ++method) {
        if (blends || method == contest.champion()) {
            forecast.scores[method] = scores(kHeuristics[method], moment, forecast.target);
        }
    }
    if (blends) {
        forecast.scores[kBlendMethod] = contest.blended(forecast.scores);
    }
    // A model serves once it has won.
    forecast.champion = contest.champion();
    if (forecast.scores[forecast.champion].empty()) {
        forecast.champion = 0;
        forecast.scores[0] = scores(kHeuristics[0], moment, forecast.target);
    }
    if (forecast.champion < kModelMethod && !contest.calibrated(forecast.champion)) {
        forecast.champion = static_cast<size_t>(Heuristic::kRecency);
        forecast.served = unjudged_probabilities(moment, forecast.target);
        return;
    }
    for (const float score : forecast.scores[forecast.champion]) {
        forecast.served.push_back(contest.probability(forecast.champion, score));
    }
}

void Forecaster::keep(const std::vector<Forecast>& forecasts) {
    std::shared_ptr<const Candidates> candidates;
    for (const Forecast& forecast : forecasts) {
        if (!candidates) {
            candidates = std::make_shared<Candidates>(Candidates{forecast.chunks, forecast.seen});
        }
        Pending pending;
        pending.time_us = forecast.time_us;
        pending.candidates = candidates;
        for (size_t method = 0; method < kMethods; ++method) {
            pending.scores.push_back(PackedScores(forecast.scores[method], method >= kModelMethod).squeezed());
        }
        pending.came.resize(forecast.chunks.size());
        pending.champion = forecast.champion;
        if (on_settled_) {
            pending.exact = forecast.scores;
            pending.served = forecast.served;
        }
        states_[index_of_target(forecast.target)].pending.push_back(std::move(pending));
    }
}

std::vector<Forecast> Forecaster::forecast(int64_t now_us, bool judged, const Wanted& wanted) {
    const Moment moment(activity_, now_us);
    std::vector<Forecast> forecasts = begin(moment, wanted);
    ask_models(moment, judged, forecasts);
    for (Forecast& forecast : forecasts) {
        complete(moment, judged, forecast);
    }
    if (judged) {
        keep(forecasts);
        return forecasts;
    }
    for (Forecast& forecast : forecasts) {
        if (forecast.target.op == Op::kWrite) {
            forecast.changed = changes_.shares(moment);
        }
    }
    return forecasts;
}

}  // namespace predsnap::predict
