// SPDX-License-Identifier: GPL-2.0-or-later
//
// The disk put in order, by coalescing on demand.
#include "block/engine/order.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "image_test.h"

namespace predsnap::test {
namespace {

constexpr uint64_t kBlocks = kTestSectors / kSectorsPerBlock;

class OrderTest : public ImageTest {
  protected:
    void SetUp() override {
        CreateOptions made;
        made.size = kTestSectors * kSectorSize;
        made.segment_size = 256 << 10;
        create(made);
        options.fine.granularity = Granularity::sub_block;
        open();
        ASSERT_TRUE(engine->set_retention({0, {}}).ok());
    }
    // Each block of the disk once, in any order.
    void write_all() {
        std::vector<uint64_t> blocks(kBlocks);
        std::iota(blocks.begin(), blocks.end(), uint64_t{0});
        std::shuffle(blocks.begin(), blocks.end(), random_);
        for (const uint64_t block : blocks) {
            must_write(block * kSectorsPerBlock, kSectorsPerBlock);
        }
        flush();
        work_in_background();
    }
    // Until what was written before is in segments that are past.
    void close_segments() {
        for (int i = 0; i < 40; ++i) {
            must_write(0, 40);
        }
        flush();
        work_in_background();
    }
    // Pieces of the image that the disk's data is in.
    size_t pieces() {
        size_t count = 0;
        Place next;
        for (uint64_t sector = 0; sector < kTestSectors; sector += kSectorsPerBlock) {
            const auto status = engine->status(sector * kSectorSize, kBlockSize, true);
            if (!status.ok() || !status.value().place) {
                ADD_FAILURE() << "block at sector " << sector << " is nowhere";
                return 0;
            }
            count += *status.value().place != next;
            next = *status.value().place + kSectorsPerBlock;
        }
        return count;
    }
    void coalesce(std::optional<Time> until = {}) {
        engine->begin_coalescing(until);
        work_in_background();
        EXPECT_FALSE(engine->coalescing().running);
        EXPECT_EQ(engine->coalescing().error, 0);
        EXPECT_EQ(engine->coalescing().done, engine->coalescing().total);
    }
    void expect_sound() {
        EXPECT_EQ(content(), now);
        const auto checked = engine->check({});
        ASSERT_TRUE(checked.ok());
        EXPECT_EQ(checked.value().corruptions, 0u) << checked.value().findings.front();
    }

  private:
    std::mt19937 random_{7};
};

TEST_F(OrderTest, WhatWasWrittenHereAndThereIsInOrder) {
    for (int i = 0; i < 4; ++i) {
        write_all();
    }
    close_segments();
    const size_t before = pieces();
    const uint64_t image = file.bytes.size();
    EXPECT_GT(before, kBlocks * 3 / 4);
    coalesce();
    EXPECT_LE(pieces(), 24u);
    expect_sound();
    EXPECT_LE(file.bytes.size(), image + kTestSectors * kSectorSize + 2 * (256 << 10));
    kill_and_open();
    EXPECT_LE(pieces(), 24u);
    expect_sound();
    lose_power_and_open();
    expect_sound();
    // Done once, it need not be done again, but for what was written last.
    coalesce();
    EXPECT_LE(engine->stats().moved_bytes, kTestSectors * kSectorSize / 4);
}

TEST_F(OrderTest, WhatHistoryNeedsStaysWhereItIs) {
    ASSERT_TRUE(engine->set_retention({}).ok());
    write_all();
    write_all();
    const uint64_t moved = engine->stats().moved_bytes;
    coalesce();
    EXPECT_EQ(engine->stats().moved_bytes, moved);
    EXPECT_GT(pieces(), kBlocks / 2);
    // Up to now: then it does not need it any more.
    close_segments();
    host.time += 1'000'000;
    coalesce(host.time);
    EXPECT_GT(engine->stats().moved_bytes, moved);
    expect_sound();
}

// The newest segment is not full. What was overwritten by what is in it is free all the same, not only when the guest goes on.
TEST_F(OrderTest, WhatWasDroppedIsFreeInTheEnd) {
    ASSERT_TRUE(engine->set_retention({}).ok());
    write_all();
    close_segments();
    const uint64_t before = engine->info().segments_log;
    const Sequence open_since = sequence();
    for (uint64_t sector = 0; sector + 512 <= kTestSectors; sector += 512) {
        ASSERT_TRUE(zero(sector, 512).ok());  // all that was written, in little of the log
    }
    ASSERT_EQ(engine->info().segments_log, before);
    flush();
    host.time += 1'000'000;
    kill_and_open();
    engine->pause_background();
    coalesce(host.time);
    const EngineInfo info = engine->info();
    EXPECT_GT(info.floor, open_since);
    EXPECT_EQ(info.segments_leaving, 0u);
    EXPECT_LE(info.segments_past, 1u);
    expect_sound();
    kill_and_open();
    expect_sound();
    must_write(100, 50);
    flush();
    lose_power_and_open();
    expect_sound();
}

TEST_F(OrderTest, CorruptDataIsNotMovedAndIsSaid) {
    write_all();
    write_all();
    close_segments();
    const auto status = engine->status(40 * kBlockSize, kBlockSize, true);
    ASSERT_TRUE(status.ok() && status.value().place);
    flip(to_bytes(*status.value().place) + 9);
    engine->begin_coalescing({});
    work_in_background();
    EXPECT_EQ(engine->coalescing().error, EIO);
    std::vector<uint8_t> data(kBlockSize);
    const iovec to{data.data(), data.size()};
    EXPECT_FALSE(engine->read(40 * kBlockSize, {&to, 1}).ok());
    EXPECT_TRUE(engine->read(kBlockSize, {&to, 1}).ok());
}

}  // namespace
}  // namespace predsnap::test
