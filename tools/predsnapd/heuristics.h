// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a model has to beat, and what serves while there is none: rules without any learning.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "moment.h"

namespace predsnap::predict {

enum class Heuristic : uint8_t {
    kRecency,     // what was touched last
    kFrequency,   // requests, fading within ten minutes
    kLastWindow,  // what was touched within the last horizon, in how many windows of ten seconds
    kSuccessor,   // what used to come after what came lately
};
inline constexpr std::array kHeuristics = {Heuristic::kRecency, Heuristic::kFrequency, Heuristic::kLastWindow,
                                    Heuristic::kSuccessor};
std::string_view name_of(Heuristic heuristic);

// What is predicted: that a chunk is read, or written, within so long a time from now on.
struct Target {
    Op op = Op::kWrite;
    int64_t horizon_us = 60 * kSecond;
    bool operator==(const Target&) const = default;
};
constexpr int64_t kHorizonMax = 600 * kSecond;

// Probabilities in the order of recency, for when nothing was judged yet. A chunk whose last access is a time t ago, of which
// nothing else is known (not even on what scale its accesses come), has one within the next h with probability h / (h + t);
// their sum is made what came back within the last h, as as much is likely to come back within the next.
std::vector<float> unjudged_probabilities(const Moment& moment, const Target& target);

// One value for each candidate, higher where it is likelier. Not probabilities.
std::vector<float> scores(Heuristic heuristic, const Moment& moment, const Target& target);

}  // namespace predsnap::predict
