// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnap/sparkline.h"

#include <gtest/gtest.h>

namespace predsnap {
namespace {

std::vector<double> steady(size_t count, double rate) { return std::vector<double>(count, rate); }

TEST(Sparkline, HigherRatesAreHigherMarks) {
    EXPECT_EQ(sparkline({}, true), "");
    EXPECT_EQ(sparkline({0, 0}, true), "  ");
    EXPECT_EQ(sparkline({0, 1, 100}, true), " ▁█");
    EXPECT_EQ(sparkline({0, 10, 100, 50}, false), " -#*");
    EXPECT_EQ(sparkline({5, 5}, false), "##");
}

TEST(Sparkline, AWhisperBesideAStormIsStillSeen) { EXPECT_EQ(sparkline({1, 1e9}, true), "▁█"); }

TEST(Jumps, TheStartOfAnAttack) {
    std::vector<double> rates = steady(60, 1000);
    for (size_t i = 40; i < 60; ++i) {
        rates[i] = 500000;
    }
    const auto jumps = find_jumps(rates);
    ASSERT_EQ(jumps.size(), 1u);
    EXPECT_EQ(jumps[0].at, 40u);
    EXPECT_DOUBLE_EQ(jumps[0].before, 1000);
    EXPECT_DOUBLE_EQ(jumps[0].after, 500000);
}

TEST(Jumps, ASteadyLoadHasNone) {
    EXPECT_TRUE(find_jumps(steady(60, 1000)).empty());
    EXPECT_TRUE(find_jumps({}).empty());
    EXPECT_TRUE(find_jumps(steady(60, 0)).empty());
    std::vector<double> uneven;
    for (int i = 0; i < 60; ++i) {
        uneven.push_back(i % 3 == 0 ? 3000 : 1000);
    }
    EXPECT_TRUE(find_jumps(uneven).empty());
}

TEST(Jumps, OutOfSilenceToo) {
    std::vector<double> rates = steady(60, 0);
    rates[30] = rates[31] = 100;
    const auto jumps = find_jumps(rates);
    ASSERT_EQ(jumps.size(), 1u);
    EXPECT_EQ(jumps[0].at, 30u);
}

TEST(Jumps, ARiseOverSeveralMarksIsOne) {
    std::vector<double> rates = steady(40, 10);
    rates.insert(rates.end(), {100, 1000, 1000, 1000});
    EXPECT_EQ(find_jumps(rates).size(), 1u);
}

TEST(Jumps, SmallOnesBesideAGreatOneDoNotMatter) {
    std::vector<double> rates = steady(60, 1);
    rates[20] = 50;
    rates[40] = rates[41] = 100000;
    const auto jumps = find_jumps(rates);
    ASSERT_EQ(jumps.size(), 1u);
    EXPECT_EQ(jumps[0].at, 40u);
}

TEST(Jumps, TheGreatestAreTakenInOrderOfTime) {
    std::vector<double> rates = steady(100, 1);
    rates[20] = rates[21] = 1000;
    rates[40] = rates[41] = 3000;
    rates[60] = rates[61] = 2000;
    rates[80] = rates[81] = 4000;
    const auto jumps = find_jumps(rates, 2);
    ASSERT_EQ(jumps.size(), 2u);
    EXPECT_EQ(jumps[0].at, 40u);
    EXPECT_EQ(jumps[1].at, 80u);
}

}  // namespace
}  // namespace predsnap
