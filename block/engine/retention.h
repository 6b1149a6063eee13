// SPDX-License-Identifier: GPL-2.0-or-later
//
// How old history is. A clock may jump; but no jump must make history look old that is not. So age is counted
// in steps, each at most a small part of the window: what is younger than the window by that count is kept, and
// where nothing happened for long, history is only kept longer.
#pragma once

#include <algorithm>

#include "types.h"

namespace predsnap {

class RetentionClock {
  public:
    static constexpr int64_t kStepsPerWindow = 8;

    void set_window(int64_t window_us) { longest_ = window_us / kStepsPerWindow + 1; }
    // What of the time between two moments counts.
    int64_t counted(Time from, Time to) const {
        // A jump may be as long as the numbers are.
        const auto elapsed = static_cast<uint64_t>(to.value) - static_cast<uint64_t>(from.value);
        return to <= from ? 0 : static_cast<int64_t>(std::min<uint64_t>(elapsed, static_cast<uint64_t>(longest_)));
    }
    void start(Time now) { last_ = now; }
    void tick(Time now) {
        age_us_ += counted(last_, now);
        last_ = now;
    }
    // Grows; only differences mean anything.
    int64_t reading() const { return age_us_; }

  private:
    Time last_;
    int64_t longest_ = 1;
    int64_t age_us_ = 0;
};

}  // namespace predsnap
