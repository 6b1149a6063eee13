// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/staging.h"

#include <gtest/gtest.h>

#include "block/engine/granularity.h"

namespace predsnap::test {
namespace {

Staging::Source source(uint64_t place) {
    Extent extent;
    extent.count = kSectorsPerBlock;
    extent.kind = ExtentKind::unit;
    extent.place = Place(place);
    return {extent, 1};
}

class StagingTest : public ::testing::Test {
  protected:
    StagingTest() { staging.set_limit(4 * kBlockSize); }
    bool put(uint64_t block, uint64_t place, float score = 0.5) {
        const auto slot = staging.take(score);
        if (!slot) {
            return false;
        }
        staging.content(*slot)[0] = static_cast<uint8_t>(block);
        staging.put(*slot, Sector(block * 8), source(place), score);
        return true;
    }
    bool has(uint64_t block, uint64_t place) {
        const auto slot = staging.find(Sector(block * 8), source(place));
        if (slot) {
            EXPECT_EQ(staging.content(*slot)[0], block);
            staging.unpin(*slot);
        }
        return slot.has_value();
    }
    Staging staging;
};

TEST_F(StagingTest, OnlyWhatIsACopyOfJustThatIsFound) {
    ASSERT_TRUE(put(1, 100));
    EXPECT_TRUE(has(1, 100));
    EXPECT_FALSE(has(2, 100));
    Staging::Source other = source(100);
    other.ordinal = 2;  // the same place, but the segment was used again
    EXPECT_FALSE(staging.find(Sector(8), other).has_value());
    EXPECT_FALSE(has(1, 100));  // and it is gone
    EXPECT_EQ(staging.stats().invalidations, 1u);
    EXPECT_EQ(staging.stats().hits, 1u);
    EXPECT_EQ(staging.stats().misses, 3u);
    EXPECT_EQ(staging.stats().entries, 0u);
}

TEST_F(StagingTest, TheLeastRecentlyUsedMakesRoom) {
    for (uint64_t block = 1; block <= 4; ++block) {
        ASSERT_TRUE(put(block, block));
    }
    EXPECT_TRUE(has(1, 1));
    ASSERT_TRUE(put(5, 5));
    EXPECT_TRUE(has(1, 1));
    EXPECT_FALSE(has(2, 2));
    EXPECT_EQ(staging.stats().evictions, 1u);
    EXPECT_EQ(staging.stats().bytes, 4u * kBlockSize);
}

TEST_F(StagingTest, WhatIsMoreRelevantStaysForAWhile) {
    for (uint64_t block = 1; block <= 4; ++block) {
        ASSERT_TRUE(put(block, block, 0.9f));
    }
    EXPECT_FALSE(put(5, 5, 0.1f));
    EXPECT_EQ(staging.stats().refused, 1u);
    int tries = 0;
    while (!put(5, 5, 0.1f)) {
        ASSERT_LT(++tries, 20);
    }
    EXPECT_TRUE(has(5, 5));
}

TEST_F(StagingTest, WhatIsSaidNowCountsForMoreThanWhatWasSaidThen) {
    for (uint64_t block = 1; block <= 4; ++block) {
        ASSERT_TRUE(put(block, block, 0.9f));
    }
    staging.set_scorer([](Sector block, Staged, bool) {
        return block == Sector(24) ? std::optional(0.2f) : std::nullopt;
    });
    ASSERT_TRUE(put(5, 5, 0.3f));
    EXPECT_FALSE(has(3, 3));
    EXPECT_TRUE(has(1, 1));
}

TEST_F(StagingTest, CountsAreByPurpose) {
    ASSERT_TRUE(put(1, 1));
    const auto slot = staging.take(0.5, Staged::read);
    ASSERT_TRUE(slot);
    staging.put(*slot, Sector(16), source(2), 0.5, Staged::read);
    const auto found = staging.peek(Sector(16), source(2));
    ASSERT_TRUE(found);
    staging.unpin(*found);
    EXPECT_FALSE(staging.peek(Sector(8), source(9)));  // stays
    staging.invalidate(Sector(16));
    const StagingStats stats = staging.stats();
    EXPECT_EQ(stats.by_purpose[0].entries, 1u);
    EXPECT_EQ(stats.by_purpose[1].entries, 0u);
    EXPECT_EQ(stats.by_purpose[1].admitted, 1u);
    EXPECT_EQ(stats.by_purpose[1].used, 1u);
    EXPECT_EQ(stats.by_purpose[1].hits, 1u);
    EXPECT_EQ(stats.by_purpose[1].misses, 1u);
    EXPECT_EQ(stats.by_purpose[1].invalidations, 1u);
    EXPECT_EQ(stats.invalidations, 1u);
}

TEST_F(StagingTest, WhatIsPinnedStaysWhateverHappens) {
    ASSERT_TRUE(put(1, 1));
    const auto pinned = staging.find(Sector(8), source(1));
    ASSERT_TRUE(pinned.has_value());
    const uint8_t* const content = staging.content(*pinned);
    for (uint64_t block = 2; block <= 10; ++block) {
        put(block, block);
    }
    staging.invalidate(Sector(8));
    staging.set_limit(2 * kBlockSize);
    for (uint64_t block = 2; block <= 10; ++block) {
        put(block, block);
    }
    EXPECT_EQ(content[0], 1);
    staging.unpin(*pinned);
    EXPECT_LE(staging.stats().bytes, 2u * kBlockSize);
}

TEST_F(StagingTest, WhatWasMovedIsFoundWhereItIs) {
    ASSERT_TRUE(put(1, 100));
    staging.moved(Sector(8), Place(100), 2, source(300));  // not what this is a copy of
    staging.moved(Sector(8), Place(101), 1, source(300));
    EXPECT_TRUE(has(1, 100));
    staging.moved(Sector(8), Place(100), 1, source(300));
    EXPECT_TRUE(has(1, 300));
    staging.moved(Sector(16), Place(100), 1, source(400));
}

TEST_F(StagingTest, WithoutRoomThereIsNoCache) {
    staging.set_limit(0);
    EXPECT_FALSE(put(1, 1));
    EXPECT_EQ(staging.stats().memory_bytes, 0u);
}

TEST_F(StagingTest, WhatIsNotValidIsSwept) {
    for (uint64_t block = 1; block <= 4; ++block) {
        ASSERT_TRUE(put(block, block));
    }
    const size_t swept = staging.sweep(256, [](Sector block, const Staging::Source&) { return block.value > 16; });
    EXPECT_EQ(swept, 2u);
    EXPECT_FALSE(staging.contains(Sector(8)));
    EXPECT_TRUE(staging.contains(Sector(24)));
}

class GranularityTest : public ::testing::Test {
  protected:
    GranularityTest() { map.set_staging(1000 * kBlockSize); }
    bool wants(uint64_t block) { return map.wants(Sector(block * 8), 8, Time(1'000'000)); }
    GranularityMap map;
};

TEST_F(GranularityTest, OnlyWhatIsWrittenAgainSoonIsLookedAt) {
    EXPECT_FALSE(wants(5));
    EXPECT_TRUE(wants(5));
    uint64_t wanted = 0;
    for (uint64_t block = 0; block < 100'000; ++block) {
        wanted += wants(1000 + block * 7919 % 100'003);
    }
    EXPECT_LT(wanted, 100u);  // false alarms
    EXPECT_FALSE(wants(5));
}

TEST_F(GranularityTest, WhatChangesLittleIsFineAndIsKept) {
    wants(16);
    ASSERT_TRUE(wants(16));
    map.measured(Sector(128), 200, kBlockSize);
    EXPECT_EQ(map.fine_count(), 1u);
    EXPECT_EQ(map.fine_chunks(), std::vector<uint64_t>{1});
    GranularityMap other;
    other.restore(map.fine_chunks());
    EXPECT_EQ(other.fine_chunks(), map.fine_chunks());
    for (int i = 0; i < 20; ++i) {
        map.measured(Sector(128), kBlockSize, kBlockSize);
    }
    EXPECT_EQ(map.fine_count(), 0u);
}

TEST_F(GranularityTest, WhatChangesMuchIsTriedMoreAndMoreRarely) {
    wants(16);
    int tries = 0;
    for (int i = 0; i < 1000; ++i) {
        if (wants(16)) {
            ++tries;
            map.measured(Sector(128), 4000, kBlockSize);
        }
    }
    EXPECT_GT(tries, 3);
    EXPECT_LT(tries, 12);
}

TEST_F(GranularityTest, WhatIsWrittenInOrderIsNotFine) {
    for (uint64_t block = 0; block < 16; ++block) {
        wants(block);
    }
    uint64_t wanted = 0;
    for (uint64_t block = 0; block < 16; ++block) {
        wanted += wants(block);
    }
    EXPECT_LE(wanted, 1u);
}

TEST_F(GranularityTest, ScoresGrowWithWritesAndWeightAndShrinkWithTime) {
    const Time now(1'000'000);
    const float cold = map.score(Sector(128), 0, now);
    for (int i = 0; i < 50; ++i) {
        wants(16);
    }
    const float hot = map.score(Sector(128), 0, now);
    EXPECT_GT(hot, cold);
    EXPECT_LT(map.score(Sector(128), 1, now), hot);
    EXPECT_LT(map.score(Sector(128), 0, Time(30'000'000)), hot);
    map.set_weight(0);
    EXPECT_LT(map.score(Sector(128), 0, now), hot);
}

}  // namespace
}  // namespace predsnap::test
