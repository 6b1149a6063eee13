// SPDX-License-Identifier: GPL-2.0-or-later
//
// The controller over a real cache, on a simulated clock, with a load that changes all at once.
#include "block/engine/threshold.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "block/engine/staging.h"

namespace predsnap::test {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr uint64_t kSlots = 1000;

// Blocks with a score each. Of the accesses, most go to the hot ones, which have higher scores than the others.
struct Load {
    uint64_t first, hot;    // blocks
    double lowest_hot;      // score
    double share = 0.9;     // of the accesses
};

class ThresholdTest : public ::testing::Test {
  protected:
    ThresholdTest() { staging.set_limit(kSlots * kBlockSize); }
    float score_of(const Load& load, uint64_t block) const {
        const double noise = static_cast<double>(block * 2654435761u % 1000) / 1000;
        const bool hot = block >= load.first && block < load.first + load.hot;
        return static_cast<float>(hot ? load.lowest_hot + noise * (1 - load.lowest_hot) : noise * load.lowest_hot);
    }
    void access(const Load& load) {
        const bool hot = std::uniform_real_distribution(0.0, 1.0)(random) < load.share;
        const uint64_t block = hot ? load.first + random() % load.hot : 1'000'000 + random() % 200'000;
        Staging::Source source;
        source.ordinal = 1;
        if (const auto slot = staging.find(Sector(block * 8), source)) {
            staging.unpin(*slot);
            return;
        }
        const float score = score_of(load, block);
        if (score < control.value()) {
            return;
        }
        if (const auto slot = staging.take(score)) {
            staging.put(*slot, Sector(block * 8), source, score);
        }
    }
    void run(const Load& load, int seconds) {
        for (int second = 0; second < seconds; ++second) {
            const StagingStats before = staging.stats();
            for (int i = 0; i < 2000; ++i) {
                access(load);
            }
            now += kSecond;
            const StagingStats stats = staging.stats();
            control.observe({stats.hits, stats.misses, stats.evictions, stats.bytes, stats.limit}, now);
            hit_rate = static_cast<double>(stats.hits - before.hits) / 2000;
            values.push_back(control.value());
        }
    }
    // How often the value turned round in the last so many seconds, and how far it moved.
    std::pair<int, double> unrest(size_t seconds) const {
        int turns = 0;
        double low = 1, high = 0, direction = 0;
        for (size_t i = values.size() - seconds; i < values.size(); ++i) {
            const double moved = values[i] - values[i - 1];
            turns += moved * direction < 0;
            direction = moved != 0 ? moved : direction;
            low = std::min(low, static_cast<double>(values[i]));
            high = std::max(high, static_cast<double>(values[i]));
        }
        return {turns, high - low};
    }
    std::mt19937_64 random{7};
    Staging staging;
    ThresholdControl control;
    int64_t now = 0;
    double hit_rate = 0;
    std::vector<double> values;
};

TEST_F(ThresholdTest, AFixedOneStays) {
    control.configure({.threshold = 0.3, .adaptive = false}, now);
    run({0, 3000, 0.5}, 50);
    EXPECT_EQ(control.value(), 0.3f);
    EXPECT_EQ(control.info(now).changes, 0u);
}

TEST_F(ThresholdTest, ItComesDownWhereThereIsRoom) {
    control.configure({.threshold = 0.9, .min = 0.01, .max = 0.95, .target_hit_rate = 0.8}, now);
    run({0, 500, 0.3}, 60);
    EXPECT_LT(control.value(), 0.6);
    EXPECT_GT(hit_rate, 0.8);
    const auto [turns, range] = unrest(20);
    EXPECT_EQ(turns, 0);
    EXPECT_EQ(range, 0);
}

TEST_F(ThresholdTest, AStepOfTheLoadMakesNoOscillation) {
    control.configure({.threshold = 0.05, .target_hit_rate = 0.8}, now);
    run({0, 600, 0.6, 0.95}, 120);
    EXPECT_GT(hit_rate, 0.75);
    const double before = control.value();
    // All at once, much more is hot than there is room for, and it is other blocks.
    run({5000, 4000, 0.3, 0.95}, 300);
    EXPECT_NE(control.value(), before);
    {
        const auto [turns, range] = unrest(100);
        EXPECT_LE(turns, 2);  // it looks once whether less would be better
        EXPECT_LE(range, 0.15 * control.value());
    }
    // And back to something that fits, with lower scores than the threshold may be by now.
    run({20'000, 600, 0.2, 0.95}, 300);
    EXPECT_GT(hit_rate, 0.75);
    const auto [turns, range] = unrest(100);
    EXPECT_LE(turns, 1);
    EXPECT_LE(range, 0.1 * control.value());
    int all_turns = 0;
    double direction = 0;
    for (size_t i = 1; i < values.size(); ++i) {
        const double moved = values[i] - values[i - 1];
        all_turns += moved * direction < 0;
        direction = moved != 0 ? moved : direction;
    }
    EXPECT_LE(all_turns, 14);  // in 720 s with three loads
}

TEST_F(ThresholdTest, ItStaysWithinItsBounds) {
    control.configure({.threshold = 0.5, .min = 0.2, .max = 0.6, .target_hit_rate = 1}, now);
    run({0, 50'000, 0.5}, 200);
    for (const double value : values) {
        EXPECT_GE(value, 0.2f);
        EXPECT_LE(value, 0.6f);
    }
    EXPECT_LE(control.info(now).history.size(), ThresholdControl::kHistory);
}

TEST_F(ThresholdTest, ContradictionsAreRefused) {
    EXPECT_FALSE(ThresholdControl::check({.threshold = 1.5}).ok());
    EXPECT_FALSE(ThresholdControl::check({.threshold = std::numeric_limits<double>::quiet_NaN()}).ok());
    EXPECT_FALSE(ThresholdControl::check({.min = 0.5, .max = 0.4}).ok());
    EXPECT_FALSE(ThresholdControl::check({.target_hit_rate = -1}).ok());
    EXPECT_TRUE(ThresholdControl::check({}).ok());
}

TEST_F(ThresholdTest, HistoryTellsWhatMovedIt) {
    control.configure({.threshold = 0.9, .target_hit_rate = 0.8}, now);
    run({0, 500, 0.3}, 60);
    const ThresholdInfo info = control.info(now);
    ASSERT_GT(info.history.size(), 2u);
    EXPECT_GT(info.history.front().age_us, info.history.back().age_us);
    EXPECT_NEAR(info.history.back().value, info.value, 1e-9);
    EXPECT_GT(info.changes, 0u);
}

}  // namespace
}  // namespace predsnap::test
