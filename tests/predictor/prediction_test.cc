// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the driver is told.
#include "tools/predsnapd/prediction.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace predsnap::predict::test {
namespace {

constexpr uint64_t kAny = 100000;

struct Forecasts {
    Forecast writes, reads;
    void add(ChunkId chunk, float write, float read) {
        for (Forecast* forecast : {&writes, &reads}) {
            forecast->chunks.push_back(chunk);
            forecast->seen.push_back(true);
        }
        writes.served.push_back(write);
        reads.served.push_back(read);
    }
    std::vector<Prediction> told(size_t most = kAny) const { return make_predictions(writes, reads, most); }
};

TEST(MakePredictions, NeighboursThatAreAlikeAreOneRangeWithTheirMean) {
    Forecasts of;
    of.add(10, 0.60f, 0.05f);
    of.add(11, 0.70f, 0.05f);
    of.add(12, 0.02f, 0.90f);
    of.add(14, 0.02f, 0.90f);
    const auto told = of.told();
    ASSERT_EQ(told.size(), 3u);
    EXPECT_EQ(told[0], (Prediction{10 * kChunkSize, 2 * kChunkSize, 0.65f, 0.05f, -1}));
    EXPECT_EQ(told[1], (Prediction{12 * kChunkSize, kChunkSize, 0.02f, 0.90f, -1}));
    EXPECT_EQ(told[2].offset, 14 * kChunkSize);
}

TEST(MakePredictions, WhatTheDriverDecidesOtherwiseIsNotMixed) {
    Forecasts of;
    of.add(0, 0.24f, 0);
    of.add(1, 0.26f, 0);  // from a quarter on, rewrites are logged as what differs
    of.add(2, 0.49f, 0);
    of.add(3, 0.51f, 0);
    EXPECT_EQ(of.told().size(), 4u);
}

TEST(MakePredictions, WhatAWriteWillChangeIsToldWhereItIsKnown) {
    Forecasts of;
    for (ChunkId chunk = 0; chunk < 4; ++chunk) {
        of.add(chunk, 0.6f, 0);
    }
    of.writes.changed = {0.05f, 0.07f, -1, 0.9f};
    const auto told = of.told();
    ASSERT_EQ(told.size(), 3u);
    EXPECT_FLOAT_EQ(told[0].change, 0.06f);  // both small
    EXPECT_LT(told[1].change, 0);
    EXPECT_FLOAT_EQ(told[2].change, 0.9f);
}

TEST(MakePredictions, WhatIsUnlikelyIsNotTold) {
    Forecasts of;
    of.add(0, 0.01f, 0.01f);
    EXPECT_TRUE(of.told().empty());
}

// Any forecast: in order, without overlaps, not too many, and none too far from what was meant.
TEST(MakePredictions, RangesSayOfEachChunkAboutWhatIsMeant) {
    std::mt19937 random(1);
    Forecasts of;
    ChunkId chunk = 0;
    float write = 0.3f, read = 0.3f;
    const auto drift = [&](float& p) {
        p = std::clamp(p * std::exp(std::normal_distribution<float>(0, 0.1f)(random)), 0.03f, 0.97f);
    };
    for (int i = 0; i < 5000; ++i) {
        drift(write);
        drift(read);
        chunk += random() % 50 == 0 ? 2 : 1;
        of.add(chunk, write, read);
    }
    const auto told = of.told();
    EXPECT_LT(told.size(), 2500u);
    size_t at = 0;
    for (size_t i = 0; i < of.writes.chunks.size(); ++i) {
        const uint64_t offset = of.writes.chunks[i] << kChunkShift;
        while (told[at].offset + told[at].length <= offset) {
            ++at;
        }
        ASSERT_LE(told[at].offset, offset);
        EXPECT_LT(std::abs(std::log2((told[at].write + 0.02f) / (of.writes.served[i] + 0.02f))), 0.6f);
        EXPECT_LT(std::abs(std::log2((told[at].read + 0.02f) / (of.reads.served[i] + 0.02f))), 0.6f);
    }
    for (size_t i = 1; i < told.size(); ++i) {
        EXPECT_LE(told[i - 1].offset + told[i - 1].length, told[i].offset);
    }
    EXPECT_LE(of.told(100).size(), 100u);
}

TEST(ChangedShare, IsTheShareOfChunksThatAreToldOtherwise) {
    const std::vector<Prediction> before = {{0, 4 * kChunkSize, 0.6f, 0.1f, -1}, {8 * kChunkSize, 4 * kChunkSize, 0.1f, 0.6f, -1}};
    EXPECT_EQ(changed_share(before, before), 0);
    EXPECT_EQ(changed_share({}, {}), 0);
    EXPECT_EQ(changed_share(before, {}), 1);
    EXPECT_EQ(changed_share({}, before), 1);
    auto now = before;
    now[0].write = 0.65f;
    EXPECT_EQ(changed_share(before, now), 0);  // not worth telling
    now[0].write = 0.3f;
    EXPECT_EQ(changed_share(before, now), 0.5);
    now = {{0, 2 * kChunkSize, 0.6f, 0.1f, -1}, {2 * kChunkSize, 2 * kChunkSize, 0.6f, 0.1f, -1},
           {9 * kChunkSize, 4 * kChunkSize, 0.1f, 0.6f, -1}};
    EXPECT_DOUBLE_EQ(changed_share(before, now), 2.0 / 9);  // one that is not said any more, and one that is new
}

}  // namespace
}  // namespace predsnap::predict::test
