// SPDX-License-Identifier: GPL-2.0-or-later
#include "contest.h"

#include <algorithm>
#include <cmath>

#include "metrics.h"

namespace predsnap::predict {
namespace {

// With fewer that came, chance would decide.
constexpr size_t kCameMin = 20;
// Who leads stays unless another is clearly better: changing for noise costs more than it brings.
constexpr double kChangeMin = 1.02;
// Of a probability: what tells scores apart that calibration makes equal.
constexpr float kTieShare = 0.01f;

}  // namespace

void Contest::judge(const Judged& judged) {
    const auto came = static_cast<size_t>(std::count(judged.came.begin(), judged.came.end(), true));
    const size_t others = judged.came.size() - came;
    const float share = others <= kOthersMax ? 1 : static_cast<float>(kOthersMax) / static_cast<float>(others);
    std::uniform_real_distribution<float> uniform(0, 1);
    std::vector<uint32_t> taken;
    for (uint32_t i = 0; i < judged.came.size(); ++i) {
        if (judged.came[i] || uniform(random_) < share) {
            taken.push_back(i);
        }
    }
    Kept kept{.scores = {}, .came = {}, .other_weight = 1 / share};
    for (const uint32_t i : taken) {
        kept.came.push_back(judged.came[i]);
    }
    for (const std::vector<float>& scores : judged.scores) {
        std::vector<float>& of_method = kept.scores.emplace_back();
        for (size_t i = 0; i < taken.size() && !scores.empty(); ++i) {
            of_method.push_back(scores[taken[i]]);
        }
    }
    kept_.push_back(std::move(kept));
    if (kept_.size() > kMomentsMax) {
        kept_.pop_front();
    }
}

std::vector<Outcome> Contest::outcomes(size_t method, bool with_model) const {
    std::vector<Outcome> result;
    for (const Kept& kept : kept_) {
        const std::vector<float>& scores = kept.scores[method];
        for (size_t i = 0; i < scores.size() && (!with_model || model_is_known(kept)); ++i) {
            result.push_back({scores[i], kept.came[i], kept.came[i] ? 1 : kept.other_weight});
        }
    }
    return result;
}

void Contest::choose() {
    const size_t model = standings_.size() - 1;
    const std::vector<Outcome> of_model = outcomes(model, true);
    const auto came = std::count_if(of_model.begin(), of_model.end(), [](const Outcome& o) { return o.came; });
    const bool with_model = static_cast<size_t>(came) >= kCameMin;
    size_t best = champion_;
    for (size_t method = 0; method < standings_.size(); ++method) {
        std::vector<Outcome> judged = outcomes(method, with_model);
        if (method != model) {
            calibrators_[method] = Isotonic(judged);
        }
        const bool takes_part = !judged.empty() && (method != model || with_model);
        standings_[method] = takes_part ? average_precision(std::move(judged)) : -1;
        best = standings_[method] > standings_[best] ? method : best;
    }
    if (standings_[best] > standings_[champion_] * kChangeMin) {
        champion_ = best;
    }
}

float Contest::probability(size_t method, float score) const {
    if (method + 1 == standings_.size()) {
        return score;  // the model was fitted by log loss: what it says are probabilities
    }
    const float tie = 0.5f + 0.5f * score / (1 + std::abs(score));
    return calibrators_[method](score) * (1 - kTieShare + kTieShare * tie);
}

}  // namespace predsnap::predict
