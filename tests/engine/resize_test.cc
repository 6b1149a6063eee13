// SPDX-License-Identifier: GPL-2.0-or-later
#include "image_test.h"

namespace predsnap::test {
namespace {

class ResizeTest : public ImageTest {
  protected:
    void resize(uint64_t sectors) {
        const Result<void> resized = engine->resize(sectors * kSectorSize);
        ASSERT_TRUE(resized.ok()) << resized.error().message;
        now.resize(sectors);
    }
};

TEST_F(ResizeTest, GrownSpaceReadsAsZeros) {
    must_write(0, kTestSectors);
    resize(kTestSectors + 100);
    EXPECT_EQ(content(), now);
    must_write(kTestSectors + 50, 50);
    EXPECT_EQ(content(), now);
}

TEST_F(ResizeTest, WhatIsCutOffDoesNotComeBack) {
    must_write(0, kTestSectors);
    resize(100);
    resize(kTestSectors);
    EXPECT_EQ(content(), now);
}

TEST_F(ResizeTest, ItOutlivesACrash) {
    must_write(0, 200);
    resize(100);
    lose_power_and_open();
    EXPECT_EQ(engine->size(), 100 * kSectorSize);
    resize(300);
    lose_power_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(ResizeTest, ItIsInACheckpoint) {
    must_write(0, 200);
    resize(100);
    ASSERT_TRUE(engine->checkpoint().ok());
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(ResizeTest, ARollbackBringsTheOldSizeBack) {
    must_write(0, kTestSectors);
    const Stamps then = now;
    const Sequence target = sequence();
    resize(100);
    ASSERT_TRUE(engine->rollback(at(target)).ok());
    EXPECT_EQ(content(), then);
    kill_and_open();
    EXPECT_EQ(content(), then);
}

TEST_F(ResizeTest, ViewsHaveTheSizeOfTheirTime) {
    must_write(0, 200);
    const Stamps then = now;
    const Sequence before = sequence();
    resize(100);
    EXPECT_EQ(content_at(at(before)), then);
    EXPECT_EQ(content_at(at(sequence())), now);
}

TEST_F(ResizeTest, ToTheSameSizeIsNothing) {
    const Sequence before = sequence();
    resize(kTestSectors);
    EXPECT_EQ(sequence(), before);
}

TEST_F(ResizeTest, ToNothingAndBack) {
    must_write(0, 200);
    resize(0);
    EXPECT_EQ(engine->size(), 0u);
    resize(50);
    EXPECT_EQ(content(), now);
}

TEST_F(ResizeTest, ImpossibleSizesAreRefused) {
    EXPECT_EQ(engine->resize(513).error().code, EINVAL);
    EXPECT_EQ(engine->resize(kMaxSize + 512).error().code, EINVAL);
}

TEST_F(ResizeTest, TheBackingDiskShowsOnlyWhereItAlwaysDid) {
    MemoryDevice base;
    base.bytes.resize(kTestSectors * kSectorSize);
    for (uint64_t sector = 0; sector < kTestSectors; ++sector) {
        fill_sector(&base.bytes[sector * kSectorSize], 9, sector);
    }
    engine->set_backing_device(&base);
    now.assign(kTestSectors, 9);
    EXPECT_EQ(content(), now);
    resize(100);
    resize(200);  // zeros from 100 on, not the backing disk again
    EXPECT_EQ(content(), now);
    must_write(150, 10);
    EXPECT_EQ(content(), now);
}

TEST_F(ResizeTest, AShorterBackingDiskIsFollowedByZeros) {
    MemoryDevice base;
    base.bytes.resize(10 * kSectorSize + 100);  // not even whole sectors
    for (uint64_t sector = 0; sector < 10; ++sector) {
        fill_sector(&base.bytes[sector * kSectorSize], 9, sector);
    }
    engine->set_backing_device(&base);
    std::fill_n(now.begin(), 10, 9u);
    EXPECT_EQ(content(), now);
}

}  // namespace
}  // namespace predsnap::test
