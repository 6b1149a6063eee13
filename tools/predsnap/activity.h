// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much changed when, as predsnap-query-activity says it, and what can be seen in it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sparkline.h"
#include "target.h"
#include "times.h"

namespace predsnap {

struct Span {
    std::optional<int64_t> since_us, until_us;

    // "since" and "until", as far as they are given.
    JsonMap arguments() const;
};

class ActivityChart {
  public:
    // Over as many intervals. Errors: QEMU's.
    static Result<ActivityChart> query(Target& target, const Span& span, size_t intervals);

    bool empty() const { return rates_.empty() || points_ == 0; }
    uint64_t points() const { return points_; }
    uint64_t bytes_changed() const { return bytes_changed_; }
    int64_t since_us() const { return since_us_; }
    int64_t until_us() const { return until_us_; }
    // Of each interval, in microseconds; at least one.
    int64_t interval_us() const;
    const std::vector<double>& rates() const { return rates_; }  // bytes a second
    const Json& json() const { return json_; }

    // Two lines: marks, and times below them.
    void print(const Clock& clock) const;

  private:
    Json json_;
    uint64_t points_ = 0, bytes_changed_ = 0;
    int64_t since_us_ = 0, until_us_ = 0;
    std::vector<double> rates_;
};

// Where the rate of change jumps, to the point.
struct Onset {
    int64_t time_us = 0;                // of the first point of the higher rate
    double before = 0, after = 0;       // bytes a second
    std::optional<int64_t> last_good = {};  // sequence number of the point before it
    int64_t last_good_us = 0;           // and its time
};
Result<std::vector<Onset>> find_onsets(Target& target, const ActivityChart& chart);

// "12 KiB/s"
std::string show_rate(double bytes_a_second);

}  // namespace predsnap
