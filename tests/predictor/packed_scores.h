// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "tools/predsnapd/contest.h"

namespace predsnap::predict::test {

// What so many rules, then a model and a blend, made of the candidates of a moment, as a contest takes it.
inline Judged to_judged(size_t rules, const std::vector<std::vector<float>>& scores, std::vector<bool> came) {
    Judged judged{.time_us = 0, .scores = {}, .came = std::move(came)};
    for (size_t method = 0; method < scores.size(); ++method) {
        judged.scores.emplace_back(scores[method], method >= rules);
    }
    return judged;
}

}  // namespace predsnap::predict::test
