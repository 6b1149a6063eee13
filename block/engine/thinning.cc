// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>

#include "format.h"
#include "retention.h"
#include "text.h"

namespace predsnap {

namespace {

int64_t period(Time time, int64_t every_us) {
    const int64_t whole = time.value / every_us;
    return time.value % every_us < 0 ? whole - 1 : whole;
}

}  // namespace

std::vector<bool> thin(std::span<const RetentionRule> rules, std::span<const OldState> states,
                       const RetentionClock& clock) {
    std::vector<bool> kept(states.size());
    const OldState* before = nullptr;  // the last that is kept
    for (size_t i = 0; i < states.size(); ++i) {
        const OldState& state = states[i];
        const int64_t age = clock.age(state.clock);
        const auto rule = std::find_if(rules.begin(), rules.end(),
                                       [&](const RetentionRule& r) { return age < r.for_us; });
        const bool first = rule != rules.end() && (before == nullptr || period(before->time, rule->every_us) !=
                                                                            period(state.time, rule->every_us));
        if (state.snapshot || (first && state.point != 0)) {
            kept[i] = true;
            before = &state;
        }
    }
    return kept;
}

Result<void> check_rules(const Retention& retention) {
    if (retention.rules.empty()) {
        return {};
    }
    if (!retention.window_us) {
        return Error{EINVAL, "rules for old history make no sense while all history is kept; limit it to a window first"};
    }
    constexpr size_t kMost = sizeof(format::Superblock::rules) / sizeof(format::RetentionRuleRow);
    if (retention.rules.size() > kMost) {
        return Error{EINVAL, text("there can be at most %zu rules for old history", kMost)};
    }
    int64_t every = 0, reach = *retention.window_us;
    for (const RetentionRule& rule : retention.rules) {
        if (rule.every_us <= every) {
            return Error{EINVAL, text("rules for old history must have longer and longer periods, but %lld s comes "
                                      "after %lld s",
                                      static_cast<long long>(rule.every_us / 1'000'000),
                                      static_cast<long long>(every / 1'000'000))};
        }
        if (rule.for_us <= reach) {
            return Error{EINVAL, text("a rule for old history must reach further back than the window and the rule "
                                      "before it, more than %lld s, but one is for %lld s",
                                      static_cast<long long>(reach / 1'000'000),
                                      static_cast<long long>(rule.for_us / 1'000'000))};
        }
        every = rule.every_us;
        reach = rule.for_us;
    }
    return {};
}

}  // namespace predsnap
