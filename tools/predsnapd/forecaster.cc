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
// Before the first model: so many moments are kept, a third of them to judge it by.
constexpr size_t kEarlyMax = 9, kEarlyShare = 3;

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
    }
    for (State& state : states_) {
        for (Pending& pending : state.pending) {
            if (pending.outcome.forecast.target.op == access.op) {
                note(pending, access);
            }
        }
    }
}

void Forecaster::note(Pending& pending, const Access& access) {
    const auto& chunks = pending.outcome.forecast.chunks;
    const ChunkId first = chunk_of(access.offset), last = last_chunk_of(access);
    auto at = std::lower_bound(chunks.begin(), chunks.end(), first);
    for (ChunkId id = first; id <= last; ++id) {
        if (at != chunks.end() && *at == id) {
            pending.outcome.came[static_cast<size_t>(at - chunks.begin())] = true;
            ++at;
        } else if (pending.missed.size() < kMissedMax) {
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
        samples_.take(Moment(activity_, next_sample_us_));
    }
}

void Forecaster::settle_until(int64_t now_us) {
    for (State& state : states_) {
        while (!state.pending.empty()) {
            const Forecast& forecast = state.pending.front().outcome.forecast;
            if (forecast.time_us + forecast.target.horizon_us >= now_us) {
                break;
            }
            settle(state);
        }
    }
}

void Forecaster::settle(State& state) {
    Settled outcome = std::move(state.pending.front().outcome);
    outcome.missed = state.pending.front().missed.size();
    state.pending.pop_front();
    if (on_settled_) {
        on_settled_(outcome);
    }
    Judged judged{outcome.forecast.time_us, std::move(outcome.forecast.scores), std::move(outcome.came)};
    state.contest.judge(judged);
    if (state.contest.due()) {
        state.contest.choose();
    }
    if (!state.model) {
        state.early.push_back(std::move(judged));
        if (state.early.size() > kEarlyMax) {
            state.early.pop_front();
        }
    }
}

// Nothing where there is too little to learn from yet.
Result<std::optional<Trees>> Forecaster::fit(const Target& target, int64_t now_us) const {
    const TrainingSet set = samples_.outcomes(target, now_us);
    if (set.rows.count() < kRowsMin || set.positives < kPositivesMin) {
        return std::optional<Trees>();
    }
    TRY_ASSIGN(Trees model, train_trees(set.rows, set.labels, set.weights, options_.booster));
    return std::optional(std::move(model));
}

// Judges a first model before it serves: by the newest of the early moments, by one trained on what came
// before them.
Result<void> Forecaster::try_out(const Target& target, State& state) const {
    const size_t count = state.early.size(), unseen = (count + kEarlyShare - 1) / kEarlyShare;
    if (unseen == 0) {
        return {};
    }
    const size_t first = count - unseen;
    TRY_ASSIGN(const std::optional<Trees> trial, fit(target, state.early[first].time_us));
    if (!trial) {
        return {};
    }
    for (size_t i = first; i < count; ++i) {
        if (const Rows* rows = early_rows(state.early[i].time_us)) {
            state.early[i].scores[kModelMethod] = trial->predict(*rows);
        }
    }
    state.contest = Contest(kHeuristics.size());
    for (const Judged& judged : state.early) {
        state.contest.judge(judged);
    }
    state.contest.choose();
    return {};
}

const Rows* Forecaster::early_rows(int64_t time_us) const {
    const auto found = std::find_if(early_rows_.begin(), early_rows_.end(),
                                    [&](const EarlyRows& early) { return early.time_us == time_us; });
    return found == early_rows_.end() ? nullptr : &found->rows;
}

void Forecaster::keep_early(int64_t now_us, const Rows& rows) {
    if (std::any_of(states_.begin(), states_.end(), [](const State& state) { return state.model.has_value(); })) {
        return;
    }
    early_rows_.push_back({now_us, rows});
    size_t count = 0;
    for (const EarlyRows& early : early_rows_) {
        count += early.rows.count();
    }
    while (early_rows_.size() > kEarlyMax || (count > options_.early_rows_max && !early_rows_.empty())) {
        count -= early_rows_.front().rows.count();
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

Result<void> Forecaster::train() {
    bool any = false;
    for (size_t i = 0; i < states_.size(); ++i) {
        TRY_ASSIGN(std::optional<Trees> model, fit(options_.targets[i], activity_.now_us()));
        if (!model) {
            continue;
        }
        if (!states_[i].model) {
            TRY(try_out(options_.targets[i], states_[i]));
            states_[i].early.clear();
        }
        states_[i].model = std::move(model);
        states_[i].trained_us = activity_.now_us();
        any = true;
    }
    if (any) {
        early_rows_.clear();  // those that learn later are judged as time goes on
    }
    return {};
}

Result<std::vector<Forecast>> Forecaster::forecast(int64_t now_us, bool judged) {
    const Moment moment(activity_, now_us);
    Rows rows{feature_names().size(), {}};
    rows.values.resize(moment.candidates().size() * rows.columns);
    for (size_t i = 0; i < moment.candidates().size(); ++i) {
        moment.features(i, std::span(rows.values).subspan(i * rows.columns, rows.columns));
    }
    if (judged) {
        keep_early(now_us, rows);
    }
    std::vector<Forecast> forecasts;
    for (size_t i = 0; i < states_.size(); ++i) {
        TRY_ASSIGN(Forecast made, forecast(moment, options_.targets[i], states_[i], rows));
        if (judged) {
            states_[i].pending.push_back({{made, std::vector<bool>(made.chunks.size()), 0}, {}});
        }
        forecasts.push_back(std::move(made));
    }
    return forecasts;
}

Result<Forecast> Forecaster::forecast(const Moment& moment, const Target& target, State& state,
                                      const Rows& rows) {
    Forecast made{.time_us = moment.now_us(), .target = target, .chunks = {}, .seen = {}, .scores = {}, .served = {}};
    for (const Candidate& candidate : moment.candidates()) {
        made.chunks.push_back(candidate.id);
        made.seen.push_back(candidate.seen());
    }
    for (const Heuristic heuristic : kHeuristics) {
        made.scores.push_back(scores(heuristic, moment, target));
    }
    made.scores.emplace_back();
    if (state.model && moment.now_us() >= state.trained_us) {
        made.scores.back() = state.model->predict(rows);
    }
    made.scores.push_back(state.contest.blended(made.scores));
    // A model serves once it has won.
    made.champion = made.scores[state.contest.champion()].empty() ? 0 : state.contest.champion();
    for (const float score : made.scores[made.champion]) {
        made.served.push_back(state.contest.probability(made.champion, score));
    }
    return made;
}

}  // namespace predsnap::predict
