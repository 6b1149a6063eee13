// SPDX-License-Identifier: GPL-2.0-or-later
//
// How well a trace can be predicted: the forecaster runs over it, past to future, and all methods are
// measured by what came.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "evaluate_system.h"
#include "forecaster.h"
#include "heat_map.h"
#include "metrics.h"

namespace predsnap::predict {

inline constexpr std::array kBudgets = {0.05, 0.10, 0.25};  // shares of the candidates

// What is measured: the methods, then what was served.
constexpr size_t kServed = kMethods;
constexpr size_t kMeasured = kMethods + 1;
std::string_view measured_name(size_t measured);

struct Quality {
    bool measured = false;
    double average_precision = 0;        // of the chunks that had been accessed before
    double average_precision_all = 0;    // of all chunks that came, those never seen before too
    double moment_precision = 0;         // mean of the single moments' average precision
    std::array<double, kBudgets.size()> recall{};
    Calibration calibration;  // only of what is served
    std::vector<CurvePoint> curve;
};

// A target's figures over one trace. Only moments count at which a model was there already; all, if there
// never was one.
struct TargetReport {
    Target target;
    size_t moments = 0;
    size_t ranked = 0;       // candidates, over all moments
    size_t came = 0;         // of them
    size_t missed = 0;       // chunks that came and were not among the candidates
    double base_rate = 0;    // of chunks accessed before
    double oracle_all = 0;   // what knowing the future gives where chunks never seen count
    std::array<double, kBudgets.size()> oracle_recall{};
    std::array<Quality, kMeasured> quality;
    std::array<size_t, kMethods> served{};  // moments that each method served
    HeatMap map;

    size_t best_heuristic() const;  // by average precision
    double ratio(size_t measured) const;  // average precision over that of the best heuristic; 0: none
};

struct TraceReport {
    std::string path;
    uint64_t requests = 0;
    double span_s = 0;
    size_t trainings = 0;
    double train_s = 0, observe_s = 0, score_s = 0;  // of this machine's time
    size_t rows = 0;                                 // that the last training learnt from
    size_t memory_bytes = 0;
    std::string lender;                              // whose models it began with; empty: nobody's
    std::vector<TargetReport> targets;
    SystemReport system;  // if that was wanted; else without policies
};

struct EvaluateOptions {
    std::vector<Target> targets = {{Op::kWrite, 60 * kSecond}, {Op::kRead, 60 * kSecond}};
    int64_t moment_every_us = 60 * kSecond;
    size_t moments_max = 2000;  // evenly over the trace
    int64_t train_every_us = 600 * kSecond;
    BoosterOptions booster;
    bool as_daemon = false;  // remembers, and learns from, no more than the daemon does
    bool map = false;  // heat maps are wanted
    std::string state;     // folder of models: begins with those of the most similar trace, leaves its own; empty: neither
    int64_t from_us = -1;  // all moments count from then on; below 0: those at which there was a model
};

Result<TraceReport> evaluate(const std::string& path, const EvaluateOptions& options);

}  // namespace predsnap::predict
