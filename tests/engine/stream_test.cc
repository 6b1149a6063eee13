// SPDX-License-Identifier: GPL-2.0-or-later
//
// Streams: what is kept of history before the floor.
#include "block/engine/stream.h"

#include <algorithm>
#include <random>

#include "image_test.h"

namespace predsnap::test {
namespace {

// Without a window, so that only snapshots keep history.
class StreamTest : public WithoutWindowTest {
  protected:
    // A snapshot that lies before the floor.
    Stamps old_snapshot(const std::string& name) {
        must_write(0, 300);
        ASSERT_NO_ERROR(zero(100, 50));
        const Stamps then = now;
        snapshot(name);
        host.time = Time(host.time.value + 1'000'000);
        churn(14);
        EXPECT_LT(engine->snapshots().front().sequence, engine->info().floor);
        EXPECT_GT(engine->info().streams, 0u);
        return then;
    }
    void ASSERT_NO_ERROR(const Result<void>& result) { ASSERT_TRUE(result.ok()); }
    // What a view holds from a sector on is what the stamps say; returns how often the device was read.
    uint64_t expect_view(View& view, const Stamps& then, uint64_t sector, uint64_t count) {
        std::vector<uint8_t> data(count * kSectorSize);
        const iovec buffer{data.data(), data.size()};
        uint64_t reads = 0;
        file.fail = [&](const MemoryDevice::Call& call) {
            reads += call.op == MemoryDevice::Op::read;
            return 0;
        };
        const Result<void> read = view.read(sector * kSectorSize, {&buffer, 1});
        file.fail = nullptr;
        EXPECT_TRUE(read.ok());
        const Stamps present = std::exchange(now, then);
        expect_stamps(sector, data);
        now = present;
        return reads;
    }
    uint64_t stream_segments() const { return engine->info().segments_stream; }
};

TEST_F(StreamTest, ASnapshotBeforeTheFloorIsStillThere) {
    const Stamps then = old_snapshot("old");
    EXPECT_EQ(content_at(at("old")), then);
    EXPECT_EQ(content(), now);
    kill_and_open();
    EXPECT_EQ(content_at(at("old")), then);
    lose_power_and_open();
    EXPECT_EQ(content_at(at("old")), then);
    close_and_open();
    EXPECT_EQ(content_at(at("old")), then);
}

TEST_F(StreamTest, SeveralSnapshotsEachStayWhatTheyAre) {
    std::vector<std::pair<std::string, Stamps>> kept;
    for (int i = 0; i < 6; ++i) {
        must_write(static_cast<uint64_t>(i) * 100, 250);
        kept.emplace_back("s" + std::to_string(i), now);
        snapshot(kept.back().first);
        churn(6);
    }
    churn(10);
    for (const auto& [name, then] : kept) {
        EXPECT_EQ(content_at(at(name)), then) << name;
    }
    // One in the middle goes; the others stay.
    ASSERT_TRUE(engine->snapshot_delete("s2").ok());
    churn(10);
    for (const auto& [name, then] : kept) {
        if (name != "s2") {
            EXPECT_EQ(content_at(at(name)), then) << name;
        }
    }
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u) << checked.value().findings.front();
}

TEST_F(StreamTest, GoingBackThereAndBackAgain) {
    const Stamps then = old_snapshot("old");
    const Stamps newest = now;
    const auto rolled = engine->rollback(at("old"));
    ASSERT_TRUE(rolled.ok()) << rolled.error().message;
    EXPECT_EQ(content(), then);
    now = then;
    must_write(10, 20);
    const Stamps branch = now;
    EXPECT_EQ(content_at(at(rolled.value().from)), newest);
    kill_and_open();
    EXPECT_EQ(content(), branch);
    const auto back = engine->rollback(at(rolled.value().from));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(content(), newest);
    EXPECT_EQ(content_at(at(back.value().from)), branch);
    lose_power_and_open();
    EXPECT_EQ(content(), newest);
    EXPECT_EQ(content_at(at(back.value().from)), branch);
}

TEST_F(StreamTest, WhatTheDiskHasOfAStreamIsMovedBeforeItIsDropped) {
    const Stamps then = old_snapshot("old");
    ASSERT_TRUE(engine->rollback(at("old")).ok());
    now = then;
    ASSERT_TRUE(engine->snapshot_delete("old").ok());
    churn(20);
    EXPECT_EQ(engine->info().streams, 0u);
    EXPECT_EQ(content(), now);
    ASSERT_TRUE(engine->checkpoint().ok());
    churn(2);
    EXPECT_EQ(stream_segments(), 0u);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

// Found by the simulation (seed 903155): it was dropped before the checkpoints were past a rollback that had read it; what
// was written there after an opening was missed by the next one, which did the rollback again.
TEST_F(StreamTest, ItIsDroppedOnlyWhenNoOpeningNeedsItForARollback) {
    const Stamps then = old_snapshot("old");
    ASSERT_TRUE(engine->checkpoint().ok());
    ASSERT_TRUE(engine->rollback(at("old")).ok());
    now = then;
    must_write(0, 300);
    ASSERT_TRUE(engine->snapshot_delete("old").ok());
    const auto no_checkpoints = [](const MemoryDevice::Call& call) {
        return call.op == MemoryDevice::Op::write && call.offset < format::kSuperblockArea ? EIO : 0;
    };
    for (int i = 0; i < 3; ++i) {
        file.fail = no_checkpoints;
        churn(14);
        flush();
        EXPECT_GT(engine->info().streams, 0u);
        file.fail = nullptr;
        kill_and_open();
        EXPECT_EQ(content(), now);
    }
    churn(3);
    EXPECT_EQ(engine->info().streams, 0u);
    kill_and_open();
    expect_sound();
}

TEST_F(StreamTest, WithItsSnapshotItGoes) {
    old_snapshot("old");
    ASSERT_GT(stream_segments(), 0u);
    ASSERT_TRUE(engine->snapshot_delete("old").ok());
    churn(3);
    EXPECT_EQ(engine->info().streams, 0u);
    ASSERT_TRUE(engine->checkpoint().ok());
    churn(2);
    EXPECT_EQ(stream_segments(), 0u);
}

TEST_F(StreamTest, AnOpenViewOfADroppedOneStaysWhatItIs) {
    const Stamps then = old_snapshot("old");
    auto view = engine->open_view(at("old"));
    ASSERT_TRUE(view.ok());
    ASSERT_TRUE(engine->snapshot_delete("old").ok());
    churn(20);
    EXPECT_EQ(content(*view.value()), then);
    view.value().reset();
    churn(2);
    EXPECT_EQ(engine->info().streams, 0u);
}

TEST_F(StreamTest, FramesThatFollowEachOtherAreReadInOneGo) {
    const Stamps then = old_snapshot("old");
    auto view = engine->open_view(at("old"));
    ASSERT_TRUE(view.ok());
    expect_view(*view.value(), then, 0, 1);  // the index is in memory now
    EXPECT_EQ(expect_view(*view.value(), then, 155, 130), 1u);
    // What was unpacked at the edges is still there.
    EXPECT_EQ(expect_view(*view.value(), then, 285, 1), 0u);
}

TEST_F(StreamTest, AnyPartOfAStreamIsWhatItWas) {
    const Stamps then = old_snapshot("old");
    auto view = engine->open_view(at("old"));
    ASSERT_TRUE(view.ok());
    std::mt19937 random(1);
    for (int i = 0; i < 500; ++i) {
        const uint64_t from = random() % 299;
        expect_view(*view.value(), then, from, 1 + random() % (300 - from));
        ASSERT_FALSE(HasFailure()) << "from sector " << from;
    }
}

TEST_F(StreamTest, ADamagedFrameIsAnErrorAndTheRestIsReadable) {
    old_snapshot("old");
    kill();
    // Every other frame; they begin with zstd's magic number.
    constexpr uint8_t kFrame[] = {0x28, 0xb5, 0x2f, 0xfd};
    bool this_one = false;
    for (uint32_t id = 0; image_offset(id + 1, 0) <= file.bytes.size(); ++id) {
        const auto* header = reinterpret_cast<const format::SegmentHeader*>(&file.bytes[image_offset(id, 0)]);
        if (header->kind != static_cast<uint8_t>(format::SegmentKind::stream)) {
            continue;
        }
        for (uint64_t at = image_offset(id, kBlockSize); at < image_offset(id + 1, 0); ++at) {
            if (std::equal(std::begin(kFrame), std::end(kFrame), &file.bytes[at])) {
                this_one = !this_one;
                this_one ? flip(at + 6) : void();
            }
        }
    }
    open();
    EXPECT_EQ(content(), now);
    auto view = engine->open_view(at("old"));
    ASSERT_TRUE(view.ok());
    std::vector<uint8_t> sector(kSectorSize);
    uint64_t bad = 0;
    for (uint64_t s = 0; s < kTestSectors; ++s) {
        const iovec part{sector.data(), sector.size()};
        const auto read = view.value()->read(s * kSectorSize, {&part, 1});
        EXPECT_TRUE(read.ok() || read.error().code == EIO);
        bad += !read.ok();
    }
    EXPECT_GT(bad, 0u);
    EXPECT_LT(bad, kTestSectors);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_GT(checked.value().corruptions, 0u);
}

// Between two snapshots that stay.
TEST_F(StreamTest, WithoutTheSnapshotBetweenThemNeighboursAreMerged) {
    std::vector<Stamps> then;
    for (int i = 0; i < 3; ++i) {
        must_write(static_cast<uint64_t>(i) * 10, 400);
        then.push_back(now);
        snapshot("s" + std::to_string(i));
        churn(8);
    }
    churn(10);
    auto view = engine->open_view(at("s1"));
    ASSERT_TRUE(view.ok());
    const uint64_t merged = engine->stats().coalesced_bytes;
    ASSERT_TRUE(engine->snapshot_delete("s1").ok());
    churn(1);
    EXPECT_GT(engine->stats().coalesced_bytes, merged);
    const auto check_all = [&] {
        EXPECT_EQ(content_at(at("s0")), then[0]);
        EXPECT_EQ(content_at(at("s2")), then[2]);
        EXPECT_EQ(content(), now);
        const auto checked = engine->check({});
        ASSERT_TRUE(checked.ok());
        EXPECT_EQ(checked.value().corruptions, 0u) << checked.value().findings.front();
    };
    check_all();
    churn(6);
    EXPECT_EQ(content(*view.value()), then[1]);
    view.value().reset();
    kill_and_open();
    check_all();
    lose_power_and_open();
    check_all();
    EXPECT_FALSE(engine->open_view(at("s1")).ok());
}

TEST_F(StreamTest, OnDemandAllIsCoalescedThatCanBe) {
    ASSERT_TRUE(engine->set_retention({}).ok());
    must_write(0, 300);
    const Stamps first = now;
    snapshot("first");
    churn(10);
    must_write(100, 100);
    const Stamps second = now;
    snapshot("second");
    churn(10);
    EXPECT_EQ(engine->info().floor, Sequence(0));
    host.time += 1'000'000;
    engine->begin_coalescing(host.time);
    EXPECT_TRUE(engine->coalescing().running);
    work_in_background();
    Engine::CoalesceStatus status = engine->coalescing();
    EXPECT_FALSE(status.running);
    EXPECT_EQ(status.error, 0);
    EXPECT_EQ(status.done, status.total);
    EXPECT_GT(status.total, 10 * kTestSegment);
    EXPECT_EQ(engine->info().streams, 2u);
    EXPECT_GT(engine->info().floor, engine->snapshots().back().sequence);
    // What is not worth it by itself is merged, too.
    ASSERT_TRUE(engine->snapshot_delete("second").ok());
    engine->begin_coalescing({});
    work_in_background();
    EXPECT_EQ(engine->info().streams, 1u);
    EXPECT_EQ(content_at(at("first")), first);
    EXPECT_EQ(content(), now);
    EXPECT_NE(first, second);
}

// Many small ones: each would waste most of a segment.
TEST_F(StreamTest, StreamsShareSegments) {
    for (int i = 0; i < 40; ++i) {
        must_write(static_cast<uint64_t>(i), 1);
        snapshot("s" + std::to_string(i));
    }
    churn(16);
    EXPECT_GE(engine->info().streams, 40u);
    EXPECT_LT(stream_segments(), 20u);
}

TEST_F(StreamTest, PointsAndTimesKnowOfSnapshotsBeforeTheFloor) {
    old_snapshot("old");
    const SnapshotInfo old = engine->snapshots().front();
    const auto points = engine->points({});
    ASSERT_TRUE(points.ok());
    ASSERT_FALSE(points.value().empty());
    EXPECT_EQ(points.value().front().sequence, old.sequence);
    EXPECT_EQ(points.value().front().snapshot, "old");
    EXPECT_EQ(points.value().front().kept, Kept::snapshot);
    const auto resolved = engine->resolve(at(old.time + 1));
    ASSERT_TRUE(resolved.ok());
    EXPECT_EQ(resolved.value().sequence, old.sequence);
    // A time after the floor's, but before the next point's: the floor, not the snapshot.
    const auto later = engine->resolve(at(old.time + 1'500'000));
    ASSERT_TRUE(later.ok());
    EXPECT_GE(later.value().sequence, engine->info().floor);
    uint64_t changed = 0;
    for (const PointInfo& point : points.value()) {
        changed += point.bytes_changed;
    }
    EXPECT_GT(changed, 0u);
}

TEST_F(StreamTest, AStreamThatCannotBeWrittenDropsNothing) {
    must_write(0, 300);
    const Stamps then = now;
    snapshot("old");
    for (int i = 0; i < 12; ++i) {
        fill_segments(1);
        flush();
    }
    bool failed = false;
    file.fail = [&](const MemoryDevice::Call& call) {
        const bool stream = call.op == MemoryDevice::Op::write && call.length > kTestSegment / 2 &&
                            call.offset >= format::kSuperblockArea;
        failed = failed || stream;
        return stream ? EIO : 0;
    };
    work_in_background();
    file.fail = nullptr;
    EXPECT_EQ(content_at(at("old")), then);
    EXPECT_EQ(content(), now);
    churn(6);
    EXPECT_EQ(content_at(at("old")), then);
    EXPECT_GT(engine->info().streams, 0u);
}

}  // namespace
}  // namespace predsnap::test
