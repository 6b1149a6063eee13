// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is found when an image is opened that was not closed.
#include "block/engine/checksum.h"
#include "image_test.h"

namespace predsnap::test {
namespace {

class RecoveryTest : public ImageTest {
  protected:
    uint8_t* segment(uint32_t id) { return &file.bytes.at(image_offset(id, 0)); }
};

TEST_F(RecoveryTest, AnEmptyImageOpens) {
    kill_and_open();
    EXPECT_EQ(content(), now);
    EXPECT_EQ(sequence(), Sequence(0));
}

TEST_F(RecoveryTest, FindsAllThatWasWritten) {
    must_write(0, 8);
    must_write(3, 2);
    must_write(100, 48);
    ASSERT_TRUE(zero(110, 5).ok());
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RecoveryTest, FindsWhatLiesInManySegments) {
    fill_segments(7);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RecoveryTest, WhatWasFlushedOutlivesALossOfPower) {
    must_write(0, 8);
    flush();
    const Stamps flushed = now;
    must_write(0, 16);
    lose_power_and_open();
    EXPECT_EQ(content(), flushed);
}

TEST_F(RecoveryTest, ATornBatchIsDropped) {
    must_write(0, 8);
    flush();
    const Stamps flushed = now;
    must_write(0, 16);
    kill();
    // Segment 0: header, batch 1 (two blocks), batch 2 (three). Its payload's last block is torn.
    flip(image_offset(0, 5 * kBlockSize + 100));
    open();
    EXPECT_EQ(content(), flushed);
    EXPECT_EQ(sequence(), Sequence(1));
}

TEST_F(RecoveryTest, WritingGoesOnAfterATornBatch) {
    must_write(0, 8);
    must_write(8, 8);
    kill();
    flip(image_offset(0, 4 * kBlockSize + 7));
    open();
    now = content();
    must_write(8, 16);
    must_write(40, 3);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RecoveryTest, ALostHeaderOfTheNewestSegmentEndsTheLog) {
    must_write(0, 40);
    must_write(40, 40);
    const Stamps first = now;
    must_write(80, 40);  // opens the next segment
    ASSERT_EQ(engine->info().segments_log, 2u);
    const uint32_t second = 2;  // segment 1 is the index stream's
    kill();
    std::memset(segment(second), 0, kBlockSize);
    open();
    EXPECT_EQ(content(), first);
}

TEST_F(RecoveryTest, DamageBeforeDurableBatchesIsAnError) {
    must_write(0, 8);
    flush();
    must_write(8, 8);
    flush();
    must_write(16, 8);  // says that the two before were durable
    kill();
    flip(image_offset(0, kBlockSize + 100));  // header of the first batch
    const Result<void> opened = try_open();
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, EIO);
    EXPECT_NE(opened.error().message.find("segment 0 offset 4096"), std::string::npos)
        << opened.error().message;
    EXPECT_NE(opened.error().message.find("check -r"), std::string::npos);
}

TEST_F(RecoveryTest, ALostSegmentWithDurableBatchesIsAnError) {
    must_write(0, 8);
    flush();
    fill_segments(2);
    kill();
    std::memset(segment(0), 0, kBlockSize);
    const Result<void> opened = try_open();
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, EIO);
}

TEST_F(RecoveryTest, RepairOpensADamagedLogAndTheNextOpeningNeedsNone) {
    must_write(0, 8);
    const Stamps first = now;
    flush();
    must_write(8, 8);
    flush();
    must_write(16, 8);
    kill();
    flip(image_offset(0, 3 * kBlockSize + 100));  // header of the second batch
    ASSERT_FALSE(try_open().ok());
    ASSERT_TRUE(try_open(true).ok());
    EXPECT_EQ(content(), first);
    now = first;
    ASSERT_TRUE(engine->check({}).ok());
    close_and_open();
    ASSERT_TRUE(engine);
    EXPECT_EQ(content(), now);
    must_write(8, 20);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RecoveryTest, DamageOfABatchThatWasNeverDurableIsATornTail) {
    must_write(0, 8);
    flush();
    const Stamps flushed = now;
    must_write(8, 8);
    must_write(16, 8);  // says that the first was durable, no more
    kill();
    flip(image_offset(0, 3 * kBlockSize + 100));
    open();
    EXPECT_EQ(content(), flushed);
}

TEST_F(RecoveryTest, IndexBlobsStandForTheirSegments) {
    fill_segments(5);
    flush();
    work_in_background();
    const Stamps before = now;
    kill_and_open();
    EXPECT_EQ(content(), before);
    EXPECT_LT(engine->stats().recovered_batches, 4u);  // those of the newest segment only
}

