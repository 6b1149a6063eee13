// SPDX-License-Identifier: GPL-2.0-or-later
//
// Prefetching into the staging cache, in a whole engine.
#include "block/engine/prefetch.h"

#include "image_test.h"

namespace predsnap::test {
namespace {

// A disk over a base, without a window, and with a capacity image.
class PrefetchTest : public WithoutWindowTest {
  protected:
    PrefetchTest() { options.fine.granularity = Granularity::sub_block; }
    void SetUp() override {
        options.capacity = &slow;
        WithoutWindowTest::SetUp();
    }
    void put_base() {
        base.bytes.resize(kTestSectors * kSectorSize);
        for (uint64_t sector = 0; sector < kTestSectors; ++sector) {
            fill_sector(&base.bytes[sector * kSectorSize], 9, sector);
        }
        engine->set_backing_device(&base);
        now.assign(kTestSectors, 9);
    }
    Result<void> hint(uint64_t sector, uint64_t count, HintKind kind = HintKind::will_read) {
        return engine->hint({sector * kSectorSize, count * kSectorSize, kind, {}});
    }
    static Prediction read_of(uint64_t chunk, double read) {
        return {chunk * kChunkBytes, kChunkBytes, 0, read, {}};
    }
    // A snapshot whose streams lie on the capacity image.
    Stamps old_snapshot() {
        must_write(0, 512);
        const Stamps then = now;
        snapshot("old");
        for (int i = 0; i < 14; ++i) {
            must_write(0, 512);
            flush();
            work_in_background();
        }
        EXPECT_GT(engine->info().capacity.streams, 0u);
        return then;
    }
    PrefetchInfo prefetch() const { return engine->prefetch_info(); }
    StagingUse staged() const { return engine->fine_info().staging.by_purpose[2]; }
    size_t reads(const MemoryDevice& device) const { return device.count(MemoryDevice::Op::read); }
    void expect_read(uint64_t sector, uint64_t count) {
        std::vector<uint8_t> data(count * kSectorSize);
        const iovec buffer{data.data(), data.size()};
        ASSERT_TRUE(engine->read(sector * kSectorSize, {&buffer, 1}).ok());
        expect_stamps(sector, data);
    }

