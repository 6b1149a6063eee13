// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/forecast.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "fiber_host.h"

namespace predsnap::test {
namespace {

constexpr uint64_t kDisk = 1 << 30;
constexpr uint64_t kSecond = 1'000'000;

Sector chunk_start(uint64_t chunk) { return Sector(chunk * kChunkSectors); }

class ForecastTest : public ::testing::Test {
  protected:
    static PredictionSet set_of(std::vector<Prediction> predictions, uint64_t base = 10, int64_t seconds = 60) {
        PredictionSet set;
        set.model = "test-1";
        set.base = Sequence(base);
        set.horizon_us = seconds * static_cast<int64_t>(kSecond);
        set.predictions = std::move(predictions);
        return set;
    }
    Result<void> give(PredictionSet set, uint64_t newest = 10) {
        auto prepared = Forecast::prepare(std::move(set), kDisk, !forecast.judging(), host.uptime);
        if (!prepared.ok()) {
            return Error(prepared.error());
        }
        return forecast.adopt(prepared.value(), Sequence(newest));
    }
    int refusal(PredictionSet set, uint64_t newest = 10) {
        const Result<void> given = give(std::move(set), newest);
        return given.ok() ? 0 : given.error().code;
    }
    void use(uint8_t how, uint64_t chunk, uint64_t sequence = 10) {
        forecast.note(how, chunk_start(chunk), 8, Sequence(sequence), host.time);
    }
    FiberHost host;
    Forecast forecast{host};
};

TEST_F(ForecastTest, WithoutPredictionsNothingIsSaid) {
    EXPECT_FALSE(forecast.relevance(Sector(0), Staged::read));
    EXPECT_FALSE(forecast.fine(Sector(0)));
    EXPECT_FALSE(forecast.write_rate());
    EXPECT_FALSE(forecast.decides_staging());
    EXPECT_EQ(forecast.info().source, PredictionInfo::Source::heuristic);
}

TEST_F(ForecastTest, ASetIsSaidOfItsChunksUntilItsHorizon) {
    PredictionSet set = set_of({{3 * kChunkBytes + 100, kChunkBytes, 0.8, 0.2, 0.1}});
    set.write_rate = 5e6;
    ASSERT_TRUE(give(std::move(set)).ok());
    EXPECT_NEAR(*forecast.relevance(chunk_start(3), Staged::rewrite), 0.8, 0.01);
    EXPECT_NEAR(*forecast.relevance(chunk_start(4), Staged::read), 0.2, 0.01);
    EXPECT_NEAR(*forecast.relevance(chunk_start(4), Staged::read, false), 0.1, 0.01);  // this may be the one
    EXPECT_NEAR(*forecast.relevance(chunk_start(3), Staged::rewrite, false), 0.8, 0.01);
    EXPECT_NEAR(*forecast.relevance(chunk_start(4), Staged::prefetch), 0.2, 0.01);
    EXPECT_FALSE(forecast.relevance(chunk_start(2), Staged::rewrite));
    EXPECT_FALSE(forecast.relevance(chunk_start(5), Staged::rewrite));
    EXPECT_EQ(forecast.fine(chunk_start(3)), std::optional(true));
    EXPECT_EQ(*forecast.write_rate(), 5e6);
    EXPECT_EQ(forecast.info().chunks, 2u);
    host.pass(59 * kSecond);
    use(ChunkTable::kRead, 0);
    EXPECT_TRUE(forecast.relevance(chunk_start(3), Staged::rewrite));
    host.pass(kSecond);
    use(ChunkTable::kRead, 0);
    EXPECT_FALSE(forecast.relevance(chunk_start(3), Staged::rewrite));
    EXPECT_FALSE(forecast.write_rate());
    const PredictionInfo info = forecast.info();
    EXPECT_EQ(info.source, PredictionInfo::Source::heuristic);
    EXPECT_EQ(info.expired, 1u);
    EXPECT_EQ(info.model, "test-1");
}

TEST_F(ForecastTest, GranularityFollowsWhatIsSaidOfChanges) {
    ASSERT_TRUE(give(set_of({{0, kChunkBytes, 0.9, 0, 0.05},
                             {kChunkBytes, kChunkBytes, 0.9, 0, 0.9},
                             {2 * kChunkBytes, kChunkBytes, 0.9, 0, 0.3},
                             {3 * kChunkBytes, kChunkBytes, 0.01, 0, 0.05},
                             {4 * kChunkBytes, kChunkBytes, 0.9, 0, {}}})).ok());
    EXPECT_EQ(forecast.fine(chunk_start(0)), std::optional(true));
    EXPECT_EQ(forecast.fine(chunk_start(1)), std::optional(false));
    EXPECT_FALSE(forecast.fine(chunk_start(2)));  // the built-in rules decide
    EXPECT_FALSE(forecast.fine(chunk_start(3)));
    EXPECT_FALSE(forecast.fine(chunk_start(4)));
}

TEST_F(ForecastTest, EachUseCanBeSwitchedOff) {
    PredictionSet set = set_of({{0, kChunkBytes, 1, 1, 0.0}});
    set.write_rate = 1;
    ASSERT_TRUE(give(std::move(set)).ok());
    forecast.set_use({.staging = false, .granularity = false, .pool = false});
    EXPECT_FALSE(forecast.relevance(Sector(0), Staged::read));
    EXPECT_FALSE(forecast.fine(Sector(0)));
    EXPECT_FALSE(forecast.write_rate());
    EXPECT_FALSE(forecast.decides_staging());
    EXPECT_EQ(forecast.info().source, PredictionInfo::Source::predictions);  // and they are judged
}

TEST_F(ForecastTest, NonsenseIsRefused) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const double infinite = std::numeric_limits<double>::infinity();
    EXPECT_EQ(refusal(set_of({{0, 0, 0, 0, {}}})), EINVAL);
    EXPECT_EQ(refusal(set_of({{kDisk, 512, 0, 0, {}}})), EINVAL);
    EXPECT_EQ(refusal(set_of({{kDisk - 512, 1024, 0, 0, {}}})), EINVAL);
    EXPECT_EQ(refusal(set_of({{UINT64_MAX - 10, 100, 0, 0, {}}})), EINVAL);
    EXPECT_EQ(refusal(set_of({{10, UINT64_MAX, 0, 0, {}}})), EINVAL);
    for (const double wrong : {nan, infinite, -0.1, 1.1}) {
        EXPECT_EQ(refusal(set_of({{0, 512, wrong, 0, {}}})), EINVAL);
        EXPECT_EQ(refusal(set_of({{0, 512, 0, wrong, {}}})), EINVAL);
        EXPECT_EQ(refusal(set_of({{0, 512, 0, 0, wrong}})), EINVAL);
    }
    PredictionSet rate = set_of({});
    rate.write_rate = nan;
    EXPECT_EQ(refusal(rate), EINVAL);
    PredictionSet unnamed = set_of({});
    unnamed.model = "";
    EXPECT_EQ(refusal(unnamed), EINVAL);
    unnamed.model = std::string(256, 'm');
    EXPECT_EQ(refusal(unnamed), EINVAL);
    EXPECT_EQ(refusal(set_of({}, 10, 0)), EINVAL);
    EXPECT_EQ(refusal(set_of({}, 10, -5)), EINVAL);
    EXPECT_EQ(refusal(set_of({}, 10, 86'401)), EINVAL);
    EXPECT_FALSE(forecast.info().given);
}

TEST_F(ForecastTest, TooMuchIsRefused) {
    EXPECT_EQ(refusal(set_of(std::vector<Prediction>(kMaxPredictions + 1, {0, 512, 0, 0, {}}))), E2BIG);
    // Few, but of more chunks than there is room for.
    PredictionSet wide = set_of(std::vector<Prediction>(20, {0, kDisk, 0, 0, {}}));
    EXPECT_EQ(refusal(wide), E2BIG);
    // All that is allowed is taken.
    std::vector<Prediction> most;
    for (uint64_t i = 0; i < 16; ++i) {
        most.push_back({0, kDisk, 0.5, 0.5, {}});
    }
    EXPECT_EQ(refusal(set_of(most)), 0);
    EXPECT_EQ(forecast.info().chunks, kDisk / kChunkBytes);
}

TEST_F(ForecastTest, WhatComesTooLateIsRefused) {
    EXPECT_EQ(refusal(set_of({}, 11)), EINVAL);  // ahead
    ASSERT_TRUE(give(set_of({}, 10)).ok());
    EXPECT_EQ(refusal(set_of({}, 9)), ESTALE);  // older than those in place
    EXPECT_EQ(refusal(set_of({}, 10)), 0);
    // State 20 stops being the newest; others come for a minute.
    for (uint64_t second = 0; second < 70; ++second) {
        use(ChunkTable::kWritten, 1, 20 + second);
        host.pass(kSecond);
    }
    EXPECT_EQ(refusal(set_of({}, 20, 60), 89), ESTALE);
    EXPECT_EQ(refusal(set_of({}, 20, 600), 89), 0);
    EXPECT_GE(forecast.info().age_us, 60 * static_cast<int64_t>(kSecond));
}

TEST_F(ForecastTest, ARollbackEndsThem) {
    ASSERT_TRUE(give(set_of({{0, kChunkBytes, 1, 1, {}}}, 10)).ok());
    forecast.rolled_back(Sequence(12));
    EXPECT_FALSE(forecast.relevance(Sector(0), Staged::read));
    EXPECT_EQ(refusal(set_of({}, 11), 12), ESTALE);
    EXPECT_EQ(refusal(set_of({}, 12), 12), 0);
    ASSERT_TRUE(forecast.info().judged);
    EXPECT_TRUE(forecast.info().judged->cut_short);
}

TEST_F(ForecastTest, PredictionsAreJudgedByWhatHappens) {
    ASSERT_TRUE(give(set_of({{0, 4 * kChunkBytes, 1, 0, {}}, {8 * kChunkBytes, 2 * kChunkBytes, 0.2, 1, {}}})).ok());
    use(ChunkTable::kWritten, 0);
    use(ChunkTable::kWritten, 0);
    use(ChunkTable::kWritten, 1);
    use(ChunkTable::kWritten, 8);    // unlikely
    use(ChunkTable::kWritten, 100);  // not listed
    use(ChunkTable::kRead, 9);
    ASSERT_TRUE(forecast.info().judging);
    EXPECT_FALSE(forecast.info().judged);
    // Another set comes meanwhile; the first is judged to its end.
    host.pass(30 * kSecond);
    ASSERT_TRUE(give(set_of({{0, kChunkBytes, 0, 0, {}}})).ok());
    use(ChunkTable::kWritten, 2);
    host.pass(30 * kSecond);
    const PredictionInfo info = forecast.info();
    EXPECT_FALSE(info.judging);
    ASSERT_TRUE(info.judged);
    const Judgement& judged = *info.judged;
    EXPECT_TRUE(judged.finished);
    EXPECT_EQ(judged.chunks, 6u);
    EXPECT_EQ(judged.writes.predicted, 4u);
    EXPECT_EQ(judged.writes.came_true, 3u);
    EXPECT_EQ(judged.writes.used, 5u);
    EXPECT_NEAR(*judged.writes.precision(), 0.75, 1e-9);
    EXPECT_NEAR(*judged.writes.recall(), 0.6, 1e-9);
    EXPECT_NEAR(judged.writes.expected, 4.4, 1e-9);
    // One of four that did not come true; 0.8 and 0.2 squared; one that nobody listed.
    EXPECT_NEAR(judged.writes.brier, (1 + 0.64 + 0.04 + 1) / 7, 1e-9);
    EXPECT_EQ(judged.reads.predicted, 2u);
    EXPECT_EQ(judged.reads.came_true, 1u);
    // The next one to be judged is the next that comes.
    ASSERT_TRUE(give(set_of({})).ok());
    EXPECT_TRUE(forecast.info().judging);
}

TEST_F(ForecastTest, SnapshotsAreJudgedForTheirHorizon) {
    for (uint64_t id = 1; id <= 10; ++id) {
        ChunkTable table(1 + Judge::kMaxUnlisted);
        table.claim(id)->write = 255;
        forecast.judge_snapshot(id, std::make_unique<Judge>(std::move(table), "m", Sequence(1), host.uptime, 10 * kSecond));
    }
    EXPECT_EQ(forecast.info().wanted_horizon_us, 10 * kSecond);
    use(ChunkTable::kWritten, 5);
    host.pass(11 * kSecond);
    const auto forecasts = forecast.snapshot_forecasts();
    ASSERT_EQ(forecasts.size(), 10u);
    for (const SnapshotForecast& one : forecasts) {
        EXPECT_EQ(one.judgement.cut_short, one.snapshot_id <= 2);  // too many at a time
        EXPECT_EQ(one.judgement.finished, one.snapshot_id > 2);
        EXPECT_EQ(one.judgement.writes.came_true, one.snapshot_id == 5 ? 1u : 0u);
    }
    EXPECT_EQ(forecast.info().wanted_horizon_us, 0u);
}

TEST_F(ForecastTest, HintsAreStrongerThanPredictions) {
    ASSERT_TRUE(give(set_of({{0, 10 * kChunkBytes, 0.1, 0.1, {}}})).ok());
    forecast.add_hint({kChunkBytes, 2 * kChunkBytes, HintKind::will_read, {}});
    EXPECT_EQ(*forecast.relevance(chunk_start(1), Staged::read), 1);
    EXPECT_NEAR(*forecast.relevance(chunk_start(1), Staged::rewrite), 0.1, 0.01);
    EXPECT_NEAR(*forecast.relevance(chunk_start(3), Staged::read), 0.1, 0.01);
    forecast.add_hint({2 * kChunkBytes, kChunkBytes, HintKind::cold, {}});
    EXPECT_EQ(*forecast.relevance(chunk_start(2), Staged::read), 0);
    EXPECT_EQ(*forecast.relevance(chunk_start(1), Staged::read), 1);
    forecast.add_hint({20 * kChunkBytes, 1, HintKind::will_write, 50'000});
    EXPECT_EQ(*forecast.relevance(chunk_start(20), Staged::rewrite), 0.75f);
    EXPECT_EQ(forecast.info().hints, 3u);
    host.pass(Hints::kLifetimeUs);
    EXPECT_FALSE(forecast.relevance(chunk_start(20), Staged::rewrite));
    EXPECT_EQ(forecast.info().hints, 0u);
}

TEST(HintsTest, AreBoundedAndTheNewestCounts) {
    Hints hints;
    for (uint64_t i = 0; i < 5000; ++i) {
        hints.add({i * 2 * kChunkBytes, kChunkBytes, HintKind::will_read, {}}, static_cast<int64_t>(i));
    }
    EXPECT_EQ(hints.size(), Hints::kMaxHints);
    EXPECT_FALSE(hints.find(0, 5000).read);
    EXPECT_TRUE(hints.find(9998, 5000).read);
    hints.add({0, 20000 * kChunkBytes, HintKind::cold, {}}, 5000);
    EXPECT_EQ(hints.size(), 1u);
    hints.add({100 * kChunkBytes, kChunkBytes, HintKind::will_write, {}}, 5000);
    EXPECT_EQ(hints.size(), 3u);
    EXPECT_EQ(*hints.find(99, 5000).write, 0);
    EXPECT_EQ(*hints.find(100, 5000).write, 1);
    EXPECT_EQ(*hints.find(101, 5000).write, 0);
}

}  // namespace
}  // namespace predsnap::test
