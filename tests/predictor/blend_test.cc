// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/blend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tools/predsnapd/contest.h"
#include "tools/predsnapd/metrics.h"

#include "packed_scores.h"

namespace predsnap::predict::test {
namespace {

float logistic(double z) { return static_cast<float>(1 / (1 + std::exp(-z))); }

TEST(Blend, KnowsNothingAtFirst) { EXPECT_FALSE(Blend().fitted()); }

TEST(Blend, FindsTheWeightsThatMadeTheOutcomes) {
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    std::vector<float> said;
    std::vector<Outcome> came;
    for (int i = 0; i < 50000; ++i) {
        const double a = normal(random) * 2, b = normal(random) * 2;
        said.insert(said.end(), {logistic(a), logistic(b)});
        const double truth = 0.7 * a + 0.2 * b - 1;
        came.push_back({0, std::uniform_real_distribution<float>(0, 1)(random) < logistic(truth)});
    }
    const Blend blend(2, said, came);
    EXPECT_NEAR(blend.weight(0), 0.7, 0.05);
    EXPECT_NEAR(blend.weight(1), 0.2, 0.05);
    const std::array<float, 2> even = {0.5f, 0.5f};
    EXPECT_NEAR(blend(even), logistic(-1), 0.02);
}

TEST(Blend, WithFewOutcomesStaysNearTheMean) {
    const std::vector<float> said = {0.9f, 0.1f, 0.2f, 0.8f};
    const Blend blend(2, said, std::vector<Outcome>{{0, true}, {0, false}});
    EXPECT_NEAR(blend.weight(0), 0.5, 0.3);
    EXPECT_NEAR(blend.weight(1), 0.5, 0.3);
}

TEST(Blend, AnOutcomeThatStandsForManyCountsAsMany) {
    std::mt19937 random(2);
    std::vector<float> said, said_often;
    std::vector<Outcome> came, came_often;
    for (int i = 0; i < 300; ++i) {
        const float p = std::uniform_real_distribution<float>(0.01f, 0.99f)(random);
        const bool yes = random() % 4 == 0;
        said.push_back(p);
        came.push_back({0, yes, yes ? 1.f : 5.f});
        for (int k = 0; k < (yes ? 1 : 5); ++k) {
            said_often.push_back(p);
            came_often.push_back({0, yes});
        }
    }
    EXPECT_NEAR(Blend(1, said, came).weight(0), Blend(1, said_often, came_often).weight(0), 1e-6);
}

TEST(Blend, WhatIsCertainOrImpossibleLeavesItFinite) {
    std::vector<float> said;
    std::vector<Outcome> came;
    for (int i = 0; i < 1000; ++i) {
        said.insert(said.end(), {i % 2 == 0 ? 1.f : 0.f, 1.f, 0.f});
        came.push_back({0, i % 2 == 0});
    }
    const Blend blend(3, said, came);
    const std::array<float, 3> first = {1, 1, 0}, second = {0, 1, 0};
    EXPECT_GT(blend(first), 0.9f);
    EXPECT_LT(blend(second), 0.1f);
}

// Two rules that each see another half of what comes, and a model that says nothing of worth.
Judged moment(std::mt19937& random, bool with_model, const Contest& contest) {
    std::vector<std::vector<float>> scores(4);
    std::vector<bool> chunks;
    std::normal_distribution<float> normal;
    for (int i = 0; i < 500; ++i) {
        const bool came = random() % 20 == 0, first = random() % 2 == 0;
        chunks.push_back(came);
        scores[0].push_back((came && first ? 3.f : 0) + normal(random));
        scores[1].push_back((came && !first ? 3.f : 0) + normal(random));
        scores[2].push_back(std::uniform_real_distribution<float>(0, 0.1f)(random));
    }
    if (!with_model) {
        scores[2].clear();
    }
    scores[3] = contest.blended(std::span(scores).first(3));
    return to_judged(2, scores, chunks);
}

TEST(Contest, WhatIsBlendedIsBetterThanEachAndServes) {
    std::mt19937 random(7);
    Contest contest(2);
    for (int i = 0; i < 20; ++i) {
        contest.judge(moment(random, true, contest));
        contest.choose();
    }
    EXPECT_EQ(contest.champion(), 3u);
    EXPECT_GT(contest.standing(3), 1.15 * std::max(contest.standing(0), contest.standing(1)));
}

TEST(Contest, WithoutAModelTheRulesAloneAreBlended) {
    std::mt19937 random(8);
    Contest contest(2);
    for (int i = 0; i < 20; ++i) {
        contest.judge(moment(random, false, contest));
        contest.choose();
    }
    EXPECT_EQ(contest.champion(), 3u);
    EXPECT_LT(contest.standing(2), 0);
}

TEST(Contest, BeforeAnythingWasJudgedTheOrderIsKept) {
    const Contest contest(1);
    const std::vector<float> scores = {-1e12f, -86400, -3600, -60, -59, -0.5f, 0, 0.5f, 3, 1000};
    for (size_t i = 1; i < scores.size(); ++i) {
        EXPECT_LT(contest.probability(0, scores[i - 1]), contest.probability(0, scores[i]));
    }
    EXPECT_GE(contest.probability(0, scores.front()), 0);
    EXPECT_LE(contest.probability(0, scores.back()), 0.01f);
}

TEST(Contest, KeepsMomentsUntilEnoughCame) {
    // One chunk in each moment that came: after 40 moments, chance would still decide.
    std::mt19937 random(9);
    Contest contest(1);
    const auto rare = [&](float good) {
        std::vector<std::vector<float>> scores(3);
        std::vector<bool> came;
        for (int i = 0; i < 50; ++i) {
            came.push_back(i == 0);
            scores[0].push_back((i == 0 ? good : 0) + std::uniform_real_distribution<float>(0, 1)(random));
        }
        return to_judged(1, scores, came);
    };
    for (int i = 0; i < 100; ++i) {
        contest.judge(rare(0.9f));
    }
    for (int i = 0; i < 60; ++i) {
        contest.judge(rare(-1));
    }
    contest.choose();
    EXPECT_GT(contest.standing(0), 0.2);  // the hundred before the last forty still count
}

}  // namespace
}  // namespace predsnap::predict::test
