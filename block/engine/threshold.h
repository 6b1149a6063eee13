// SPDX-License-Identifier: GPL-2.0-or-later
//
// The threshold of relevance: what is below it is not staged. It is fixed, or a controller moves it.
//
// The controller looks at each period of at least a second in which the cache was asked often enough. While the hit rate
// is below its target, it lowers the threshold if there is room or hardly anything is replaced, and raises it if the
// cache churns: more is admitted than it can keep. Steps are in proportion to the value, and get half as large with each
// change of direction, until they are too small to matter; then the value stays until the hit rate has changed for good.
// So it does not oscillate. Where it rests though much is missed and nothing is replaced, it looks ever more rarely whether
// less would be better by now. Not synchronised: Core::mutex guards it.
#pragma once

#include <deque>

#include "prediction.h"
#include "result.h"

namespace predsnap {

class ThresholdControl {
  public:
    static constexpr int64_t kPeriodUs = 1'000'000;
    static constexpr uint64_t kLookups = 64;  // in a period, at least
    static constexpr size_t kHistory = 64;

    // Errors: EINVAL for options that contradict each other.
    static Result<void> check(const ThresholdOptions& options);
    void configure(const ThresholdOptions& options, int64_t now_us);
    const ThresholdOptions& options() const { return options_; }
    float value() const { return static_cast<float>(value_); }

    // Of the staging cache. Counters since any moment that stays the same; used and limit: now.
    struct Sample {
        uint64_t hits = 0, misses = 0, evictions = 0;
        uint64_t used_bytes = 0, limit_bytes = 0;
    };
    // Whether a period is over and it is worth it to make a sample.
    bool due(int64_t now_us) const { return now_us - period_since_us_ >= kPeriodUs || now_us < period_since_us_; }
    void observe(const Sample& sample, int64_t now_us);
    ThresholdInfo info(int64_t now_us) const;

  private:
    struct Change {
        int64_t at_us;
        double value, hit_rate, occupancy;
    };
    int direction(double occupancy, double churn) const;
    bool stays(double churn);
    void move(int direction);
    void settle();

    ThresholdOptions options_;
    double value_ = ThresholdOptions().threshold;
    int64_t period_since_us_ = 0;
    Sample before_;
    bool measured_ = false;
    double hit_rate_ = 0;         // smoothed
    double step_;
    int last_direction_ = 0;
    unsigned in_a_row_ = 0;       // steps in one direction
    double rate_at_turn_ = 0;     // the hit rate when they began
    bool settled_ = false;
    double settled_rate_ = 0;
    unsigned quiet_ = 0;          // periods in which it rested and missed
    unsigned patience_;           // how many of them until it is tried again
    std::deque<Change> history_;
    uint64_t changes_ = 0;

  public:
    ThresholdControl();
};

}  // namespace predsnap