TEST_F(RecoveryTest, ADamagedBlobFallsBackToTheLog) {
    fill_segments(5);
    flush();
    work_in_background();
    kill();
    flip(image_offset(1, kBlockSize + 200));  // the first blob
    open();
    EXPECT_EQ(content(), now);
    fill_segments(2);
    flush();
    work_in_background();
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RecoveryTest, ASegmentWithABlobIsNotWrittenAgain) {
    fill_segments(2);  // the second has its first batch
    flush();
    const Stamps before = now;
    work_in_background();
    kill();
    // The second segment's header and batch were lost, the first one's blob was not.
    file.bytes.resize(image_offset(2, 0));
    ASSERT_TRUE(try_open(true).ok());
    now = content();
    must_write(0, 1);  // would fit in the first segment
    must_write(1, 1);
    kill_and_open();
    EXPECT_EQ(content(), now);
    EXPECT_NE(content(), before);
}

TEST_F(RecoveryTest, ASmallerBatchAfterNoSpaceIsNotLostToAStaleSegmentHeader) {
    must_write(0, 40);
    must_write(40, 40);
    file.fail = [&](const MemoryDevice::Call& call) {
        return call.op == MemoryDevice::Op::write && call.length > 3 * kBlockSize ? ENOSPC : 0;
    };
    file.torn_bytes = kBlockSize;  // the header of the segment that the batch opens gets there
    EXPECT_EQ(write(80, 40).error().code, ENOSPC);
    must_write(80, 1);  // fits in the segment before
    flush();
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RecoveryTest, ATakenBackBatchThatReachedTheDiskIsDropped) {
    must_write(0, 8);
    file.fail = [](const MemoryDevice::Call& call) {
        return call.op == MemoryDevice::Op::write ? EIO : 0;
    };
    file.torn_bytes = UINT64_MAX;  // it gets there all the same
    EXPECT_EQ(write(8, 8).error().code, EIO);
    file.fail = nullptr;
    must_write(20, 4);
    flush();
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RecoveryTest, AnUnacknowledgedBatchMayBeThereAfterACrash) {
    must_write(0, 8);
    Stamps either = now;
    std::fill_n(either.begin() + 8, 8, 2u);  // the stamp of the next write
    file.fail = [](const MemoryDevice::Call& call) {
        return call.op == MemoryDevice::Op::write ? EIO : 0;
    };
    file.torn_bytes = UINT64_MAX;
    EXPECT_EQ(write(8, 8).error().code, EIO);
    file.fail = nullptr;
    kill_and_open();
    EXPECT_EQ(content(), either);
}

TEST_F(RecoveryTest, RollbacksInTheLogAreReplayed) {
    must_write(0, 64);
    const Stamps then = now;
    const Sequence target = sequence();
    ASSERT_TRUE(zero(10, 30).ok());
    must_write(50, 20);
    ASSERT_TRUE(engine->rollback(at(target)).ok());
    now = then;
    must_write(5, 3);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RecoveryTest, RollbacksInBlobsAreReplayed) {
    fill_segments(3);
    const Stamps then = now;
    const Sequence target = sequence();
    fill_segments(3);
    ASSERT_TRUE(engine->rollback(at(target)).ok());
    now = then;
    fill_segments(3);
    flush();
    work_in_background();
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RecoveryTest, ATruncatedImageIsAnError) {
    fill_segments(4);
    ASSERT_TRUE(engine->close().ok());
    engine.reset();
    file.bytes.resize(file.bytes.size() / 2);
    EXPECT_FALSE(try_open().ok());
}

TEST_F(RecoveryTest, AReadOnlyOpeningWritesNothing) {
    fill_segments(3);
    kill();
    const std::vector<uint8_t> before = file.bytes;
    options.writable = false;
    open();
    EXPECT_EQ(content(), now);
    ASSERT_TRUE(engine->close().ok());
    engine.reset();
    EXPECT_EQ(file.bytes, before);
}

TEST_F(RecoveryTest, CrashAfterCrashNothingIsLost) {
    for (int round = 0; round < 20; ++round) {
        must_write(static_cast<uint64_t>(round) * 37 % 1900, 1 + static_cast<uint64_t>(round) * 7 % 60);
        flush();
        must_write(static_cast<uint64_t>(round) * 91 % 1900, 3);
        if (round % 3 == 0) {
            work_in_background();
        }
        kill_and_open();
        ASSERT_EQ(content(), now) << "round " << round;
    }
}

}  // namespace
}  // namespace predsnap::test
