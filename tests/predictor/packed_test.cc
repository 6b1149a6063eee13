// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/packed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace predsnap::predict::test {
namespace {

TEST(Packed, IsWithinAThousandth) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> power(-29, 32);
    for (int i = 0; i < 100000; ++i) {
        const float value = std::exp2(power(random)) * (i % 2 == 0 ? 1.f : -1.f);
        EXPECT_NEAR(Packed(value) / value, 1, 1e-3);
    }
    for (float whole = 0; whole <= 1024; ++whole) {
        EXPECT_EQ(static_cast<float>(Packed(whole)), whole);
        EXPECT_EQ(static_cast<float>(Packed(-whole)), -whole);
    }
}

TEST(Packed24, IsWithinAFewHundredThousandthsAndKeepsTheOrder) {
    std::mt19937 random(3);
    std::uniform_real_distribution<float> power(-100, 100);
    std::vector<float> values = {0, -INFINITY, INFINITY};
    for (int i = 0; i < 20000; ++i) {
        const float value = std::exp2(power(random)) * (i % 2 == 0 ? 1.f : -1.f);
        EXPECT_NEAR(Packed24(value) / value, 1, 1.6e-5);
        values.push_back(value);
    }
    std::sort(values.begin(), values.end());
    for (size_t i = 1; i < values.size(); ++i) {
        EXPECT_LE(static_cast<float>(Packed24(values[i - 1])), static_cast<float>(Packed24(values[i])));
    }
    EXPECT_TRUE(std::isnan(Packed24(std::nanf(""))));
    EXPECT_TRUE(std::isnan(Packed24(-std::nanf(""))));
    EXPECT_EQ(static_cast<float>(Packed24(65535)), 65535);
    EXPECT_TRUE(std::isfinite(Packed24(std::numeric_limits<float>::max())));
}

TEST(Packed, KeepsTheOrder) {
    std::mt19937 random(2);
    std::vector<float> values = {-1e12f, -INFINITY, INFINITY, 1e12f, 0, -0.f, 1e-20f, -1e-20f};
    std::uniform_real_distribution<float> power(-40, 40);
    for (int i = 0; i < 20000; ++i) {
        values.push_back(std::exp2(power(random)) * (i % 2 == 0 ? 1.f : -1.f));
    }
    std::sort(values.begin(), values.end());
    for (size_t i = 1; i < values.size(); ++i) {
        EXPECT_LE(static_cast<float>(Packed(values[i - 1])), static_cast<float>(Packed(values[i])));
        EXPECT_FALSE(std::isnan(Packed(values[i])));
    }
    EXPECT_TRUE(std::isnan(Packed(std::nanf(""))));
}

TEST(PackedScores, ProbabilitiesAreAsExactNearOneAsNearZero) {
    for (const float p : {1e-6f, 1e-4f, 0.01f, 0.5f, 0.9f, 0.99f, 0.999f, 0.9999f}) {
        const std::array<float, 1> one = {p};
        const float back = PackedScores(one, true)[0];
        EXPECT_NEAR(back / p, 1, 0.01);
        EXPECT_NEAR((1 - back) / (1 - p), 1, 0.01);
    }
    const std::array<float, 3> edges = {0, 1, std::nanf("")};
    const PackedScores packed(edges, true);
    EXPECT_LT(packed[0], 1e-6f);
    EXPECT_GT(packed[1], 0.999999f);
}

TEST(PackedScores, SomeOfThem) {
    const std::vector<float> scores = {5, 6, 7, 8};
    const std::vector<uint32_t> which = {3, 1};
    const PackedScores some = PackedScores(scores, false).of(which);
    ASSERT_EQ(some.size(), 2u);
    EXPECT_EQ(some[0], 8);
    EXPECT_EQ(some[1], 6);
    EXPECT_TRUE(PackedScores().of(which).empty());
}

}  // namespace
}  // namespace predsnap::predict::test
