// SPDX-License-Identifier: GPL-2.0-or-later
//
// How good a ranking was, once it is known what came.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "isotonic.h"

namespace predsnap::predict {

// Mean of the precision at each outcome that came, equal scores taken together. `missed`: outcomes that
// came and were not ranked at all. 0 without any that came.
double average_precision(std::vector<Outcome> outcomes, size_t missed = 0);

// Of what came, the share among the best `budget` (0 to 1) of all ranked; of equal scores that do not all
// fit, as many as chance would take.
double came_within(std::span<const Outcome> sorted_descending, double budget);

struct CurvePoint {
    float precision = 0, recall = 0;
};
std::vector<CurvePoint> precision_recall(std::vector<Outcome> outcomes, size_t missed, size_t points_max);

// Predicted probabilities in ten equal ranges beside what came.
struct Calibration {
    struct Bin {
        double predicted = 0, came = 0;  // sums
        size_t count = 0;
    };
    std::array<Bin, 10> bins;
    double squares = 0;

    void add(float probability, bool came);
    size_t count() const;
    double brier() const;
    // Mean distance of predicted from observed, weighted by count.
    double error() const;
};

}  // namespace predsnap::predict
