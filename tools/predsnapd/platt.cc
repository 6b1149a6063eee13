// SPDX-License-Identifier: GPL-2.0-or-later
#include "platt.h"

#include <algorithm>
#include <cmath>

namespace predsnap::predict {
namespace {

constexpr double kLean = 50;  // how many outcomes what is given counts for
constexpr int kSteps = 20;
constexpr double kSlopeMin = 0.2, kSlopeMax = 5, kShiftMax = 6;

double log_odds(float probability) {
    const double p = std::clamp<double>(probability, 1e-6, 1 - 1e-6);
    return std::log(p / (1 - p));
}

double from_log_odds(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

// Newton's method on the log loss plus kLean / 2 * ((slope - 1)^2 + shift^2).
Platt::Platt(std::span<const Outcome> outcomes) {
    for (int step = 0; step < kSteps; ++step) {
        double ds = kLean * (slope_ - 1), dt = kLean * shift_;  // gradient
        double ss = kLean, st = 0, tt = kLean;                  // second derivatives
        for (const Outcome& outcome : outcomes) {
            const double x = log_odds(outcome.score), p = from_log_odds(slope_ * x + shift_);
            const double off = outcome.weight * (p - (outcome.came ? 1 : 0)), bend = outcome.weight * p * (1 - p);
            ds += off * x;
            dt += off;
            ss += bend * x * x;
            st += bend * x;
            tt += bend;
        }
        const double determinant = ss * tt - st * st;
        const double slope_step = (tt * ds - st * dt) / determinant, shift_step = (ss * dt - st * ds) / determinant;
        slope_ = std::clamp(slope_ - slope_step, kSlopeMin, kSlopeMax);
        shift_ = std::clamp(shift_ - shift_step, -kShiftMax, kShiftMax);
        if (std::abs(slope_step) + std::abs(shift_step) < 1e-4) {
            break;
        }
    }
}

float Platt::operator()(float probability) const {
    return static_cast<float>(from_log_odds(slope_ * log_odds(probability) + shift_));
}

}  // namespace predsnap::predict
