// SPDX-License-Identifier: GPL-2.0-or-later
#include "contest.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "metrics.h"

namespace predsnap::predict {
namespace {

// With fewer that came, chance would decide.
constexpr size_t kCameMin = 20;
// So many moments are kept, or as many as it takes for so many to come, but no more than there is room for.
constexpr size_t kMomentsMin = 40, kMomentsMax = 600;
constexpr size_t kCameWanted = 1000;
// Of a moment, that came: at most so many, by chance; on a busy disk most do. That did not come: so many for each that did,
// within bounds.
constexpr size_t kCameMax = 400;
constexpr size_t kOthersForOne = 40, kOthersMin = 125, kOthersMax = 600;
constexpr size_t kOutcomesMax = 40000;
static_assert(kMomentsMin * (kCameMax + kOthersMax) <= kOutcomesMax, "what is kept is bounded, whatever comes");
// Who leads stays unless another is clearly better: changing for noise costs more than it brings.
constexpr double kChangeMin = 1.02;
// A model serves alone if it is so much better than all rules, by so many outcomes; and until it is no better.
constexpr double kModelLead = 1.05;
constexpr size_t kCameSure = 1000;
// What is blended does not serve if a rule alone is so much better, by so many.
constexpr double kRuleLead = 1.1;
constexpr size_t kCameEnough = 300;
// With some moments behind it, it is chosen anew after so many.
constexpr size_t kFewMoments = 12, kChooseEvery = 4;
// Of a probability: what tells scores apart that calibration makes equal.
constexpr float kTieShare = 0.01f;

// Of one that was taken for some of its kind.
float weight_of(size_t all, size_t taken) {
    return taken == 0 ? 1 : static_cast<float>(all) / static_cast<float>(taken);
}

}  // namespace

// So many of them, by chance: exactly, so that what is kept never exceeds its bound.
std::vector<uint32_t> Contest::some_of(std::span<const uint32_t> candidates, size_t room) {
    std::vector<uint32_t> taken;
    std::sample(candidates.begin(), candidates.end(), std::back_inserter(taken), room, random_);
    return taken;
}

void Contest::judge(const Judged& judged) {
    std::vector<uint32_t> came, others;
    for (uint32_t i = 0; i < judged.came.size(); ++i) {
        (judged.came[i] ? came : others).push_back(i);
    }
    const std::vector<uint32_t> taken_came = some_of(came, kCameMax);
    const std::vector<uint32_t> taken_others =
        some_of(others, std::clamp(came.size() * kOthersForOne, kOthersMin, kOthersMax));
    Kept kept{.time_us = judged.time_us,
              .scores = {},
              .came = {},
              .came_count = taken_came.size(),
              .came_weight = weight_of(came.size(), taken_came.size()),
              .other_weight = weight_of(others.size(), taken_others.size())};
    std::vector<uint32_t> taken;
    std::merge(taken_came.begin(), taken_came.end(), taken_others.begin(), taken_others.end(), std::back_inserter(taken));
    for (const uint32_t i : taken) {
        kept.came.push_back(judged.came[i]);
    }
    for (const PackedScores& scores : judged.scores) {
        kept.scores.push_back(scores.of(taken).squeezed());
    }
    ++judged_;
    kept_came_ += kept.came_count;
    kept_outcomes_ += taken.size();
    kept_.push_back(std::move(kept));
    forget();
}

void Contest::forget_from(int64_t time_us) {
    while (!kept_.empty() && kept_.back().time_us >= time_us) {
        kept_came_ -= kept_.back().came_count;
        kept_outcomes_ -= kept_.back().came.size();
        kept_.pop_back();
    }
}

bool Contest::due() const { return judged_ < kFewMoments || judged_ % kChooseEvery == 0; }

void Contest::forget() {
    while (kept_.size() > kMomentsMin &&
           (kept_.size() > kMomentsMax || kept_outcomes_ > kOutcomesMax ||
            kept_came_ - kept_.front().came_count >= kCameWanted)) {
        kept_came_ -= kept_.front().came_count;
        kept_outcomes_ -= kept_.front().came.size();
        kept_.pop_front();
    }
}

bool Contest::counts(const Kept& kept, Filter filter) const {
    return (!filter.with_model || !kept.scores[model()].empty()) && (!filter.with_blend || !kept.scores[blend()].empty());
}

size_t Contest::came(Filter filter) const {
    size_t came = 0;
    for (const Kept& kept : kept_) {
        came += counts(kept, filter) ? kept.came_count : 0;
    }
    return came;
}

PackedScores Contest::scores_of(const Kept& kept, size_t method) const {
    return {kept.scores[method], method >= rules_};  // what is no rule says probabilities
}

// Nothing of moments that the method did not rank.
std::vector<Outcome> Contest::outcomes(size_t method, Filter filter) const {
    std::vector<Outcome> result;
    for (const Kept& kept : kept_) {
        if (!counts(kept, filter)) {
            continue;
        }
        const PackedScores scores = scores_of(kept, method);
        for (size_t i = 0; i < scores.size(); ++i) {
            result.push_back({scores[i], kept.came[i], kept.weight(i)});
        }
    }
    return result;
}

void Contest::choose() {
    Filter filter{.with_model = came({.with_model = true}) >= kCameMin};
    for (size_t rule = 0; rule < rules_; ++rule) {
        calibrators_[rule] = Isotonic(outcomes(rule, filter));
    }
    fit_blend(filter);
    filter.with_blend = came({filter.with_model, true}) >= kCameMin;
    for (size_t method = 0; method < standings_.size(); ++method) {
        const bool takes_part = method < model() || (method == model() ? filter.with_model : filter.with_blend);
        std::vector<Outcome> judged = takes_part ? outcomes(method, filter) : std::vector<Outcome>();
        standings_[method] = judged.empty() ? -1 : average_precision(std::move(judged));
    }
    champion_ = winner();
}

void Contest::fit_blend(Filter filter) {
    blend_ = {};
    if (came(filter) < kCameMin) {
        return;
    }
    const size_t inputs = rules_ + (filter.with_model ? 1 : 0);
    std::vector<float> said;
    std::vector<Outcome> came;
    for (const Kept& kept : kept_) {
        if (!counts(kept, filter)) {
            continue;
        }
        std::vector<PackedScores> scores;
        for (size_t input = 0; input < inputs; ++input) {
            scores.push_back(scores_of(kept, input));
        }
        for (size_t i = 0; i < kept.came.size(); ++i) {
            for (size_t input = 0; input < inputs; ++input) {
                said.push_back(probability(input, scores[input][i]));
            }
            came.push_back({0, kept.came[i], kept.weight(i)});
        }
    }
    blend_ = Blend(inputs, said, came);
}

size_t Contest::best_rule() const {
    const auto end = standings_.begin() + static_cast<ptrdiff_t>(rules_);
    return static_cast<size_t>(std::max_element(standings_.begin(), end) - standings_.begin());
}

size_t Contest::winner() const {
    const double rule = standings_[best_rule()], of_model = standings_[model()], of_blend = standings_[blend()];
    const bool stays = champion_ == model() && (of_model < 0 || of_model >= rule);  // not judged: nothing speaks against it
    if (stays || (of_model > rule * kModelLead && came({.with_model = true}) >= kCameSure)) {
        return model();
    }
    const bool beaten = of_blend >= 0 && rule > of_blend * kRuleLead && came({.with_blend = true}) >= kCameEnough;
    if (blend_.fitted() && !beaten) {
        return blend();
    }
    const bool keeps = champion_ < rules_ && rule <= standings_[champion_] * kChangeMin;
    return keeps ? champion_ : best_rule();
}

std::vector<float> Contest::blended(std::span<const std::vector<float>> scores) const {
    if (!blend_.fitted() || (blend_.inputs() > rules_ && scores[model()].empty())) {
        return {};
    }
    std::vector<float> result;
    std::vector<float> said(blend_.inputs());
    for (size_t i = 0; i < scores[0].size(); ++i) {
        for (size_t input = 0; input < said.size(); ++input) {
            said[input] = probability(input, scores[input][i]);
        }
        result.push_back(blend_(said));
    }
    return result;
}

float Contest::probability(size_t method, float score) const {
    if (method >= rules_) {
        return score;  // fitted by log loss: what is said are probabilities
    }
    const float tie = score < 0 ? 0.5f / (1 - score) : 1 - 0.5f / (1 + score);
    if (!calibrators_[method].fitted()) {
        return kTieShare * tie;  // the order is all that is known
    }
    return calibrators_[method](score) * (1 - kTieShare + kTieShare * tie);
}

}  // namespace predsnap::predict
