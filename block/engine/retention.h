// SPDX-License-Identifier: GPL-2.0-or-later
//
// How old history is, and which of its states are kept. Clocks jump; so age is counted in time of use: while the image
// is open, by how long this process has been running. Of the time in between only little counts, so where nothing
// happened for long, history is only kept longer.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "engine.h"
#include "types.h"

namespace predsnap {

class RetentionClock {
  public:
    void start(int64_t reading, int64_t uptime_us) {
        now_ = std::clamp<int64_t>(reading, 0, INT64_MAX / 2);  // a hostile image may say anything
        last_ = uptime_us;
    }
    void tick(int64_t uptime_us) {
        now_ += uptime_us > last_ ? uptime_us - last_ : 0;
        last_ = uptime_us;
    }
    // Microseconds of use.
    int64_t reading() const { return now_; }
    // How old what happened at that reading is.
    int64_t age(int64_t reading) const { return reading >= now_ ? 0 : now_ - std::max<int64_t>(reading, 0); }

  private:
    int64_t last_ = 0;
    int64_t now_ = 0;
};

// A state older than the window.
struct OldState {
    Sequence sequence;
    Time time;
    int64_t clock = 0;      // when it was the newest
    uint32_t point = 0;     // format::PointKind; 0: no point, only where a stream begins
    bool snapshot = false;  // kept in any case
};

// Which of the states, in order of their sequence, are kept: the rule for a state is the first that reaches back to it,
// and of the points in each of its periods the first is kept. So a state that is not kept now will not be later, and
// what a rule keeps does not change while others grow old, provided that longer periods are multiples of shorter ones.
std::vector<bool> thin(std::span<const RetentionRule> rules, std::span<const OldState> states,
                       const RetentionClock& clock);

// Errors: EINVAL, with what is wrong with them.
Result<void> check_rules(const Retention& retention);

}  // namespace predsnap
