// SPDX-License-Identifier: GPL-2.0-or-later
#include "activity.h"

#include <algorithm>
#include <cstdio>

#include "show.h"
#include "terminal.h"

namespace predsnap {
namespace {

constexpr double kMicros = 1e6;
// An interval is looked at more closely until it has no more points than this.
constexpr int64_t kPointsAtOnce = 500;
constexpr size_t kCloser = 100;
constexpr int kSteps = 6;
// From the first point on that has such a share of the rate that follows, it has begun.
constexpr double kBegun = 0.3;
// Before a jump of its own the rate has fallen to such a share of the last one's.
constexpr double kOver = 0.125;

}  // namespace

JsonMap Span::arguments() const {
    JsonMap map;
    if (since_us) {
        map.set("since", *since_us);
    }
    if (until_us) {
        map.set("until", *until_us);
    }
    return map;
}

Result<ActivityChart> ActivityChart::query(Target& target, const Span& span, size_t intervals) {
    JsonMap map = span.arguments();
    map.set("intervals", intervals);
    TRY_ASSIGN(const Json answer, target.execute("predsnap-query-activity", std::move(map)));
    ActivityChart chart;
    chart.json_ = answer;
    chart.points_ = static_cast<uint64_t>(answer["points"].integer());
    chart.bytes_changed_ = static_cast<uint64_t>(answer["bytes-changed"].integer());
    chart.since_us_ = answer["since"].integer();
    chart.until_us_ = answer["until"].integer();
    const Json list = answer["intervals"];
    chart.rates_.resize(list.size());
    for (size_t i = 0; i < list.size(); ++i) {
        chart.rates_[i] = list[i]["bytes-changed"].number() * kMicros / static_cast<double>(chart.interval_us());
    }
    return chart;
}

int64_t ActivityChart::interval_us() const {
    const auto count = static_cast<int64_t>(rates_.size());
    return count == 0 ? 1 : (until_us_ - since_us_) / count + 1;
}

void ActivityChart::print(const Clock& clock) const {
    std::printf("%s\n", sparkline(rates_, terminal_is_unicode()).c_str());
    const std::string begin = show_time(since_us_, clock, true), end = show_time(until_us_, clock, true);
    const size_t used = begin.size() + end.size();
    const int gap = rates_.size() > used ? static_cast<int>(rates_.size() - used) : 1;
    std::printf("%s%*s%s\n", begin.c_str(), gap, "", end.c_str());
    const double highest = *std::max_element(rates_.begin(), rates_.end());
    std::printf("a mark is %s, the highest %s\n", show_span(interval_us()).c_str(), show_rate(highest).c_str());
}

namespace {

// Narrows an interval around an onset down to few points. `begin` lies before it, `end` after it.
Result<void> narrow(Target& target, double after, int64_t* begin, int64_t* end) {
    for (int step = 0; step < kSteps; ++step) {
        TRY_ASSIGN(const ActivityChart closer, ActivityChart::query(target, {*begin, *end}, kCloser));
        if (closer.empty() || closer.points() <= kPointsAtOnce || closer.interval_us() <= 1) {
            return {};
        }
        const auto& rates = closer.rates();
        const auto first = std::find_if(rates.begin(), rates.end(), [&](double rate) { return rate >= kBegun * after; });
        if (first == rates.end()) {
            return {};
        }
        const auto index = static_cast<int64_t>(first - rates.begin());
        const int64_t from = *begin, length = closer.interval_us();
        *begin = from + std::max<int64_t>(index - 1, 0) * length;
        *end = std::min(*end, from + (index + 1) * length);
    }
    return {};
}

Result<Onset> find_onset(Target& target, const Jump& jump, int64_t begin, int64_t end) {
    Onset onset{.time_us = begin, .before = jump.before, .after = jump.after};
    TRY(narrow(target, jump.after, &begin, &end));
    // One point more than there are between: the one before the first.
    TRY_ASSIGN(const Json points, target.execute("predsnap-query-points", JsonMap().set("since", begin).set("until", end).set("limit", 2 * kPointsAtOnce).move()));
    for (size_t i = 0; i < points.size(); ++i) {
        const int64_t time = points[i]["time"].integer(), before = i > 0 ? points[i - 1]["time"].integer() : begin;
        const double rate = points[i]["bytes-changed"].number() * kMicros / static_cast<double>(std::max<int64_t>(time - before, 1));
        if (rate >= kBegun * jump.after || i + 1 == points.size()) {
            onset.time_us = time;
            break;
        }
    }
    TRY_ASSIGN(const Json good, target.execute("predsnap-query-points", JsonMap().set("until", onset.time_us - 1).set("limit", 1).move()));
    if (good.size() > 0) {
        onset.last_good = good[0]["sequence"].integer();
        onset.last_good_us = good[0]["time"].integer();
    }
    return onset;
}

// What has begun may come in waves.
bool is_wave(const Onset& onset, const Jump& jump) {
    return jump.before > onset.before + kOver * (onset.after - onset.before);
}

}  // namespace

Result<std::vector<Onset>> find_onsets(Target& target, const ActivityChart& chart) {
    std::vector<Onset> onsets;
    for (const Jump& jump : find_jumps(chart.rates())) {
        if (!onsets.empty() && is_wave(onsets.back(), jump)) {
            continue;
        }
        const int64_t length = chart.interval_us(), at = chart.since_us() + static_cast<int64_t>(jump.at) * length;
        TRY_ASSIGN(const Onset onset, find_onset(target, jump, at - length, std::min(at + length - 1, chart.until_us())));
        onsets.push_back(onset);
    }
    return onsets;
}

std::string show_rate(double bytes_a_second) { return show_bytes(static_cast<uint64_t>(bytes_a_second)) + "/s"; }

}  // namespace predsnap
