// SPDX-License-Identifier: GPL-2.0-or-later
#include "image_test.h"

namespace predsnap::test {
namespace {

class PointsTest : public ImageTest {
  protected:
    // A write and a flush, `count` times, a second apart, beginning at 1001 s.
    void make_points(uint64_t count) {
        host.time = Time(1'000'000'000);
        for (uint64_t i = 0; i < count; ++i) {
            host.time += 1'000'000;
            must_write(i * 16, 8);
            flush();
        }
    }
    std::vector<PointInfo> points(const PointQuery& query = {}) {
        auto found = engine->points(query);
        EXPECT_TRUE(found.ok());
        return found.ok() ? found.take() : std::vector<PointInfo>();
    }
    std::vector<uint64_t> sequences(const PointQuery& query = {}) {
        std::vector<uint64_t> list;
        for (const PointInfo& point : points(query)) {
            list.push_back(point.sequence.value);
        }
        return list;
    }
};

using Sequences = std::vector<uint64_t>;

TEST_F(PointsTest, AnUntouchedDiskHasNone) { EXPECT_TRUE(points().empty()); }

TEST_F(PointsTest, EveryFlushOfSomethingNewIsAPoint) {
    make_points(3);
    flush();  // nothing new
    EXPECT_EQ(sequences(), (Sequences{1, 2, 3}));
    EXPECT_TRUE(points()[0].flush);
    EXPECT_EQ(points()[1].time, Time(1'002'000'000));
}

TEST_F(PointsTest, TheNewestStateIsOneThoughNotFlushed) {
    make_points(1);
    must_write(0, 8);
    ASSERT_EQ(sequences(), (Sequences{1, 2}));
    EXPECT_FALSE(points()[1].flush);
}

TEST_F(PointsTest, TheyOutliveACrash) {
    make_points(5);
    must_write(0, 8);  // carries the record of the last flush
    kill_and_open();
    EXPECT_EQ(sequences(), (Sequences{1, 2, 3, 4, 5, 6}));
}

TEST_F(PointsTest, TheyAreFoundInIndexBlobs) {
    make_points(40);
    work_in_background();
    kill_and_open();
    const Sequences all = sequences();
    EXPECT_EQ(all.size(), 40u);
    ASSERT_TRUE(engine->checkpoint().ok());
    kill_and_open();
    EXPECT_EQ(sequences(), all);
}

TEST_F(PointsTest, TheLimitKeepsTheNewest) {
    make_points(40);
    PointQuery query;
    query.limit = 3;
    EXPECT_EQ(sequences(query), (Sequences{38, 39, 40}));
    query.limit = 0;
    EXPECT_TRUE(sequences(query).empty());
}

TEST_F(PointsTest, TimesLimitThemOnBothSides) {
    make_points(40);
    PointQuery query;
    query.since = Time(1'003'000'000);
    query.until = Time(1'006'999'999);
    EXPECT_EQ(sequences(query), (Sequences{3, 4, 5, 6}));
    query.until = query.since - 1;
    EXPECT_TRUE(sequences(query).empty());
}

TEST_F(PointsTest, WhatChangedIsCountedSinceThePointBefore) {
    must_write(0, 8);
    flush();
    must_write(0, 8);
    must_write(0, 8);                          // the same sectors again count again
    ASSERT_TRUE(zero(128, 256).ok());          // chunks 1 and 2
    flush();
    const auto found = points();
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].bytes_changed, 8 * kSectorSize);
    EXPECT_EQ(found[0].chunks_changed(), 1u);
    EXPECT_EQ(found[1].bytes_changed, (16 + 256) * kSectorSize);
    EXPECT_EQ(found[1].chunks_changed(), 3u);
}

TEST_F(PointsTest, WhatChangedDoesNotDependOnTheQuery) {
    make_points(40);
    PointQuery query;
    query.limit = 2;
    for (const PointInfo& point : points(query)) {
        EXPECT_EQ(point.bytes_changed, 8 * kSectorSize);
        EXPECT_EQ(point.chunks_changed(), 1u);
    }
}

TEST_F(PointsTest, ATrimOfAWholeLargeDiskIsCountedExactly) {
    CreateOptions image;
    image.size = kMaxSize;
    image.segment_size = kTestSegment;
    kill();
    ASSERT_TRUE(Engine::create(host, file, image).ok());
    open();
    ASSERT_TRUE(engine->discard(0, kMaxSize).ok());
    EXPECT_EQ(points().at(0).chunks_changed(), kMaxSize >> 16);
    EXPECT_EQ(points().at(0).bytes_changed, kMaxSize);
}

TEST_F(PointsTest, ASnapshotsNameIsShownWithItsPoint) {
    make_points(2);
    snapshot("a");
    make_points(1);
    const auto found = points();
    ASSERT_GE(found.size(), 2u);
    EXPECT_EQ(found[1].snapshot, "a");
    EXPECT_TRUE(found[0].snapshot.empty());
}

TEST_F(PointsTest, ASnapshotOfAStateThatNoFlushMadeIsAPoint) {
    must_write(0, 8);
    snapshot("a");
    must_write(8, 8);
    const auto found = points();
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found[0].snapshot, "a");
    EXPECT_EQ(found[0].sequence, Sequence(1));
}

TEST_F(PointsTest, TheyTellTheirBranch) {
    make_points(2);
    ASSERT_TRUE(engine->rollback(at(Sequence(1))).ok());
    must_write(0, 8);
    flush();
    const auto found = points();
    EXPECT_EQ(found.front().branch, 0u);
    EXPECT_EQ(found.back().branch, 1u);
}

TEST_F(PointsTest, TheIntervalMakesThemWhileTheDiskIsWritten) {
    engine->set_point_interval(1'000'000);
    must_write(0, 8);
    host.time += 1'000'000;
    for (uint64_t i = 1; i < 10; ++i) {
        must_write(8 * i, 8);
    }
    // The state of a second ago, and the first one of now.
    EXPECT_EQ(host.count(Event::point), 2u);
    EXPECT_EQ(sequences(), (Sequences{1, 2, 10}));
    EXPECT_FALSE(points()[0].flush);
}

TEST_F(PointsTest, AClockThatWentBackDoesNotStopThem) {
    engine->set_point_interval(1'000'000);
    must_write(0, 8);
    must_write(8, 8);
    host.time = Time(5);
    must_write(16, 8);
    EXPECT_EQ(sequences(), (Sequences{1, 2, 3}));
}

// Found by fuzzing: microseconds between two times need not fit into 64 bits.
TEST_F(PointsTest, AnyTimeIsTaken) {
    EXPECT_EQ(elapsed_us(Time(1), Time(3)), 2);
    EXPECT_EQ(elapsed_us(Time(INT64_MAX), Time(INT64_MIN)), INT64_MIN);
    EXPECT_EQ(elapsed_us(Time(INT64_MIN), Time(1)), INT64_MAX);
    engine->set_point_interval(1'000'000);
    for (const int64_t time : {INT64_MAX, INT64_MIN, INT64_MAX, int64_t{0}, INT64_MIN}) {
        host.time = Time(time);
        must_write(0, 8);
        flush();
        EXPECT_EQ(content(), now);
    }
    kill_and_open();
    expect_sound();
}

TEST_F(PointsTest, ATimeNamesTheNewestPointNotAfterIt) {
    make_points(40);
    EXPECT_EQ(engine->resolve(at(Time(1'003'000'000))).value().sequence, Sequence(3));
    EXPECT_EQ(engine->resolve(at(Time(1'003'999'999))).value().sequence, Sequence(3));
    EXPECT_EQ(engine->resolve(at(Time(1'040'000'001))).value().sequence, Sequence(40));
    EXPECT_EQ(engine->resolve(at(Time(INT64_MAX))).value().sequence, Sequence(40));
}

TEST_F(PointsTest, ATimeIsFoundAmongBlobsToo) {
    make_points(40);
    work_in_background();
    ASSERT_TRUE(engine->checkpoint().ok());
    kill_and_open();
    for (int64_t second = 1; second <= 40; ++second) {
        EXPECT_EQ(engine->resolve(at(Time(1'000'500'000 + second * 1'000'000))).value().sequence,
                  Sequence(static_cast<uint64_t>(second)));
    }
}

TEST_F(PointsTest, ATimeBeforeTheHistoryIsRefusedAndTheHistoryNamed) {
    make_points(3);
    const auto resolved = engine->resolve(at(Time(999'999)));
    ASSERT_FALSE(resolved.ok());
    EXPECT_EQ(resolved.error().code, ENOENT);
    EXPECT_NE(resolved.error().message.find("from 1000000 to 1003000000"), std::string::npos)
        << resolved.error().message;
}

TEST_F(PointsTest, BeforeTheFirstWriteItIsTheDiskAsCreated) {
    make_points(3);
    EXPECT_EQ(engine->resolve(at(Time(1'000'000))).value().sequence, Sequence(0));
}

TEST_F(PointsTest, MorePendingThanFitInABatchAreRecordedByTheNextOnes) {
    for (uint64_t i = 0; i < 30; ++i) {
        must_write(i, 1);
        flush();
    }
    const Sequences all = sequences();
    must_write(0, 1);
    kill_and_open();
    Sequences after = sequences();
    ASSERT_FALSE(after.empty());
    after.pop_back();  // the last write
    EXPECT_EQ(after, all);
}

}  // namespace
}  // namespace predsnap::test
