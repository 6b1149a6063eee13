// SPDX-License-Identifier: GPL-2.0-or-later
#include "contest.h"

#include <algorithm>

#include "metrics.h"

namespace predsnap::predict {
namespace {

// A method that was judged on less than half of what others were is not comparable.
constexpr size_t kShareMin = 2;
// Who leads stays unless another is clearly better: changing for noise costs more than it brings.
constexpr double kChangeMin = 1.02;

}  // namespace

// Moments when nothing came tell which is best of nothing, but they count for calibration.
void Contest::judge(Judged judged) {
    if (judged.came.empty()) {
        return;
    }
    ranked_ += judged.came.size();
    kept_.push_back(std::move(judged));
    while (kept_.size() > kMomentsMax || (ranked_ > kRankedMax && kept_.size() > 1)) {
        ranked_ -= kept_.front().came.size();
        kept_.pop_front();
    }
}

std::vector<Outcome> Contest::outcomes(size_t method) const {
    std::vector<Outcome> result;
    for (const Judged& judged : kept_) {
        const std::vector<float>& scores = judged.scores[method];
        for (size_t i = 0; i < scores.size(); ++i) {
            result.push_back({scores[i], judged.came[i]});
        }
    }
    return result;
}

void Contest::choose() {
    size_t best = champion_;
    for (size_t method = 0; method < standings_.size(); ++method) {
        std::vector<Outcome> judged = outcomes(method);
        standings_[method] = -1;
        if (judged.empty() || judged.size() < ranked_ / kShareMin) {
            continue;
        }
        calibrators_[method] = Isotonic(judged);
        standings_[method] = average_precision(std::move(judged));
        best = standings_[method] > standings_[best] ? method : best;
    }
    if (standings_[best] > standings_[champion_] * kChangeMin) {
        champion_ = best;
    }
}

}  // namespace predsnap::predict
