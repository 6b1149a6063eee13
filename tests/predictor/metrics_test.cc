// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/metrics.h"

#include <gtest/gtest.h>

#include <random>

#include "tools/predsnapd/contest.h"

#include "packed_scores.h"

namespace predsnap::predict::test {
namespace {

TEST(AveragePrecision, OfKnownRankings) {
    EXPECT_DOUBLE_EQ(average_precision({{3, true}, {2, true}, {1, false}}), 1);
    EXPECT_DOUBLE_EQ(average_precision({{3, false}, {2, true}}), 0.5);
    EXPECT_DOUBLE_EQ(average_precision({{3, true}, {2, false}, {1, true}}), (1 + 2.0 / 3) / 2);
    EXPECT_DOUBLE_EQ(average_precision({{1, true}, {1, false}, {1, false}, {1, false}}), 0.25);  // ties
    EXPECT_DOUBLE_EQ(average_precision({{1, true}}, 1), 0.5);  // one that was not ranked
    EXPECT_DOUBLE_EQ(average_precision({{1, false}}), 0);
}

TEST(AveragePrecision, AWeightIsSoManyEqualOutcomes) {
    const Outcome none{1, false, 3};
    EXPECT_DOUBLE_EQ(average_precision({{2, true}, none, {0, true}}),
                     average_precision({{2, true}, {1, false}, {1, false}, {1, false}, {0, true}}));
}

TEST(AveragePrecision, OfChanceIsTheBaseRate) {
    std::mt19937 random(1);
    std::vector<Outcome> outcomes;
    for (int i = 0; i < 200000; ++i) {
        outcomes.push_back({static_cast<float>(random()), random() % 10 == 0});
    }
    EXPECT_NEAR(average_precision(outcomes), 0.1, 0.005);
}

TEST(CameWithin, TakesAsManyAsFit) {
    const std::vector<Outcome> sorted = {{4, true}, {3, false}, {2, true}, {1, true}};
    EXPECT_DOUBLE_EQ(came_within(sorted, 0.25), 1);
    EXPECT_DOUBLE_EQ(came_within(sorted, 0.75), 2);
    EXPECT_DOUBLE_EQ(came_within(sorted, 1), 3);
    const std::vector<Outcome> ties = {{1, true}, {1, false}, {1, false}, {1, true}};
    EXPECT_DOUBLE_EQ(came_within(ties, 0.5), 1);
}

TEST(Isotonic, FindsProbabilitiesAndKeepsTheOrder) {
    std::mt19937 random(2);
    std::vector<Outcome> outcomes;
    for (int i = 0; i < 100000; ++i) {
        const float score = static_cast<float>(random() % 1000) / 1000;
        outcomes.push_back({score, static_cast<float>(random() % 1000) / 1000 < score * score});
    }
    const Isotonic isotonic(outcomes);
    for (const float score : {0.1f, 0.3f, 0.5f, 0.9f}) {
        EXPECT_NEAR(isotonic(score), score * score, 0.03);
    }
    for (float score = 0; score < 1; score += 0.01f) {
        EXPECT_LE(isotonic(score), isotonic(score + 0.01f));
    }
}

TEST(Isotonic, WithoutBothOutcomesItKnowsNothing) {
    EXPECT_FALSE(Isotonic({{1, true}}).fitted());
    EXPECT_FALSE(Isotonic(std::vector<Outcome>{}).fitted());
    EXPECT_FLOAT_EQ(Isotonic({{1, false}})(0.3f), 0.3f);
}

Judged judged(std::mt19937& random, double heuristic_skill, double model_skill) {
    std::vector<std::vector<float>> scores(3);
    std::vector<bool> chunks;
    for (int i = 0; i < 300; ++i) {
        const bool came = random() % 10 == 0;
        const auto score = [&](double skill) {
            const double noise = static_cast<double>(random() % 1000) / 1000;
            return static_cast<float>(skill * (came ? 1 : 0) + (1 - skill) * noise);
        };
        chunks.push_back(came);
        scores[0].push_back(score(heuristic_skill));
        scores[1].push_back(score(model_skill));
    }
    return to_judged(1, scores, chunks);
}

TEST(Contest, TheBetterOneServesAndALoserNoLonger) {
    std::mt19937 random(3);
    Contest contest(1);
    EXPECT_EQ(contest.champion(), 0u);
    for (int i = 0; i < 10; ++i) {
        contest.judge(judged(random, 0.2, 0.6));
    }
    contest.choose();
    EXPECT_EQ(contest.champion(), 2u);  // three hundred outcomes are not enough for it to serve alone
    for (int i = 0; i < 40; ++i) {
        contest.judge(judged(random, 0.2, 0.6));
    }
    contest.choose();
    EXPECT_EQ(contest.champion(), 1u);
    for (int i = 0; i < 40; ++i) {
        contest.judge(judged(random, 0.6, 0.0));
    }
    contest.choose();
    EXPECT_EQ(contest.champion(), 2u);
}

TEST(Contest, OneThatIsTrustedServesUntilItIsJudged) {
    std::mt19937 random(5);
    Contest contest(1);
    contest.trust(1);
    Judged without = judged(random, 0.2, 0);
    without.scores[1] = {};
    contest.judge(without);
    contest.choose();
    EXPECT_EQ(contest.champion(), 1u);
    for (int i = 0; i < 5; ++i) {
        contest.judge(judged(random, 0.2, 0));
    }
    contest.choose();
    EXPECT_EQ(contest.champion(), 2u);
}

TEST(Contest, AModelThatWasNotJudgedDoesNotServe) {
    std::mt19937 random(4);
    Contest contest(1);
    for (int i = 0; i < 10; ++i) {
        Judged without = judged(random, 0.2, 0.9);
        without.scores[1] = {};
        contest.judge(without);
    }
    contest.choose();
    EXPECT_NE(contest.champion(), 1u);
    EXPECT_LT(contest.standing(1), 0);
}

}  // namespace
}  // namespace predsnap::predict::test
