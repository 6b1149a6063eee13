// SPDX-License-Identifier: GPL-2.0-or-later
#include "threshold.h"

#include <algorithm>
#include <cmath>

#include "text.h"

namespace predsnap {

namespace {

constexpr double kFirstStep = 0.35;  // of the logarithm
constexpr double kLastStep = 0.03;
constexpr double kNear = 0.02;       // to the target
constexpr double kRoom = 0.9;        // occupancy below which there is room
constexpr double kChurn = 0.05;      // share of the cache replaced in a period
constexpr double kStill = 0.005;
constexpr double kLoadChanged = 0.1; // of the hit rate
constexpr unsigned kInVain = 12;     // steps in one direction that made nothing better
constexpr double kSmoothing = 0.5;
constexpr double kTrialStep = 0.1;
constexpr double kFaster = 1.2;      // steps in a row that help
constexpr unsigned kFirstPatience = 30, kMostPatience = 3600;  // periods

bool is_share(double value) { return value >= 0 && value <= 1; }

}  // namespace

ThresholdControl::ThresholdControl() : step_(kFirstStep), patience_(kFirstPatience) {}

Result<void> ThresholdControl::check(const ThresholdOptions& options) {
    if (!is_share(options.threshold) || !is_share(options.min) || !is_share(options.max) ||
        !is_share(options.target_hit_rate)) {
        return Error{EINVAL, "threshold, min, max and target-hit-rate are from 0 to 1"};
    }
    if (options.adaptive && options.min > options.max) {
        return Error{EINVAL, text("min, %g, is above max, %g", options.min, options.max)};
    }
    return {};
}

void ThresholdControl::configure(const ThresholdOptions& options, int64_t now_us) {
    options_ = options;
    value_ = options.adaptive ? std::clamp(options.threshold, options.min, options.max) : options.threshold;
    period_since_us_ = now_us;
    step_ = kFirstStep;
    last_direction_ = 0;
    in_a_row_ = 0;
    quiet_ = 0;
    patience_ = kFirstPatience;
    measured_ = settled_ = false;
    history_.push_back({now_us, value_, 0, 0});
}

// Up or down, or neither.
int ThresholdControl::direction(double occupancy, double churn) const {
    if (hit_rate_ >= options_.target_hit_rate - kNear) {
        return 0;
    }
    if (churn > kChurn) {
        return 1;
    }
    return occupancy < kRoom || churn < kStill ? -1 : 0;
}

void ThresholdControl::settle() {
    const bool helped = hit_rate_ > settled_rate_ + kLoadChanged;
    patience_ = helped ? kFirstPatience : patience_;
    quiet_ = 0;
    settled_ = true;
    settled_rate_ = hit_rate_;
}

// Whether a value that has settled is left alone.
bool ThresholdControl::stays(double churn) {
    const bool changed = std::abs(hit_rate_ - settled_rate_) >= kLoadChanged;
    quiet_ = hit_rate_ < options_.target_hit_rate - kNear && churn < kStill ? quiet_ + 1 : 0;
    if (!changed && quiet_ < patience_) {
        return true;
    }
    patience_ = changed ? kFirstPatience : std::min(2 * patience_, kMostPatience);
    step_ = changed ? kFirstStep : kTrialStep;
    last_direction_ = 0;
    settled_ = false;
    return false;
}

void ThresholdControl::move(int direction) {
    if (direction != last_direction_) {
        step_ = last_direction_ != 0 ? step_ / 2 : step_;
        last_direction_ = direction;
        in_a_row_ = 0;
        rate_at_turn_ = hit_rate_;
    } else if (hit_rate_ > rate_at_turn_ + kNear) {
        step_ = std::min(step_ * kFaster, kFirstStep);
    }
    if (step_ < kLastStep || (++in_a_row_ > kInVain && hit_rate_ <= rate_at_turn_ + kNear)) {
        settle();
        return;
    }
    // From nothing one can go up, too.
    value_ = std::clamp(std::max(value_, 1e-4) * std::exp(direction * step_), options_.min, options_.max);
}

void ThresholdControl::observe(const Sample& sample, int64_t now_us) {
    const uint64_t hits = sample.hits - before_.hits, lookups = hits + sample.misses - before_.misses;
    if (!due(now_us) || lookups < kLookups || sample.limit_bytes == 0) {
        return;
    }
    const double rate = static_cast<double>(hits) / static_cast<double>(lookups);
    hit_rate_ = measured_ ? hit_rate_ + kSmoothing * (rate - hit_rate_) : rate;
    const double blocks = static_cast<double>(sample.limit_bytes) / kBlockSize;
    const double churn = static_cast<double>(sample.evictions - before_.evictions) / blocks;
    const double occupancy = static_cast<double>(sample.used_bytes) / static_cast<double>(sample.limit_bytes);
    const bool first = !measured_;
    before_ = sample;
    period_since_us_ = now_us;
    measured_ = true;
    if (!options_.adaptive || first) {
        return;
    }
    if (settled_ && stays(churn)) {
        return;
    }
    const double before = value_;
    if (const int where = direction(occupancy, churn)) {
        move(where);
    } else if (last_direction_ != 0 && hit_rate_ >= options_.target_hit_rate - kNear) {
        settle();
    }
    if (value_ != before) {
        ++changes_;
        history_.push_back({now_us, value_, hit_rate_, occupancy});
        if (history_.size() > kHistory) {
            history_.pop_front();
        }
    }
}

ThresholdInfo ThresholdControl::info(int64_t now_us) const {
    ThresholdInfo info{options_, value_, {}, changes_};
    for (const Change& change : history_) {
        info.history.push_back({now_us - change.at_us, change.value, change.hit_rate, change.occupancy});
    }
    return info;
}

}  // namespace predsnap
