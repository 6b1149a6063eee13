// SPDX-License-Identifier: GPL-2.0-or-later
#include "image_test.h"

#include "block/engine/activity.h"

namespace predsnap::test {
namespace {

using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;  // sectors

class ChangesTest : public ImageTest {
  protected:
    Changes must(const Moment& from, const Moment& to, const ChangesQuery& query = {}) {
        auto found = engine->changes(from, to, query);
        EXPECT_TRUE(found.ok());
        return found.ok() ? found.take() : Changes();
    }
    static Ranges ranges(const Changes& changes) {
        Ranges list;
        for (const Changes::Range& range : changes.ranges) {
            list.emplace_back(range.offset / kSectorSize, range.length / kSectorSize);
        }
        return list;
    }
    Ranges between(Sequence from, Sequence to) { return ranges(must(at(from), at(to))); }
    // What the model says of it.
    static Ranges difference(const Stamps& a, const Stamps& b) {
        Ranges list;
        for (uint64_t sector = 0; sector < a.size(); ++sector) {
            if (a[sector] == b[sector]) {
                continue;
            }
            if (!list.empty() && list.back().first + list.back().second == sector) {
                ++list.back().second;
            } else {
                list.emplace_back(sector, 1);
            }
        }
        return list;
    }
};

TEST_F(ChangesTest, NothingDiffersFromItself) {
    must_write(0, 8);
    EXPECT_EQ(between(sequence(), sequence()), Ranges());
    EXPECT_FALSE(must(at(sequence()), at(sequence())).next);
}

TEST_F(ChangesTest, ToTheSectorInBothDirections) {
    must_write(0, 64);
    const Sequence before = sequence();
    must_write(3, 2);
    must_write(5, 1);
    must_write(100, 9);
    const Ranges expected = {{3, 3}, {100, 9}};
    EXPECT_EQ(between(before, sequence()), expected);
    EXPECT_EQ(between(sequence(), before), expected);
}

TEST_F(ChangesTest, ZerosOverWhatWasNeverWrittenAreNoChange) {
    const Sequence before = sequence();
    ASSERT_TRUE(zero(10, 10).ok());
    EXPECT_EQ(between(before, sequence()), Ranges());
}

TEST_F(ChangesTest, AcrossRollbacksContentCounts) {
    must_write(0, 16);
    const Sequence first = sequence();
    must_write(4, 4);
    const Sequence left = sequence();
    ASSERT_TRUE(engine->rollback(at(first)).ok());
    EXPECT_EQ(between(first, sequence()), Ranges());
    must_write(12, 1);
    EXPECT_EQ(between(left, sequence()), (Ranges{{4, 4}, {12, 1}}));
}

TEST_F(ChangesTest, AgreesWithTheModelThroughManyWrites) {
    std::vector<std::pair<Sequence, Stamps>> states = {{sequence(), now}};
    for (uint64_t i = 1; i <= 200; ++i) {
        const uint64_t start = i * 7919 % (kTestSectors - 40);
        if (i % 7 == 0) {
            ASSERT_TRUE(zero(start, i % 33 + 1).ok());
        } else {
            must_write(start, i % 40 + 1);
        }
        states.emplace_back(sequence(), now);
    }
    for (size_t i = 0; i < states.size(); i += 23) {
        for (size_t j = 0; j < states.size(); j += 31) {
            EXPECT_EQ(between(states[i].first, states[j].first), difference(states[i].second, states[j].second)) << i << ", " << j;
        }
    }
}

TEST_F(ChangesTest, PiecesMakeUpTheWhole) {
    const Sequence before = sequence();
    for (uint64_t sector = 0; sector < kTestSectors; sector += 50) {
        must_write(sector, 2);
    }
    const Ranges whole = between(before, sequence());
    EXPECT_EQ(whole.size(), kTestSectors / 50 + 1);
    Ranges pieces;
    ChangesQuery query{.offset = 0, .ranges_max = 1, .bytes_max = 4096};
    for (size_t calls = 0; calls < 1000; ++calls) {
        const Changes part = must(at(before), at(sequence()), query);
        for (const auto& range : ranges(part)) {
            pieces.push_back(range);
        }
        if (!part.next) {
            break;
        }
        ASSERT_GT(*part.next, query.offset);
        query.offset = *part.next;
    }
    EXPECT_EQ(pieces, whole);
}

TEST_F(ChangesTest, WhatOnlyTheLargerDiskHasDiffers) {
    must_write(0, 8);
    const Sequence before = sequence();
    ASSERT_TRUE(engine->resize((kTestSectors + 100) * kSectorSize).ok());
    EXPECT_EQ(between(before, sequence()), (Ranges{{kTestSectors, 100}}));
    EXPECT_EQ(between(sequence(), before), (Ranges{{kTestSectors, 100}}));
}

TEST_F(ChangesTest, DamageIsAnErrorNotAChange) {
    must_write(0, 8);
    const Sequence before = sequence();
    must_write(0, 8);
    flush();
    const auto place = engine->status(0, 8 * kSectorSize, true);
    ASSERT_TRUE(place.ok() && place.value().place);
    flip(to_bytes(*place.value().place) + 100);
    EXPECT_FALSE(engine->changes(at(before), at(sequence()), {}).ok());
}

TEST_F(ChangesTest, AViewIsNotLeftBehind) {
    must_write(0, 8);
    static_cast<void>(must(at(Sequence(0)), at(sequence())));
    EXPECT_FALSE(engine->changes(at(Sequence(0)), at(Sequence(99)), {}).ok());
    EXPECT_EQ(engine->info().views_open, 0u);
}

// --- activity ---

PointInfo point(int64_t time, uint64_t bytes) {
    PointInfo info;
    info.time = Time(time);
    info.bytes_changed = bytes;
    info.chunks_modified = 1;
    return info;
}

TEST(Activity, SumsUpOverIntervals) {
    const Activity found = activity_of({point(0, 1), point(9, 2), point(10, 4), point(39, 8)}, Time(INT64_MIN), Time(INT64_MAX), 4);
    EXPECT_EQ(found.begin, Time(0));
    EXPECT_EQ(found.end, Time(39));
    EXPECT_EQ(found.bytes_changed, 15u);
    EXPECT_EQ(found.points, 4u);
    ASSERT_EQ(found.intervals.size(), 4u);
    EXPECT_EQ(found.intervals[0].bytes_changed, 3u);
    EXPECT_EQ(found.intervals[1].bytes_changed, 4u);
    EXPECT_EQ(found.intervals[2].points, 0u);
    EXPECT_EQ(found.intervals[3].chunks_changed, 1u);
    EXPECT_EQ(found.intervals[1].begin, Time(10));
}

TEST(Activity, OfOnePointAndOfNone) {
    const Activity one = activity_of({point(5, 7)}, Time(INT64_MIN), Time(INT64_MAX), 3);
    EXPECT_EQ(one.intervals[0].bytes_changed, 7u);
    EXPECT_TRUE(activity_of({}, Time(INT64_MIN), Time(INT64_MAX), 3).intervals.empty());
}

TEST(Activity, WhatLiesOutsideIsLeftOutAndExtremesDoNotOverflow) {
    const Activity found = activity_of({point(INT64_MIN + 1, 1), point(5, 2), point(INT64_MAX - 1, 4)}, Time(0), Time(10), 2);
    EXPECT_EQ(found.bytes_changed, 2u);
    const Activity all = activity_of({point(INT64_MIN + 1, 1), point(INT64_MAX - 1, 4)}, Time(INT64_MIN), Time(INT64_MAX), 2);
    EXPECT_EQ(all.intervals[0].bytes_changed, 1u);
    EXPECT_EQ(all.intervals[1].bytes_changed, 4u);
}

}  // namespace
}  // namespace predsnap::test
