// SPDX-License-Identifier: GPL-2.0-or-later
#include "sparkline.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace predsnap {
namespace {

constexpr const char* kBlocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr const char* kAscii[] = {" ", ".", ":", "-", "=", "+", "*", "%", "#"};
constexpr size_t kLevels = std::size(kBlocks) - 1;

// So many intervals are what was before, and what came after.
constexpr size_t kBefore = 12, kAfter = 2;
// A jump is to so many times what was before, and to so much of the highest rate.
constexpr double kTimes = 6, kShareOfHighest = 0.1;
// Less than this share of the highest rate counts as this much: what follows silence is no endless jump.
constexpr double kSilence = 0.002;

double mean(const std::vector<double>& rates, size_t begin, size_t end) {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) {
        sum += rates[i];
    }
    return end > begin ? sum / static_cast<double>(end - begin) : 0;
}

}  // namespace

std::string sparkline(const std::vector<double>& rates, bool unicode) {
    const double highest = rates.empty() ? 0 : *std::max_element(rates.begin(), rates.end());
    std::string line;
    for (const double rate : rates) {
        size_t level = 0;
        if (rate > 0 && highest > 0) {
            level = static_cast<size_t>(std::ceil(std::sqrt(rate / highest) * static_cast<double>(kLevels)));
        }
        line += (unicode ? kBlocks : kAscii)[std::min(level, kLevels)];
    }
    return line;
}

std::vector<Jump> find_jumps(const std::vector<double>& rates, size_t most) {
    const double highest = rates.empty() ? 0 : *std::max_element(rates.begin(), rates.end());
    std::vector<Jump> jumps;
    for (size_t at = 1; at < rates.size() && highest > 0; ++at) {
        const Jump jump{at, mean(rates, at > kBefore ? at - kBefore : 0, at), mean(rates, at, std::min(at + kAfter, rates.size()))};
        const bool rises = rates[at] >= kTimes * std::max(jump.before, kSilence * highest) && rates[at] >= kShareOfHighest * highest;
        const bool same = !jumps.empty() && at - jumps.back().at <= kAfter;  // it goes on rising
        if (rises && !same) {
            jumps.push_back(jump);
        }
    }
    // The greatest of them.
    std::stable_sort(jumps.begin(), jumps.end(), [](const Jump& a, const Jump& b) { return a.after - a.before > b.after - b.before; });
    jumps.resize(std::min(jumps.size(), most));
    std::sort(jumps.begin(), jumps.end(), [](const Jump& a, const Jump& b) { return a.at < b.at; });
    return jumps;
}

}  // namespace predsnap
