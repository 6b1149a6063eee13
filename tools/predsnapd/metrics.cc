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
    double ranked = 0, came = 0;
    for (size_t i = 0; i < sorted.size();) {
        const float score = sorted[i].score;
        double group_came = 0;
        for (; i < sorted.size() && sorted[i].score == score; ++i) {
            ranked += sorted[i].weight;
            group_came += sorted[i].came ? sorted[i].weight : 0;
        }
        came += group_came;
        fn(ranked, came, group_came);
    }
}

double sum_of_came(std::span<const Outcome> outcomes) {
    double sum = 0;
    for (const Outcome& outcome : outcomes) {
        sum += outcome.came ? outcome.weight : 0;
    }
    return sum;
}

}  // namespace

double average_precision(std::vector<Outcome> outcomes, size_t missed) {
    const double total = sum_of_came(outcomes) + static_cast<double>(missed);
    if (total == 0) {
        return 0;
    }
    sort_descending(outcomes);
    double sum = 0;
    for_each_group(outcomes,
                   [&](double ranked, double came, double group_came) { sum += came / ranked * group_came; });
    return sum / total;
}

double came_within(std::span<const Outcome> sorted, double budget) {
    const double room = budget * static_cast<double>(sorted.size());
    double found = 0;
    double ranked_before = 0;
    for_each_group(sorted, [&](double ranked, double, double group_came) {
        const double group = ranked - ranked_before;
        found += group_came * std::clamp(room - ranked_before, 0.0, group) / group;
        ranked_before = ranked;
    });
    return found;
}

std::vector<CurvePoint> precision_recall(std::vector<Outcome> outcomes, size_t missed, size_t points_max) {
    const double total = sum_of_came(outcomes) + static_cast<double>(missed);
    sort_descending(outcomes);
    std::vector<CurvePoint> curve;
    double next_recall = 0;
    for_each_group(outcomes, [&](double ranked, double came, double group_came) {
        const double recall = came / std::max(total, 1.0);
        if (group_came > 0 && recall >= next_recall) {
            curve.push_back({static_cast<float>(came / ranked), static_cast<float>(recall)});
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
