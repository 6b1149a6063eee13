// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much history is kept, and that what is not needed any more is used again.
#include "block/engine/retention.h"

#include <algorithm>
#include <map>

#include "image_test.h"

namespace predsnap::test {
namespace {

constexpr int64_t kSecond = 1'000'000;

TEST(RetentionClock, CountsTheTimeOfUse) {
    RetentionClock clock;
    clock.start(50, 1000);
    clock.tick(1010);
    EXPECT_EQ(clock.reading(), 60);
    EXPECT_EQ(clock.age(55), 5);
    EXPECT_EQ(clock.age(70), 0);
    // What a hostile image says.
    clock.start(INT64_MAX, 0);
    clock.tick(1'000'000);
    EXPECT_GE(clock.age(INT64_MIN), 0);
    clock.start(INT64_MIN, 0);
    EXPECT_EQ(clock.age(INT64_MIN), 0);
}

// States one second apart, the newest of age 0.
std::vector<OldState> a_state_each_second(int count, RetentionClock* clock) {
    std::vector<OldState> states;
    for (int i = 0; i < count; ++i) {
        states.push_back({Sequence(static_cast<uint64_t>(i + 1)), Time(i * kSecond), i * kSecond, 1, false});
    }
    clock->start((count - 1) * kSecond, 0);
    return states;
}

// Checks against the rules, read literally.
TEST(Thinning, KeepsTheFirstPointOfEachPeriodForAsLongAsItSays) {
    const std::vector<RetentionRule> rules{{10 * kSecond, 60 * kSecond}, {30 * kSecond, 300 * kSecond}};
    RetentionClock clock;
    const std::vector<OldState> states = a_state_each_second(500, &clock);
    const std::vector<bool> kept = thin(rules, states, clock);
    for (int i = 0; i < 500; ++i) {
        const int age = 499 - i;
        const bool expected = age < 60 ? i % 10 == 0 : age < 300 && i % 30 == 0;
        // Where the first rule that reaches back to it begins, the first state of all is kept.
        const bool edge = age == 299 || age == 59;
        EXPECT_TRUE(kept[static_cast<size_t>(i)] == expected || edge) << i;
    }
}

TEST(Thinning, WhatIsNotKeptNowWouldNotBeLater) {
    const std::vector<RetentionRule> rules{{7 * kSecond, 60 * kSecond}, {21 * kSecond, 300 * kSecond}};
    RetentionClock clock;
    std::vector<OldState> all = a_state_each_second(400, &clock), thinned = all;
    for (int64_t now = 399; now < 800; now += 3) {
        clock.start(now * kSecond, 0);
        const std::vector<bool> kept = thin(rules, thinned, clock), at_once = thin(rules, all, clock);
        std::vector<OldState> next;
        for (size_t i = 0; i < thinned.size(); ++i) {
            if (kept[i]) {
                next.push_back(thinned[i]);
            }
        }
        // Thinned step by step it is never worse than thinned at once, but for where a rule begins.
        EXPECT_GE(next.size() + 2, static_cast<size_t>(std::count(at_once.begin(), at_once.end(), true)));
        thinned = next;
    }
    EXPECT_TRUE(thinned.empty());
}

TEST(Thinning, ClocksThatJumpNeitherDropNorReorder) {
    const std::vector<RetentionRule> rules{{10 * kSecond, 100 * kSecond}};
    RetentionClock clock;
    std::vector<OldState> states = a_state_each_second(40, &clock);
    for (size_t i = 20; i < 30; ++i) {
        states[i].time = Time(INT64_MAX - 5);  // far ahead, and back
    }
    states[35].time = Time(INT64_MIN + 5);
    const std::vector<bool> kept = thin(rules, states, clock);
    EXPECT_TRUE(kept[0] && kept[10] && kept[20] && kept[30] && kept[35] && kept[36]);
}

TEST(Thinning, SnapshotsAreKept) {
    RetentionClock clock;
    std::vector<OldState> states = a_state_each_second(10, &clock);
    states[3].snapshot = true;
    const std::vector<bool> kept = thin({}, states, clock);
    EXPECT_EQ(std::count(kept.begin(), kept.end(), true), 1);
    EXPECT_TRUE(kept[3]);
}

TEST(Thinning, WhatIsNoPointIsNotKept) {
    const std::vector<RetentionRule> rules{{10 * kSecond, 100 * kSecond}};
    RetentionClock clock;
    std::vector<OldState> states = a_state_each_second(40, &clock);
    states[0].point = states[10].point = states[11].point = 0;
    const std::vector<bool> kept = thin(rules, states, clock);
    EXPECT_TRUE(!kept[0] && kept[1] && !kept[10] && !kept[11] && kept[12] && kept[20] && kept[30]);
    EXPECT_EQ(std::count(kept.begin(), kept.end(), true), 4);
}

class RetentionTest : public ImageTest {
  protected:
    void keep(std::optional<int64_t> window_us, std::optional<uint64_t> bytes = {}) {
        ASSERT_TRUE(engine->set_retention({window_us, bytes}).ok());
    }
    Sequence floor() const { return engine->info().floor; }
    int code_of_view(Sequence sequence) {
        const auto view = engine->open_view(at(sequence));
        return view.ok() ? 0 : view.error().code;
    }
};

TEST_F(RetentionTest, WithoutLimitNothingIsDropped) {
    must_write(0, 8);
    churn(12);
    EXPECT_EQ(floor(), Sequence(0));
    EXPECT_EQ(engine->stats().reclaimed_segments, 0u);
    EXPECT_EQ(code_of_view(Sequence(1)), 0);
}

TEST_F(RetentionTest, WithoutWindowTheImageStaysSmall) {
    keep(0);
    churn(200);
    EXPECT_GT(floor(), Sequence(0));
    EXPECT_GT(engine->stats().reclaimed_segments, 100u);
    EXPECT_LT(file.bytes.size(), 60u * kTestSegment);
    EXPECT_EQ(content(), now);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u);
    kill_and_open();
    EXPECT_EQ(content(), now);
    churn(20);
    EXPECT_EQ(content(), now);
}

TEST_F(RetentionTest, WhatIsBeforeTheFloorCannotBeGoneBackTo) {
    must_write(0, 8);
    keep(0);
    churn(20);
    ASSERT_GT(floor(), Sequence(1));
    EXPECT_EQ(code_of_view(floor() - 1), ENOENT);
    EXPECT_EQ(code_of_view(floor()), 0);
    const auto rolled = engine->rollback(at(Sequence(1)));
    ASSERT_FALSE(rolled.ok());
    EXPECT_NE(rolled.error().message.find("begins at"), std::string::npos) << rolled.error().message;
    const auto points = engine->points({});
    ASSERT_TRUE(points.ok());
    for (const PointInfo& point : points.value()) {
        EXPECT_GE(point.sequence, floor());
    }
}

TEST_F(RetentionTest, ASnapshotIsKeptUntilItIsDeleted) {
    keep(0);
    must_write(0, 100);
    const Stamps then = now;
    const SnapshotInfo kept = snapshot("kept");
    churn(30);
    EXPECT_GT(floor(), kept.sequence);  // what came after it is gone
    EXPECT_EQ(content_at(at("kept")), then);
    ASSERT_TRUE(engine->snapshot_delete("kept").ok());
    churn(4);
    EXPECT_EQ(engine->info().streams, 0u);
    EXPECT_GT(engine->stats().reclaimed_segments, 10u);
    EXPECT_EQ(content(), now);
}

TEST_F(RetentionTest, ABranchAndWhatItHangsOnAreDroppedTogether) {
    must_write(0, 8);
    fill_segments(3);
    const Sequence target = sequence();
    fill_segments(3);
    const Stamps left = now;
    const auto rolled = engine->rollback(at(target));
    ASSERT_TRUE(rolled.ok());
    now = content();
    const Sequence abandoned = rolled.value().from;
    keep(10 * kSecond);
    churn(2);
    EXPECT_EQ(content_at(at(abandoned)), left);
    keep(0);
    churn(6);
    EXPECT_GT(floor(), abandoned);
    EXPECT_EQ(code_of_view(abandoned), ENOENT);
    EXPECT_EQ(content(), now);
}

TEST_F(RetentionTest, AWindowIsKeptAndNoClockMakesItShorter) {
    keep(80 * kSecond);
    churn(3);
    const Sequence early = sequence();
    host.time = Time(host.time.value + 1'000'000 * kSecond);  // far ahead
    churn(3);
    EXPECT_EQ(code_of_view(early), 0);
    host.time = Time(host.time.value - 2'000'000 * kSecond);
    churn(3);
    EXPECT_EQ(code_of_view(early), 0);
    for (int i = 0; i < 20; ++i) {  // time passes
        host.pass(9 * kSecond);
        churn(1);
    }
    EXPECT_EQ(code_of_view(early), ENOENT);
}

// A point each second for 4 s, one of 10 s beyond that, for 60 s.
TEST_F(RetentionTest, RulesKeepPointsBeyondTheWindow) {
    ASSERT_TRUE(engine->set_retention({4 * kSecond, {}, {{10 * kSecond, 60 * kSecond}}}).ok());
    std::map<uint64_t, std::pair<Stamps, Time>> states;
    for (int i = 0; i < 200; ++i) {
        must_write(static_cast<uint64_t>(i) % kTestSectors, 1);
        flush();
        states[sequence().value] = {now, host.time};
        fill_segments(1);
        flush();
        host.pass(kSecond);
        work_in_background();
        if (i % 90 == 89) {
            kill_and_open();
        }
    }
    const auto points = engine->points({});
    ASSERT_TRUE(points.ok());
    int old = 0;
    Time before{0};
    for (const PointInfo& point : points.value()) {
        if (point.sequence >= floor()) {
            break;
        }
        EXPECT_EQ(point.kept, Kept::rule);
        EXPECT_TRUE(point.flush);
        // A border between streams that were not worth merging may be the first that is left of its period.
        if (before > points.value().front().time) {
            EXPECT_GE(point.time - before, 5 * kSecond);
        }
        before = point.time;
        const auto known = states.find(point.sequence.value);
        if (known != states.end()) {
            EXPECT_EQ(content_at(at(point.sequence)), known->second.first);
            ++old;
        }
    }
    EXPECT_GE(old, 4);
    EXPECT_LE(points.value().front().time, host.time + -50 * kSecond);
    EXPECT_GE(points.value().front().time, host.time + -90 * kSecond);
    EXPECT_GT(engine->stats().coalesced_bytes, 0u);
    // Without rules nothing keeps them.
    keep(4 * kSecond);
    churn(3);
    EXPECT_EQ(engine->info().streams, 0u);
}

// So little lies before the branch that it is not sealed by itself, and the branch is longer than what is sealed at once.
TEST_F(RetentionTest, ALongBranchDoesNotHoldHistoryUp) {
    must_write(0, 8);
    snapshot("kept");
    const Stamps then = now;
    fill_segments(2);
    flush();
    const Sequence target = sequence();
    fill_segments(80);
    flush();
    const auto gone_back = engine->rollback(at(target));
    ASSERT_TRUE(gone_back.ok());
    now = content();
    fill_segments(6);
    flush();
    work_in_background();
    EXPECT_EQ(floor(), Sequence(0));
    keep(0);
    churn(3);
    EXPECT_GT(floor(), gone_back.value().from);
    EXPECT_EQ(content(), now);
    EXPECT_EQ(content_at(at("kept")), then);
}

TEST_F(RetentionTest, RulesThatContradictAreRefused) {
    const auto refuse = [&](const Retention& retention, const char* what) {
        const auto result = engine->set_retention(retention);
        ASSERT_FALSE(result.ok());
        EXPECT_EQ(result.error().code, EINVAL);
        EXPECT_NE(result.error().message.find(what), std::string::npos) << result.error().message;
    };
    refuse({{}, {}, {{kSecond, 60 * kSecond}}}, "window first");
    refuse({60 * kSecond, {}, {{kSecond, 60 * kSecond}}}, "more than 60 s");
    refuse({0, {}, {{0, 60 * kSecond}}}, "longer periods");
    refuse({0, {}, {{9 * kSecond, 60 * kSecond}, {8 * kSecond, 90 * kSecond}}}, "8 s comes after 9 s");
    refuse({0, {}, {{kSecond, 90 * kSecond}, {2 * kSecond, 80 * kSecond}}}, "more than 90 s");
    refuse({0, {}, std::vector<RetentionRule>(9, {kSecond, 90 * kSecond})}, "at most 8");
    EXPECT_FALSE(engine->retention().limited());
}

TEST_F(RetentionTest, ALimitInBytesShortensTheWindowAndSaysSo) {
    keep(3600 * kSecond, 10 * kTestSegment);
    churn(40);
    const EngineInfo info = engine->info();
    EXPECT_GT(info.floor, Sequence(0));
    EXPECT_LE(info.segments_log - info.segments_past, 12u);
    EXPECT_GT(host.count(Event::window_shrunk), 0u);
}

TEST_F(RetentionTest, LimitsAreStoredInTheImage) {
    keep(7 * kSecond, 100 * kTestSegment);
    close_and_open();
    EXPECT_EQ(engine->retention(), (Retention{7 * kSecond, 100 * kTestSegment}));
    const Retention rules{5 * kSecond, {}, {{kSecond, 60 * kSecond}, {9 * kSecond, 100 * kSecond}}};
    ASSERT_TRUE(engine->set_retention(rules).ok());
    kill_and_open();
    EXPECT_EQ(engine->retention(), rules);
    keep({}, {});
    kill_and_open();
    EXPECT_FALSE(engine->retention().limited());
}

TEST_F(RetentionTest, LimitsThatCannotWorkAreRefusedWithTheLeast) {
    const auto small = engine->set_retention({{}, kTestSegment});
    ASSERT_FALSE(small.ok());
    EXPECT_EQ(small.error().code, EINVAL);
    EXPECT_NE(small.error().message.find(std::to_string(4 * kTestSegment)), std::string::npos);
    EXPECT_EQ(engine->set_retention({-1, {}}).error().code, EINVAL);
}

TEST_F(RetentionTest, AnOpenViewStaysWhatItIsWhileItsHistoryIsDropped) {
    must_write(0, 500);
    const Stamps then = now;
    auto view = engine->open_view(at(sequence()));
    ASSERT_TRUE(view.ok());
    keep(0);
    churn(40);
    ASSERT_GT(floor(), view.value()->sequence());
    EXPECT_EQ(content(*view.value()), then);
    view.value().reset();
    churn(2);
    EXPECT_EQ(content(), now);
}

TEST_F(RetentionTest, TheCleanerMovesWhatIsStillInUse) {
    for (uint64_t sector = 0; sector < kTestSectors; sector += 8) {
        must_write(sector, 8);  // all of the disk
    }
    keep(0);
    churn(150);
    const EngineStats stats = engine->stats();
    EXPECT_GT(stats.cleaned_segments, 0u);
    EXPECT_GT(stats.moved_bytes, 0u);
    EXPECT_EQ(content(), now);
    lose_power_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(RetentionTest, TheCleanerDoesNotMoveDamagedData) {
    for (uint64_t sector = 0; sector < kTestSectors; sector += 8) {
        must_write(sector, 8);
    }
    flush();
    const auto status = engine->status(100 * 8 * kSectorSize, kBlockSize, true);
    ASSERT_TRUE(status.ok() && status.value().place);
    flip(to_bytes(*status.value().place) + 5);
    keep(0);
    // All but that block and its neighbours is written again, so that the segment is worth cleaning.
    for (int round = 0; round < 40; ++round) {
        for (uint64_t sector = 0; sector < kTestSectors; sector += 8) {
            if (sector / 8 < 98 || sector / 8 > 102) {
                must_write(sector, 8);
            }
        }
        flush();
        work_in_background();
    }
    std::vector<uint8_t> block(kBlockSize);
    const iovec part{block.data(), block.size()};
    const auto read = engine->read(100 * kBlockSize, {&part, 1});
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code, EIO);
    EXPECT_TRUE(engine->read(101 * kBlockSize, {&part, 1}).ok());
}

TEST_F(RetentionTest, SpaceThatWasUsedForHistoryIsGivenBack) {
    churn(60);
    keep(0);
    churn(6);
    EXPECT_GT(engine->stats().given_back_bytes, 20u * kTestSegment);
    EXPECT_EQ(content(), now);
    close_and_open();
    EXPECT_EQ(content(), now);
}

// What the checkpoint names, and was free afterwards, must not be cut off: opening would refuse to believe it.
TEST_F(RetentionTest, AnImageWhoseEndBecameFreeOpensAgain) {
    for (int i = 0; i < 8; ++i) {
        fill_segments(30);
    }
    flush();
    work_in_background();
    ASSERT_TRUE(engine->checkpoint().ok());
    keep(0);
    ASSERT_TRUE(zero(0, kTestSectors).ok());
    churn(20);
    ASSERT_GT(engine->stats().reclaimed_segments, 150u);
    close_and_open();
    ASSERT_TRUE(engine);
    EXPECT_EQ(content(), now);
}

TEST_F(RetentionTest, AfterManyRoundsAPowerLossFindsTheNewestFlush) {
    keep(0);
    for (int round = 0; round < 12; ++round) {
        churn(7);
        const Stamps flushed = now;
        fill_segments(1);
        lose_power_and_open();
        EXPECT_EQ(content(), flushed);
        now = flushed;
    }
}

// Of an image whose log's beginning is gone: only checkpoints know where data is.
class DamagedRetentionTest : public RetentionTest {
  protected:
    void SetUp() override {
        RetentionTest::SetUp();
        keep(0);
        for (int i = 0; i < 3; ++i) {
            churn(30);
            ASSERT_TRUE(engine->checkpoint().ok());
        }
        churn(3);
        flush();
        ASSERT_GT(engine->stats().reclaimed_segments, 50u);
        kill();
    }
    const format::Superblock& slot(unsigned number) {
        return *reinterpret_cast<const format::Superblock*>(&file.bytes[number * kBlockSize]);
    }
    unsigned newest_slot() { return slot(0).generation > slot(1).generation ? 0 : 1; }
    void damage_checkpoint(uint32_t segment) { flip(image_offset(segment, kBlockSize + 16)); }
};

TEST_F(DamagedRetentionTest, TheCheckpointBeforeTheDamagedOneWillDo) {
    damage_checkpoint(slot(newest_slot()).checkpoint_segment);
    const Result<void> refused = try_open();
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find("check -r all"), std::string::npos);
    ASSERT_TRUE(try_open(true).ok());
    EXPECT_EQ(content(), now);
    kill_and_open();  // there is a new one
    EXPECT_EQ(content(), now);
    churn(10);
    EXPECT_EQ(content(), now);
    kill();
    damage_checkpoint(slot(newest_slot()).checkpoint_segment);
    ASSERT_TRUE(try_open(true).ok());
    EXPECT_EQ(content(), now);
}

TEST_F(DamagedRetentionTest, WithoutAnyItIsRefusedAndLeftAlone) {
    damage_checkpoint(slot(newest_slot()).checkpoint_segment);
    damage_checkpoint(slot(newest_slot()).previous_segment);
    const std::vector<uint8_t> before(file.bytes.begin(), file.bytes.end());
    const Result<void> refused = try_open(true);
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find("both checkpoints"), std::string::npos) << refused.error().message;
    EXPECT_TRUE(std::equal(before.begin(), before.end(), file.bytes.begin(), file.bytes.end()));
}

TEST_F(DamagedRetentionTest, TheOlderSlotOfTheSuperblockLeadsToTheSame) {
    flip(newest_slot() * kBlockSize + 40);
    open();
    ASSERT_TRUE(engine);
    EXPECT_EQ(content(), now);
}

TEST_F(DamagedRetentionTest, CheckSaysThatTheOlderOneIsDamaged) {
    damage_checkpoint(slot(newest_slot()).previous_segment);
    open();
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u);
    ASSERT_EQ(checked.value().findings.size(), 1u);
    EXPECT_NE(checked.value().findings[0].find("older one is damaged"), std::string::npos);
}

}  // namespace
}  // namespace predsnap::test
