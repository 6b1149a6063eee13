// SPDX-License-Identifier: GPL-2.0-or-later
//
// One disk's predictor: it watches the requests, learns from what came after past moments, ranks what
// comes next, and keeps account of how well that went. Everything in order of time. One thread.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <unordered_set>
#include <vector>

#include "change_forecast.h"
#include "contest.h"
#include "samples.h"

namespace predsnap::predict {

// Methods: the heuristics in their order, then the model, then a blend of all of them.
constexpr size_t kModelMethod = kHeuristics.size();
constexpr size_t kBlendMethod = kModelMethod + 1;
constexpr size_t kMethods = kBlendMethod + 1;
std::string_view method_name(size_t method);

// What was predicted at a moment for one target. All vectors have one value for each candidate.
struct Forecast {
    int64_t time_us = 0;
    Target target;
    std::vector<ChunkId> chunks;              // in order
    std::vector<bool> seen;                   // had been accessed before
    std::vector<std::vector<float>> scores;   // by method; empty: there is no model, or no blend, yet, or nobody asked
    std::vector<float> served;                // probabilities
    std::vector<float> changed;               // writes, not to be judged: share of the bytes of the next one; below 0: not known
    size_t champion = 0;                      // the method served
};

// Its outcome, once the horizon has passed.
struct Settled {
    Forecast forecast;
    std::vector<bool> came;  // of each candidate
    size_t missed = 0;       // chunks that came and were no candidates
};

class Forecaster {
  public:
    using OnSettled = std::function<void(const Settled&)>;
    struct Options {
        std::vector<Target> targets = {{Op::kWrite, 60 * kSecond}};
        int64_t sample_every_us = 20 * kSecond;
        SampleOptions samples;
        BoosterOptions booster;
        size_t chunks_max = Activity::kChunksMax;
        size_t early_rows_max = 120000;  // to judge a first model by, kept until there is one
    };
    explicit Forecaster(Options options, OnSettled on_settled = {});

    // Takes samples on the way when they are due.
    void observe(const Access& access);
    // To be called when no request came up to that time.
    void advance(int64_t now_us);

    // What is known of the host and the application at that time, which is now: of the past it is not known.
    void surround(int64_t now_us, const Surroundings& surroundings) { activity_.surround(now_us, surroundings); }

    // Trains the models of all targets anew, but for those that have too little to learn from yet.
    Result<void> train();
    // Predictions for the targets that are wanted, all if that is empty; in their order. If they are to be judged, they are
    // kept until their outcomes are known, and have the scores of all methods, else only of the one that serves.
    using Wanted = std::function<bool(const Target&)>;
    std::vector<Forecast> forecast(int64_t now_us, bool judged = true, const Wanted& wanted = {});
    // The model of a target; null: none yet.
    const Trees* model(size_t target) const { return states_[target].model ? &*states_[target].model : nullptr; }
    // Uses a model that was trained before, on requests up to that time: what came by then it is not judged
    // by. If it won then, it serves until it loses.
    void adopt(size_t target, Trees model, int64_t trained_us, bool serves);

    const Activity& activity() const { return activity_; }
    const Samples& samples() const { return samples_; }
    const ChangeForecast& changes() const { return changes_; }
    const Contest& contest(size_t target) const { return states_[target].contest; }
    const Options& options() const { return options_; }

  private:
    struct Candidates {
        std::vector<ChunkId> chunks;
        std::vector<bool> seen;
    };
    struct Pending {  // a forecast whose outcome is not known yet
        int64_t time_us = 0;
        std::shared_ptr<const Candidates> candidates;  // those of the same moment share them
        std::vector<Squeezed> scores;  // PackedScores, by method
        std::vector<bool> came;
        // Only for those who want to know of it; exact, as what is equal once it is packed need not be.
        std::vector<std::vector<float>> exact;
        std::vector<float> served;
        size_t champion = 0;
        std::unordered_set<ChunkId> missed;
    };
    struct State {
        std::optional<Trees> model;
        int64_t trained_us = kNever;  // what came by then, the model may have seen
        Contest contest{kHeuristics.size()};
        std::deque<Pending> pending;
        std::deque<Judged> early;  // the newest of early_rows_ whose outcome is known
    };
    struct EarlyRows {  // of a judged moment
        int64_t time_us = 0;
        std::vector<uint32_t> candidates;  // all, or as many of them, by chance, as there is room for
        std::vector<Squeezed> values;  // Packed24, of rows; some at a time, in order
        size_t row_count = 0;
    };
    void sample_until(int64_t now_us);
    void note(Pending& pending, const Access& access) const;
    void settle(const Target& target, State& state);
    void report(const Target& target, const Pending& pending) const;
    Result<std::optional<Trees>> fit(const TrainingRows& rows, const Target& target, int64_t now_us) const;
    Result<void> try_out(const TrainingRows& rows, const Target& target, State& state) const;
    Result<bool> train_models();
    bool any_model() const;
    void begin_early(int64_t now_us, size_t count);
    void keep_early(std::span<const float> rows, size_t first, size_t count);
    const EarlyRows* early_rows(int64_t time_us) const;
    void settle_until(int64_t now_us);
    bool asks_model(size_t target, int64_t now_us, bool judged) const;
    std::vector<Forecast> begin(const Moment& moment, const Wanted& wanted) const;
    void ask_models(const Moment& moment, bool judged, std::vector<Forecast>& forecasts);
    void complete(const Moment& moment, bool judged, Forecast& forecast) const;
    void keep(const std::vector<Forecast>& forecasts);
    size_t index_of_target(const Target& target) const;

    const Options options_;
    const OnSettled on_settled_;
    Activity activity_;
    Samples samples_;
    ChangeForecast changes_;
    std::vector<State> states_;
    std::deque<EarlyRows> early_rows_;  // while there is no model at all
    std::minstd_rand random_{1};
    int64_t next_sample_us_ = kNever;
    int64_t last_access_us_ = kNever;
    uint64_t idle_samples_ = 0;
};

}  // namespace predsnap::predict
