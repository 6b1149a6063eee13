// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/activity.h"

#include <gtest/gtest.h>

#include "random_load.h"

namespace predsnap::predict::test {
namespace {

TEST(Activity, MemoryIsBoundedAndTheOldestAreForgotten) {
    constexpr size_t kMax = 1000;
    Activity activity(kMax);
    for (ChunkId id = 0; id < 10 * kMax; ++id) {
        activity.observe({static_cast<int64_t>(id) * 1000, id * kChunkSize, 4096, Op::kWrite});
        ASSERT_LE(activity.chunks().size(), kMax);
    }
    EXPECT_NE(activity.find(10 * kMax - 1), nullptr);
    EXPECT_EQ(activity.find(0), nullptr);
    EXPECT_LT(activity.memory_bytes(), kMax * 2000);
    for (const Chunk& chunk : activity.chunks()) {
        EXPECT_EQ(activity.find(chunk.id), &chunk);
        for (const Successors::Entry& entry : chunk.after[1].entries()) {
            if (entry.slot != UINT32_MAX) {  // each was followed by its neighbour, wherever that is now
                ASSERT_LT(entry.slot, activity.chunks().size());
                EXPECT_EQ(activity.chunks()[entry.slot].id, chunk.id + 1);
            }
        }
    }
}

TEST(Activity, ManyChunksAtTheSameTimeStayWithinTheBound) {
    Activity activity(100);
    for (ChunkId id = 0; id < 1000; ++id) {
        activity.observe({5, id * kChunkSize, 4096, Op::kRead});
        ASSERT_LE(activity.chunks().size(), 100u);
    }
}

TEST(Activity, TakesHostileRequests) {
    Activity activity;
    activity.observe({0, UINT64_MAX - 100, 4096, Op::kWrite});  // past the end of addresses
    activity.observe({0, 0, 0, Op::kWrite});
    EXPECT_TRUE(activity.chunks().empty());
    activity.observe({10, 0, 1ull << 50, Op::kWrite});  // counts in its first 64 MiB
    EXPECT_EQ(activity.chunks().size(), 1024u);
    activity.observe({-1000, 0, 4096, Op::kWrite});  // time does not go back
    EXPECT_EQ(activity.now_us(), 10);
}

TEST(Activity, ARunIsSeenAsSequential) {
    Activity activity;
    for (int i = 0; i < 40; ++i) {
        activity.observe({i, static_cast<uint64_t>(i) * 4096, 4096, Op::kWrite});
        activity.observe({i, (1000 + static_cast<uint64_t>(i * i) * 7) * kChunkSize, 4096, Op::kWrite});
    }
    EXPECT_GT(activity.find(1)->sequential, 0.9f);
    EXPECT_EQ(activity.find(1000)->sequential, 0.f);
}

TEST(Activity, RateOfWrites) {
    Activity activity;
    for (int64_t i = 0; i < 6000; ++i) {
        activity.observe({i * kSecond / 10, 0, 4096, Op::kWrite});
    }
    EXPECT_NEAR(activity.write_rate(600 * kSecond), 40960, 410);
    EXPECT_LT(activity.write_rate(1200 * kSecond), 41);
}

}  // namespace
}  // namespace predsnap::predict::test
