// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reads through the staging cache, and what predictions do, in a whole engine.
#include "block/engine/staged_reads.h"

#include "image_test.h"

namespace predsnap::test {
namespace {

class StagedReadsTest : public ImageTest {
  protected:
    StagedReadsTest() { options.fine.granularity = Granularity::sub_block; }
    StagingUse reads() const { return engine->fine_info().staging.by_purpose[1]; }
    // What the sectors hold; 0 bytes of the image are read if they are staged.
    void expect_read(uint64_t sector, uint64_t count, bool from_device) {
        std::vector<uint8_t> data(count * kSectorSize);
        const iovec buffer{data.data(), data.size()};
        uint64_t device_reads = 0;
        file.fail = [&](const MemoryDevice::Call& call) {
            device_reads += call.op == MemoryDevice::Op::read;
            return 0;
        };
        const Result<void> read = engine->read(sector * kSectorSize, {&buffer, 1});
        file.fail = nullptr;
        ASSERT_TRUE(read.ok());
        EXPECT_EQ(device_reads > 0, from_device) << "sector " << sector;
        expect_stamps(sector, data);
    }
};

TEST_F(StagedReadsTest, WhatIsReadAgainIsStaged) {
    must_write(0, 64);
    expect_read(0, 8, true);
    expect_read(0, 8, true);   // and is copied
    expect_read(0, 8, false);
    expect_read(3, 2, false);  // parts of it
    EXPECT_EQ(reads().entries, 1u);
    EXPECT_EQ(reads().hits, 2u);
    EXPECT_EQ(reads().used, 1u);
    must_write(1, 1);
    expect_read(0, 8, true);
    EXPECT_EQ(content(), now);
}

TEST_F(StagedReadsTest, WhatWasOverwrittenIsNotServed) {
    must_write(0, 64);
    for (int i = 0; i < 3; ++i) {
        expect_read(8, 16, i < 2);
    }
    must_write(16, 8);
    expect_read(8, 16, true);
    expect_read(8, 16, false);
    ASSERT_TRUE(zero(8, 8).ok());
    EXPECT_EQ(content(), now);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(StagedReadsTest, WhatIsReadInOrderIsNotStaged) {
    must_write(0, 1024);
    for (int round = 0; round < 4; ++round) {
        expect_read(0, 32, round < 2);  // nobody knows yet what comes
        for (uint64_t sector = 32; sector < 1024; sector += 32) {
            expect_read(sector, 32, true);
        }
    }
    EXPECT_EQ(reads().entries, 4u);
}

TEST_F(StagedReadsTest, AViewAndARollbackUseWhatTheyHaveInCommon) {
    must_write(0, 64);
    const Sequence then = sequence();
    const Stamps before = now;
    for (int i = 0; i < 3; ++i) {
        expect_read(0, 8, i < 2);
        expect_read(32, 8, i < 2);
    }
    must_write(32, 8);
    auto view = engine->open_view(at(then));
    ASSERT_TRUE(view.ok());
    EXPECT_EQ(content(*view.value()), before);
    EXPECT_EQ(content(), now);
    view.value().reset();
    ASSERT_TRUE(engine->rollback(at(then)).ok());
    now = before;
    expect_read(0, 8, false);
    expect_read(32, 8, false);  // nobody has looked for it meanwhile
    EXPECT_EQ(content(), now);
}

TEST_F(StagedReadsTest, AViewStagesWhatTheDiskHasNotStaged) {
    must_write(0, 64);
    const Sequence then = sequence();
    const Stamps before = now;
    must_write(0, 8);
    auto view = engine->open_view(at(then));
    ASSERT_TRUE(view.ok());
    uint8_t block[kBlockSize];
    const iovec buffer{block, sizeof(block)};
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(view.value()->read(0, {&buffer, 1}).ok());
    }
    EXPECT_EQ(reads().hits, 1u);
    EXPECT_EQ(content(), now);
    EXPECT_EQ(content(*view.value()), before);
}

TEST_F(StagedReadsTest, AReadThatFailsLeavesNothing) {
    must_write(0, 64);
    flush();
    const auto status = engine->status(0, kBlockSize, true);
    ASSERT_TRUE(status.ok() && status.value().place);
    must_write(100, 1);
    flip(to_bytes(*status.value().place) + 17);
    uint8_t block[kBlockSize];
    const iovec buffer{block, sizeof(block)};
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(engine->read(0, {&buffer, 1}).ok());
    }
    EXPECT_EQ(reads().entries, 0u);
    EXPECT_GE(host.count(Event::corruption), 1u);
}

TEST_F(StagedReadsTest, PredictedReadsAreStagedAtOnce) {
    must_write(0, 512);
    ASSERT_TRUE(predict({{0, kChunkBytes, 0, 0.9, {}}, {kChunkBytes, kChunkBytes, 0, 0.001, {}}}).ok());
    expect_read(0, 8, true);
    expect_read(0, 8, false);
    expect_read(128, 8, true);
    expect_read(128, 8, true);
    expect_read(128, 8, true);  // said to be unlikely
    EXPECT_EQ(engine->prediction_info().source, PredictionInfo::Source::predictions);
    EXPECT_EQ(engine->prediction_info().judging->reads.came_true, 1u);
    host.pass(61'000'000);
    expect_read(256, 8, true);
    EXPECT_EQ(engine->prediction_info().source, PredictionInfo::Source::heuristic);
}

TEST_F(StagedReadsTest, PredictionsThatAreNotUsedDecideNothing) {
    options.fine.use.staging = false;
    kill_and_open();
    must_write(0, 512);
    ASSERT_TRUE(predict({{0, kChunkBytes, 0, 0.9, {}}}).ok());
    expect_read(0, 8, true);
    expect_read(0, 8, true);
    expect_read(0, 8, false);
}

TEST_F(StagedReadsTest, PredictedPagesAreFineFromTheFirstRewriteOn) {
    options.fine.granularity = Granularity::automatic;
    kill_and_open();
    must_write(0, 512);
    ASSERT_TRUE(predict({{0, kChunkBytes, 0.9, 0, 0.05}, {kChunkBytes, kChunkBytes, 0.9, 0, 0.9}}).ok());
    must_write(8, 8);
    must_write(8, 8);
    EXPECT_EQ(engine->stats().deltas, 1u);
    for (int i = 0; i < 5; ++i) {
        must_write(136, 8);
    }
    EXPECT_EQ(engine->stats().deltas, 1u);  // said to change wholly
    for (int i = 0; i < 5; ++i) {
        must_write(264, 8);
    }
    EXPECT_GT(engine->stats().deltas, 1u);  // of which nothing is said
    EXPECT_EQ(content(), now);
}

TEST_F(StagedReadsTest, TheRateAheadSizesThePool) {
    options.pool_max = 64 * kTestSegment;
    kill_and_open();
    must_write(0, 64);
    fill_segments(20);
    engine->resume_background();
    host.run_ready();
    engine->pause_background();
    EXPECT_EQ(engine->info().segments_ready, 0u);
    PredictionSet set;
    set.model = "test";
    set.base = sequence();
    set.horizon_us = 60'000'000;
    set.write_rate = 5.0 * kTestSegment;
    ASSERT_TRUE(engine->set_predictions(set).ok());
    flush();
    work_in_background();
    EXPECT_EQ(engine->info().segments_ready, 10u);
}

TEST_F(StagedReadsTest, ASnapshotWithAHorizonIsJudged) {
    must_write(0, 512);
    ASSERT_TRUE(predict({{0, 2 * kChunkBytes, 0.9, 0, {}}}).ok());
    SnapshotInfo wanted;
    wanted.name = "s";
    wanted.horizon_s = 10;
    const auto made = engine->snapshot_create(wanted);
    ASSERT_TRUE(made.ok());
    EXPECT_EQ(engine->prediction_info().wanted_horizon_us, 10'000'000u);
    must_write(0, 8);
    must_write(300, 8);
    host.pass(5'000'000);
    ASSERT_EQ(engine->snapshot_forecasts().size(), 1u);
    EXPECT_FALSE(engine->snapshot_forecasts()[0].judgement.finished);
    host.pass(5'000'000);
    must_write(0, 8);
    const auto forecasts = engine->snapshot_forecasts();
    ASSERT_EQ(forecasts.size(), 1u);
    EXPECT_EQ(forecasts[0].snapshot_id, made.value().id);
    const Judgement& judgement = forecasts[0].judgement;
    EXPECT_TRUE(judgement.finished);
    EXPECT_EQ(judgement.model, "test");
    EXPECT_EQ(judgement.writes.predicted, 2u);
    EXPECT_EQ(judgement.writes.came_true, 1u);
    EXPECT_EQ(judgement.writes.used, 2u);
}

TEST_F(StagedReadsTest, WithoutPredictionsTheBuiltInRulesAreJudged) {
    options.fine.granularity = Granularity::automatic;
    kill_and_open();
    for (int i = 0; i < 20; ++i) {
        must_write(0, 8);
    }
    SnapshotInfo wanted;
    wanted.name = "s";
    wanted.horizon_s = 10;
    ASSERT_TRUE(engine->snapshot_create(wanted).ok());
    must_write(0, 8);
    const auto forecasts = engine->snapshot_forecasts();
    ASSERT_EQ(forecasts.size(), 1u);
    EXPECT_EQ(forecasts[0].judgement.model, "heuristic");
    EXPECT_EQ(forecasts[0].judgement.writes.predicted, 1u);
    EXPECT_EQ(forecasts[0].judgement.writes.came_true, 1u);
}

TEST_F(StagedReadsTest, TheThresholdDecides) {
    must_write(0, 64);
    Engine::ThresholdChange change;
    change.threshold = 0.9;
    change.adaptive = false;
    ASSERT_TRUE(engine->set_threshold(change).ok());
    for (int i = 0; i < 5; ++i) {
        expect_read(0, 8, true);
    }
    EXPECT_GT(reads().refused, 0u);
    change.threshold = 2;
    EXPECT_FALSE(engine->set_threshold(change).ok());
    Engine::ThresholdChange crossed;
    crossed.min = 0.8;
    crossed.max = 0.7;
    crossed.adaptive = true;
    EXPECT_FALSE(engine->set_threshold(crossed).ok());
    EXPECT_NEAR(engine->threshold_info().value, 0.9, 1e-6);
    change.threshold = 0;
    ASSERT_TRUE(engine->set_threshold(change).ok());
    expect_read(0, 8, true);
    expect_read(0, 8, false);
}

TEST_F(StagedReadsTest, HintsAreWithinTheDisk) {
    EXPECT_FALSE(engine->hint({0, 0, HintKind::cold, {}}).ok());
    EXPECT_FALSE(engine->hint({kTestSectors * kSectorSize, 512, HintKind::cold, {}}).ok());
    EXPECT_FALSE(engine->hint({UINT64_MAX, 2, HintKind::cold, {}}).ok());
    EXPECT_FALSE(engine->hint({0, 512, HintKind::will_read, -1}).ok());
    must_write(0, 64);
    ASSERT_TRUE(engine->hint({0, 4096, HintKind::will_read, {}}).ok());
    expect_read(0, 8, true);
    expect_read(0, 8, false);
    ASSERT_TRUE(engine->hint({0, 4096, HintKind::cold, {}}).ok());
    EXPECT_EQ(engine->prediction_info().hints, 1u);
}

TEST_F(StagedReadsTest, PredictionsPastTheEndAreRefused) {
    must_write(0, 8);
    const Result<void> given = predict({{kTestSectors * kSectorSize, 512, 0, 0, {}}});
    ASSERT_FALSE(given.ok());
    EXPECT_EQ(given.error().code, EINVAL);
    EXPECT_EQ(engine->prediction_info().refused, 1u);
}

TEST(UseCountsTest, WhatIsUsedOftenIsKept) {
    UseCounts counts;
    EXPECT_EQ(counts.use(1), 0u);
    counts.set_capacity(100);
    for (unsigned i = 0; i < 50; ++i) {
        EXPECT_EQ(counts.use(7), i);
    }
    uint64_t seen = 0;
    for (uint64_t block = 1000; block < 11'000; ++block) {
        seen += counts.use(block) > 0;
    }
    EXPECT_LT(seen, 20u);
    counts.set_capacity(200);
    EXPECT_EQ(counts.use(7), 0u);
}

}  // namespace
}  // namespace predsnap::test
