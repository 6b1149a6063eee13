// SPDX-License-Identifier: GPL-2.0-or-later
#include "cold_start.h"

namespace predsnap::predict {
namespace {

constexpr int64_t kSeenMin = 120 * kSecond;

}  // namespace

Result<void> keep_models(ModelStore& store, const std::string& disk, const Forecaster& forecaster) {
    const auto& targets = forecaster.options().targets;
    for (size_t i = 0; i < targets.size(); ++i) {
        const Trees* model = forecaster.model(i);
        if (model == nullptr) {
            continue;
        }
        const Contest& contest = forecaster.contest(i);
        const double best_other = contest.standing(contest.best_rule());
        TRY(store.save(disk, targets[i], *model,
                       {.trained_us = forecaster.activity().now_us(), .standing = contest.standing(kModelMethod),
                        .best_other = best_other, .serves = contest.standing(kModelMethod) > best_other}));
    }
    const Profile profile = forecaster.samples().profile();
    return profile.columns.empty() ? Result<void>() : store.save_profile(disk, profile);
}

bool wants_models(const Forecaster& forecaster) {
    const Activity& activity = forecaster.activity();
    for (size_t i = 0; i < forecaster.options().targets.size(); ++i) {
        if (forecaster.model(i) != nullptr) {
            return false;
        }
    }
    return activity.begin_us() != kNever && activity.now_us() - activity.begin_us() >= kSeenMin;
}

Result<std::string> borrow_models(ModelStore& store, const std::string& disk, Forecaster& forecaster,
                                  std::vector<std::string>& messages) {
    TRY_ASSIGN(const std::string other, store.most_similar(disk, forecaster.samples().profile()));
    if (other.empty()) {
        return other;
    }
    bool any = false;
    const auto& targets = forecaster.options().targets;
    for (size_t i = 0; i < targets.size(); ++i) {
        std::string message;
        TRY_ASSIGN(std::optional<ModelStore::Loaded> loaded, store.load(other, targets[i], message));
        if (!message.empty()) {
            messages.push_back(message);
        }
        if (loaded && loaded->facts.serves) {
            forecaster.adopt(i, std::move(loaded->model), forecaster.activity().now_us(), false);
            any = true;
        }
    }
    return any ? other : std::string();
}

}  // namespace predsnap::predict
