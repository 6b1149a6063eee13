// SPDX-License-Identifier: GPL-2.0-or-later
#include "heuristics.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace predsnap::predict {
namespace {

constexpr float kLongAgo = -1e12f;

float score(Heuristic heuristic, const Chunk& chunk, const Target& target, int64_t now_us) {
    const Rhythm& rhythm = chunk.rhythm[index_of(target.op)];
    switch (heuristic) {
        case Heuristic::kRecency:
            return rhythm.visits() == 0 ? kLongAgo : -seconds(now_us - rhythm.last_us());
        case Heuristic::kFrequency:
            return chunk.counts[index_of(target.op)].at(now_us)[2];
        case Heuristic::kLastWindow: {
            const int64_t windows = std::clamp<int64_t>(target.horizon_us / kWindow, 1, 63);
            return static_cast<float>(std::popcount(rhythm.windows(now_us - 1) << (64 - windows)));
        }
        case Heuristic::kSuccessor:
            break;
    }
    return 0;
}

}  // namespace

std::string_view name_of(Heuristic heuristic) {
    static constexpr std::array<std::string_view, kHeuristics.size()> kNames = {"recency", "frequency",
                                                                                "last-window", "successor"};
    return kNames[static_cast<size_t>(heuristic)];
}

std::vector<float> unjudged_probabilities(const Moment& moment, const Target& target) {
    const float horizon = seconds(target.horizon_us);
    std::vector<float> weights;
    float sum = 0, came_back = 0.5f;  // never quite nothing
    for (const Candidate& candidate : moment.candidates()) {
        const Rhythm& rhythm = candidate.chunk->rhythm[index_of(target.op)];
        const float age = rhythm.visits() == 0 ? -kLongAgo : seconds(moment.now_us() - rhythm.last_us());
        came_back += rhythm.visits() > 1 && age <= horizon ? 1.f : 0.f;
        weights.push_back(horizon / (horizon + age));
        sum += weights.back();
    }
    for (float& weight : weights) {
        weight = -std::expm1(-came_back * weight / sum);  // of so many that are expected, at least one
    }
    return weights;
}

std::vector<float> scores(Heuristic heuristic, const Moment& moment, const Target& target) {
    if (heuristic == Heuristic::kSuccessor) {
        const auto expected = moment.expected_next(target.op);
        return {expected.begin(), expected.end()};
    }
    std::vector<float> result;
    result.reserve(moment.candidates().size());
    for (const Candidate& candidate : moment.candidates()) {
        result.push_back(score(heuristic, *candidate.chunk, target, moment.now_us()));
    }
    return result;
}

}  // namespace predsnap::predict