    MemoryDevice slow, base;
};

TEST_F(PrefetchTest, WhatIsHintedIsFetchedFromBelow) {
    put_base();
    must_write(136, 8);
    ASSERT_TRUE(hint(128, 256).ok());
    EXPECT_EQ(prefetch().queued, 2u);  // it is paused
    work_in_background();
    EXPECT_EQ(prefetch().queued, 0u);
    EXPECT_EQ(prefetch().fetched, 31u);  // one block does not lie there
    const size_t before = reads(base);
    expect_read(128, 8);
    expect_read(144, 112);
    expect_read(256, 128);
    EXPECT_EQ(reads(base), before);
    expect_read(96, 128);
    EXPECT_GT(reads(base), before);
    EXPECT_EQ(staged().used, 31u);
    EXPECT_EQ(prefetch().unused, 0u);
}

TEST_F(PrefetchTest, LongReadsTakeWhatIsThere) {
    put_base();
    ASSERT_TRUE(hint(256, 512).ok());
    work_in_background();
    const size_t before = reads(base);
    expect_read(256, 512);
    EXPECT_EQ(reads(base), before);
    expect_read(131, 700);  // its beginning and its end do not lie there
    EXPECT_EQ(reads(base), before + 2);
}

TEST_F(PrefetchTest, WhatWasWrittenSinceIsNotServed) {
    put_base();
    ASSERT_TRUE(hint(0, 128).ok());
    work_in_background();
    must_write(8, 3);
    ASSERT_TRUE(zero(16, 8).ok());
    expect_read(0, 128);
    expect_read(8, 8);
    expect_read(16, 8);
    EXPECT_EQ(content(), now);
}

TEST_F(PrefetchTest, AnotherDiskBelowIsAnotherSource) {
    put_base();
    ASSERT_TRUE(hint(0, 128).ok());
    work_in_background();
    MemoryDevice other;
    other.bytes.resize(kTestSectors * kSectorSize);
    for (uint64_t sector = 0; sector < kTestSectors; ++sector) {
        fill_sector(&other.bytes[sector * kSectorSize], 7, sector);
    }
    engine->set_backing_device(&other);
    now.assign(kTestSectors, 7);
    EXPECT_EQ(content(), now);
    expect_read(0, 8);
    engine->set_backing_device(&base);
}

TEST_F(PrefetchTest, PredictedReadsAreFetchedTheLikelyOnesFirst) {
    put_base();
    options.fine.staging_bytes = 64 << 10;
    engine->set_fine(options.fine);  // room for 12 blocks that nobody used: less than a chunk
    ASSERT_TRUE(predict({read_of(3, 0.2), read_of(5, 0.9)}).ok());
    work_in_background();
    EXPECT_EQ(prefetch().fetched, 0u);
    EXPECT_EQ(prefetch().queued, 2u);
    options.fine.staging_bytes = 128 << 10;
    engine->set_fine(options.fine);
    work_in_background();
    EXPECT_EQ(prefetch().fetched, 16u);
    const size_t before = reads(base);
    expect_read(5 * 128, 128);
    EXPECT_EQ(reads(base), before);
    host.run_ready();
    work_in_background();  // there is room again
    EXPECT_EQ(prefetch().fetched, 32u);
    expect_read(3 * 128, 128);
    EXPECT_EQ(reads(base), before + 1);  // only what the background read
}

TEST_F(PrefetchTest, UnlikelyReadsAndThoseWithoutNeedAreNotFetched) {
    put_base();
    must_write(0, 128);
    ASSERT_TRUE(predict({read_of(0, 0.9), read_of(1, 0.01), read_of(2, 0)}).ok());
    work_in_background();
    EXPECT_EQ(prefetch().fetched, 0u);
    EXPECT_EQ(prefetch().needless, 1u);
    EXPECT_EQ(prefetch().refused, 16u);
    EXPECT_EQ(reads(base), 0u);
}

TEST_F(PrefetchTest, ChunksThatFollowEachOtherAreReadInOneGo) {
    put_base();
    ASSERT_TRUE(predict({read_of(3, 0.7), read_of(2, 0.6), read_of(1, 0.9), read_of(8, 0.8)}).ok());
    work_in_background();
    EXPECT_EQ(prefetch().fetched, 4 * kChunkSectors / kSectorsPerBlock);
    EXPECT_EQ(reads(base), 2u);
    expect_read(kChunkSectors, 3 * kChunkSectors);
    EXPECT_EQ(reads(base), 2u);
}

TEST_F(PrefetchTest, WhatTheGuestReadsItselfIsNotFetched) {
    put_base();
    ASSERT_TRUE(hint(0, 16).ok());
    work_in_background();
    ASSERT_TRUE(hint(128, 256).ok());
    expect_read(100, 200);
    EXPECT_EQ(prefetch().queued, 1u);
    EXPECT_EQ(prefetch().dropped, 1u);
}

TEST_F(PrefetchTest, AReadWaitsForWhatIsOnItsWay) {
    put_base();
    bool reading = false;
    base.before = [&](const MemoryDevice::Call& call) {
        if (call.op == MemoryDevice::Op::read && !reading) {
            reading = true;
            host.spawn([this] { expect_read(8, 8); });
            for (int i = 0; i < 10; ++i) {
                host.yield();
            }
        }
    };
    ASSERT_TRUE(hint(0, 128).ok());
    work_in_background();
    EXPECT_EQ(reads(base), 1u);
    EXPECT_EQ(prefetch().waits, 1u);
    EXPECT_EQ(staged().used, 1u);
}

TEST_F(PrefetchTest, WhatIsOverwrittenWhileItIsReadIsNotKept) {
    put_base();
    bool reading = false;
    base.before = [&](const MemoryDevice::Call&) {
        if (!reading) {
            reading = true;
            must_write(16, 8);
        }
    };
    ASSERT_TRUE(hint(0, 128).ok());
    work_in_background();
    EXPECT_EQ(prefetch().late, 1u);
    EXPECT_EQ(content(), now);
}

TEST_F(PrefetchTest, ARollbackFetchesWhatLiesOnTheCapacityImage) {
    const Stamps then = old_snapshot();
    ASSERT_TRUE(engine->rollback(at("old")).ok());
    now = then;
    EXPECT_EQ(prefetch().queued, 4u);
    engine->resume_background();
    host.run_ready();
    engine->pause_background();
    host.run_ready();
    EXPECT_EQ(prefetch().fetched, 64u);
    const size_t before = reads(slow);
    expect_read(0, 512);
    EXPECT_EQ(reads(slow), before);
    EXPECT_EQ(content(), now);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(PrefetchTest, PartsOfAStateAreFetchedForAView) {
    const Stamps then = old_snapshot();
    for (int i = 0; i < 3; ++i) {  // until its streams are not merged any more: then they have other places
        must_write(0, 512);
        flush();
        work_in_background();
    }
    ASSERT_TRUE(engine->prefetch(at("old"), {{0, 2 * kChunkBytes, 0.5}}).value());
    EXPECT_EQ(engine->info().views_open, 1u);
    engine->resume_background();
    host.run_ready();
    engine->pause_background();
    EXPECT_EQ(prefetch().fetched, 32u);
    EXPECT_EQ(engine->info().views_open, 0u);
    const Stamps left = now;
    auto view = engine->open_view(at("old"));
    ASSERT_TRUE(view.ok());
    const size_t before = reads(slow);
    std::vector<uint8_t> data(2 * kChunkBytes);
    const iovec buffer{data.data(), data.size()};
    ASSERT_TRUE(view.value()->read(0, {&buffer, 1}).ok());
    EXPECT_EQ(reads(slow), before);
    EXPECT_EQ(content(*view.value()), then);
    view.value().reset();
    EXPECT_EQ(content(), left);
    ASSERT_TRUE(engine->rollback(at("old")).ok());
    now = then;
    expect_read(0, 256);
    EXPECT_EQ(content(), then);
}

TEST_F(PrefetchTest, ASnapshotWithAHorizonStagesWhatWillBeOverwritten) {
    options.fine.granularity = Granularity::fine;
    must_write(0, 512);
    kill_and_open();
    ASSERT_TRUE(predict({{0, 2 * kChunkBytes, 0.9, 0, {}}, {2 * kChunkBytes, kChunkBytes, 0.2, 0, {}}}).ok());
    SnapshotInfo wanted;
    wanted.name = "before";
    wanted.horizon_s = 60;
    ASSERT_TRUE(engine->snapshot_create(wanted).ok());
    work_in_background();
    EXPECT_EQ(prefetch().fetched, 32u);  // two chunks
    EXPECT_EQ(staged().used, 0u);
    // What is written is compared with what was there, which need not be read.
    const size_t before = reads(file);
    for (uint64_t block = 0; block < 32; ++block) {
        must_write(block * kSectorsPerBlock, kSectorsPerBlock);
    }
    EXPECT_EQ(reads(file), before);
    EXPECT_EQ(staged().used, 32u);
    EXPECT_EQ(content(), now);
}

TEST_F(PrefetchTest, AStateIsNotFetchedWithoutRoomOrReason) {
    must_write(0, 512);
    const Moment moment = at(sequence());
    EXPECT_EQ(engine->prefetch(moment, {{kTestSectors * kSectorSize, 1, 1}}).error().code, EINVAL);
    EXPECT_EQ(engine->prefetch(at("none"), {{0, 1, 1}}).error().code, ENOENT);
    for (size_t i = 0; i < Prefetcher::kMaxViews; ++i) {
        EXPECT_TRUE(engine->prefetch(moment, {{0, 1, 1}}).value());
    }
    EXPECT_FALSE(engine->prefetch(moment, {{0, 1, 1}}).value());
    EXPECT_EQ(engine->info().views_open, Prefetcher::kMaxViews);
    work_in_background();
    EXPECT_EQ(engine->info().views_open, 0u);
    options.fine.stage_reads = false;
    engine->set_fine(options.fine);
    EXPECT_FALSE(engine->prefetch(moment, {{0, 1, 1}}).value());
    EXPECT_EQ(content(), now);
}

TEST_F(PrefetchTest, AFailingDeviceEndsIt) {
    put_base();
    base.fail = [](const MemoryDevice::Call&) { return EIO; };
    for (uint64_t sector = 0; sector < kTestSectors; sector += 2 * kChunkSectors) {
        ASSERT_TRUE(hint(sector, kChunkSectors).ok());  // apart, so that each is read alone
    }
    work_in_background();
    EXPECT_EQ(prefetch().queued, 0u);
    EXPECT_EQ(prefetch().fetched, 0u);
    EXPECT_GE(prefetch().failures, 8u);
    EXPECT_TRUE(host.reports.empty());
    base.fail = nullptr;
    ASSERT_TRUE(hint(0, kTestSectors).ok());
    work_in_background();
    EXPECT_EQ(prefetch().fetched, kTestSectors / kSectorsPerBlock);
    EXPECT_EQ(content(), now);
}

TEST_F(PrefetchTest, WithoutStagedReadsNothingIsFetched) {
    put_base();
    options.fine.stage_reads = false;
    engine->set_fine(options.fine);
    ASSERT_TRUE(hint(0, 128).ok());
    work_in_background();
    EXPECT_EQ(prefetch().wanted, 0u);
    EXPECT_EQ(content(), now);
}

}  // namespace
}  // namespace predsnap::test
