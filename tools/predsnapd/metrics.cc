// SPDX-License-Identifier: GPL-2.0-or-later
#include "metrics.h"

#include <algorithm>
#include <cmath>

namespace predsnap::predict {
namespace {

void sort_descending(std::vector<Outcome>& outcomes) {
    std::sort(outcomes.begin(), outcomes.end(),
              [](const Outcome& a, const Outcome& b) { return a.score > b.score; });
}

// Calls fn(ranked so far, came so far, of the group of equal scores that came) for each such group.
template <typename Fn>
void for_each_group(std::span<const Outcome> sorted, const Fn& fn) {
    size_t ranked = 0, came = 0;
    while (ranked < sorted.size()) {
        const float score = sorted[ranked].score;
        size_t group_came = 0;
        for (; ranked < sorted.size() && sorted[ranked].score == score; ++ranked) {
            group_came += sorted[ranked].came ? 1 : 0;
        }
        came += group_came;
        fn(ranked, came, group_came);
    }
}

size_t count_came(std::span<const Outcome> outcomes) {
    return static_cast<size_t>(
        std::count_if(outcomes.begin(), outcomes.end(), [](const Outcome& outcome) { return outcome.came; }));
}

}  // namespace

double average_precision(std::vector<Outcome> outcomes, size_t missed) {
    const size_t total = count_came(outcomes) + missed;
    if (total == 0) {
        return 0;
    }
    sort_descending(outcomes);
    double sum = 0;
    for_each_group(outcomes, [&](size_t ranked, size_t came, size_t group_came) {
        sum += static_cast<double>(came) / static_cast<double>(ranked) * static_cast<double>(group_came);
    });
    return sum / static_cast<double>(total);
}

double came_within(std::span<const Outcome> sorted, double budget) {
    const double room = budget * static_cast<double>(sorted.size());
    double found = 0;
    size_t ranked_before = 0;
    for_each_group(sorted, [&](size_t ranked, size_t, size_t group_came) {
        const double group = static_cast<double>(ranked - ranked_before);
        const double fits = std::clamp(room - static_cast<double>(ranked_before), 0.0, group);
        found += static_cast<double>(group_came) * fits / group;
        ranked_before = ranked;
    });
    return found;
}

std::vector<CurvePoint> precision_recall(std::vector<Outcome> outcomes, size_t missed, size_t points_max) {
    const double total = static_cast<double>(count_came(outcomes) + missed);
    sort_descending(outcomes);
    std::vector<CurvePoint> curve;
    double next_recall = 0;
    for_each_group(outcomes, [&](size_t ranked, size_t came, size_t group_came) {
        const double recall = static_cast<double>(came) / std::max(total, 1.0);
        if (group_came > 0 && recall >= next_recall) {
            curve.push_back({static_cast<float>(static_cast<double>(came) / static_cast<double>(ranked)),
                             static_cast<float>(recall)});
            next_recall = recall + 1.0 / static_cast<double>(points_max);
        }
    });
    return curve;
}

void Calibration::add(float probability, bool came) {
    Bin& bin = bins[std::min<size_t>(static_cast<size_t>(std::clamp(probability, 0.f, 1.f) * 10), 9)];
    bin.predicted += probability;
    bin.came += came ? 1 : 0;
    ++bin.count;
    const double off = probability - (came ? 1 : 0);
    squares += off * off;
}

size_t Calibration::count() const {
    size_t count = 0;
    for (const Bin& bin : bins) {
        count += bin.count;
    }
    return count;
}

double Calibration::brier() const { return squares / std::max(1.0, static_cast<double>(count())); }

double Calibration::error() const {
    double sum = 0;
    for (const Bin& bin : bins) {
        sum += std::abs(bin.predicted - bin.came);
    }
    return sum / std::max(1.0, static_cast<double>(count()));
}

}  // namespace predsnap::predict
