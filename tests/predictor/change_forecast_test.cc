// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much the next write changes.
#include "tools/predsnapd/change_forecast.h"

#include <gtest/gtest.h>

#include "tools/predsnapd/forecaster.h"

namespace predsnap::predict::test {
namespace {

constexpr ChunkId kChunks = 40;

// A disk whose chunks are written each 20 s, just after a sample was taken; `changed` says what the n-th write of one changes.
class ChangeForecastTest : public ::testing::Test {
  protected:
    template <typename Changed>
    void run(int rounds, Changed changed) {
        for (int n = 0; n < rounds; ++n) {
            for (ChunkId chunk = 0; chunk < kChunks; ++chunk) {
                forecaster.observe({++now_us, chunk * kChunkSize, 4096, Op::kWrite, changed(chunk, n)});
            }
            now_us += 20 * kSecond;
        }
    }
    void train() { ASSERT_TRUE(forecaster.train().ok()); }
    const ChangeForecast& changes() const { return forecaster.changes(); }
    std::vector<float> said() { return forecaster.forecast(now_us, false)[0].changed; }
    double error(ChangeMethod method) const { return changes().error(method); }

    Forecaster forecaster{{.samples = {}, .booster = {}}};
    int64_t now_us = kSecond;
};

TEST_F(ChangeForecastTest, NothingIsSaidOfWhatIsNotKnown) {
    run(20, [](ChunkId, int) { return -1.f; });
    train();
    EXPECT_EQ(changes().row_count(), 0u);
    EXPECT_LT(error(ChangeMethod::kMean), 0);
    for (const float share : said()) {
        EXPECT_LT(share, 0);
    }
}

TEST_F(ChangeForecastTest, WhatAlwaysChangesAsMuchNeedsNoModel) {
    run(20, [](ChunkId chunk, int) { return chunk < kChunks / 2 ? 0.1f : 0.9f; });
    train();
    EXPECT_NEAR(error(ChangeMethod::kMean), 0, 1e-6);
    EXPECT_NE(changes().champion(), ChangeMethod::kTrees);
    const std::vector<float> shares = said();
    EXPECT_NEAR(shares[0], 0.1f, 1e-3);
    EXPECT_NEAR(shares[kChunks - 1], 0.9f, 1e-3);
}

TEST_F(ChangeForecastTest, WhatStaysAsItWasTheLastTimeIsSaidSo) {
    // From little to much and back, for eight writes each: the mean comes too late.
    run(40, [](ChunkId chunk, int n) { return (n + static_cast<int>(chunk)) / 8 % 2 == 0 ? 0.1f : 0.9f; });
    train();
    EXPECT_LT(error(ChangeMethod::kLast), error(ChangeMethod::kMean));
    EXPECT_NE(changes().champion(), ChangeMethod::kMean);
}

TEST_F(ChangeForecastTest, WhatChangesInTurnIsLearnt) {
    run(40, [](ChunkId, int n) { return n % 2 == 0 ? 0.1f : 0.8f; });  // neither rule knows it
    train();
    EXPECT_EQ(changes().champion(), ChangeMethod::kTrees);
    EXPECT_LT(error(ChangeMethod::kTrees), error(ChangeMethod::kMean) / 4);
    for (const float share : said()) {
        EXPECT_TRUE(share < 0 || share < 0.2f) << share;  // the next one is even again; ahead of the stream nothing is known
    }
    EXPECT_GT(said()[0], 0);
}

TEST_F(ChangeForecastTest, IsBounded) {
    for (int n = 0; n < 300; ++n) {
        run(1, [&](ChunkId chunk, int) { return static_cast<float>((static_cast<int>(chunk) * 7 + n) % 10) / 10; });
        EXPECT_LE(changes().row_count(), ChangeForecast::kRowsMax);
    }
    EXPECT_GT(changes().row_count(), ChangeForecast::kRowsMax / 2);
}

}  // namespace
}  // namespace predsnap::predict::test
