// SPDX-License-Identifier: GPL-2.0-or-later
#include "blend.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace predsnap::predict {
namespace {

// The plain mean weighs as much as so many outcomes that are as uncertain as can be, four times.
constexpr double kHold = 5;
constexpr float kProbabilityMin = 1e-5f;
constexpr int kSteps = 8;
constexpr double kSettled = 1e-3;  // sum of the weights' changes
constexpr double kCurvatureMin = 1e-9;

float logit(float probability) {
    const float p = std::clamp(probability, kProbabilityMin, 1 - kProbabilityMin);
    return std::log(p / (1 - p));
}

double logistic(double z) { return 1 / (1 + std::exp(-z)); }

}  // namespace

Blend::Blend(size_t inputs, std::span<const float> probabilities, std::span<const Outcome> outcomes)
    : inputs_(inputs) {
    assert(inputs > 0 && inputs <= kInputsMax && probabilities.size() == inputs * outcomes.size());
    std::fill_n(weights_.begin(), inputs, 1.0 / static_cast<double>(inputs));
    std::vector<float> logits(probabilities.size());
    std::transform(probabilities.begin(), probabilities.end(), logits.begin(), logit);
    for (int i = 0; i < kSteps && step(logits, outcomes); ++i) {
    }
}

// Newton's. False once the weights have settled.
bool Blend::step(std::span<const float> logits, std::span<const Outcome> outcomes) {
    const size_t size = inputs_ + 1;
    std::array<std::array<double, kSize>, kSize> curvature{};
    Vector slope{};
    for (size_t i = 0; i < size; ++i) {
        const double held = i < inputs_ ? 1.0 / static_cast<double>(inputs_) : 0;
        curvature[i][i] = kHold;
        slope[i] = kHold * (held - weights_[i]);
    }
    Vector input{};
    input[inputs_] = 1;
    for (size_t row = 0; row < outcomes.size(); ++row) {
        double z = weights_[inputs_];
        for (size_t i = 0; i < inputs_; ++i) {
            input[i] = static_cast<double>(logits[row * inputs_ + i]);
            z += weights_[i] * input[i];
        }
        const double p = logistic(z), weight = static_cast<double>(outcomes[row].weight);
        const double off = ((outcomes[row].came ? 1 : 0) - p) * weight;
        const double bend = p * (1 - p) * weight + kCurvatureMin;
        for (size_t i = 0; i < size; ++i) {
            slope[i] += off * input[i];
            for (size_t j = 0; j <= i; ++j) {
                curvature[i][j] += bend * input[i] * input[j];
            }
        }
    }
    // Cholesky, in place: it is symmetric, and positive for kHold's sake.
    for (size_t i = 0; i < size; ++i) {
        for (size_t j = 0; j <= i; ++j) {
            for (size_t k = 0; k < j; ++k) {
                curvature[i][j] -= curvature[i][k] * curvature[j][k];
            }
            curvature[i][j] = i == j ? std::sqrt(curvature[i][i]) : curvature[i][j] / curvature[j][j];
        }
    }
    for (size_t i = 0; i < size; ++i) {
        for (size_t k = 0; k < i; ++k) {
            slope[i] -= curvature[i][k] * slope[k];
        }
        slope[i] /= curvature[i][i];
    }
    double moved = 0;
    for (size_t i = size; i-- > 0;) {
        for (size_t k = i + 1; k < size; ++k) {
            slope[i] -= curvature[k][i] * slope[k];
        }
        slope[i] /= curvature[i][i];
        weights_[i] += slope[i];
        moved += std::abs(slope[i]);
    }
    return moved > kSettled;
}

float Blend::operator()(std::span<const float> probabilities) const {
    assert(probabilities.size() == inputs_);
    double z = weights_[inputs_];
    for (size_t i = 0; i < inputs_; ++i) {
        z += weights_[i] * static_cast<double>(logit(probabilities[i]));
    }
    return static_cast<float>(logistic(z));
}

}  // namespace predsnap::predict
