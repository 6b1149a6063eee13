// SPDX-License-Identifier: GPL-2.0-or-later
//
// Packs: data of the current state that nobody has written for long, compressed.
#include <algorithm>

#include "image_test.h"

namespace predsnap::test {
namespace {

constexpr int64_t kPackAfterUs = 60'000'000;

// Only snapshots keep history, and what is a minute old is packed.
class PackTest : public WithoutWindowTest {
  protected:
    void SetUp() override {
        options.pack_after_us = kPackAfterUs;
        WithoutWindowTest::SetUp();
    }
    // Most of the disk is written, and the floor passes that.
    void fill() {
        for (uint64_t sector = 256; sector + 64 <= kTestSectors; sector += 64) {
            must_write(sector, 64);
        }
        churn(8);
    }
    // Time passes, and the background looks around.
    void rest(int minutes = 3) {
        for (int i = 0; i < 10 * minutes; ++i) {
            host.pass(6'000'000);
            engine->tend();
            work_in_background();
        }
    }
    void fill_and_pack() {
        fill();
        rest();
        ASSERT_GT(engine->stats().packs, 0u);
        ASSERT_GT(packed(), kTestSectors * kSectorSize / 2);
    }
    uint64_t packed() const { return engine->info().packed_live_bytes; }
    uint64_t segments_in_history() const { return engine->info().segments_log - engine->info().segments_past; }
    uint64_t segments_past() const { return engine->info().segments_past; }
};

TEST_F(PackTest, WhatNobodyWritesIsPackedAndItsSegmentsAreFree) {
    fill();
    const uint64_t before = segments_past();
    EXPECT_EQ(engine->info().packs, 0u);  // it is not old enough
    rest();
    EXPECT_GT(packed(), kTestSectors * kSectorSize / 2);
    churn(3);
    EXPECT_LT(segments_past(), before / 2);
    EXPECT_LT(engine->stats().pack_bytes, engine->stats().packed_bytes / 4);
    expect_sound();
}

// Streams are made of four segments and more, but not while there is time.
TEST_F(PackTest, WhatWaitsForMoreIsDoneWhenTheDiskRests) {
    fill();
    const Stamps then = now;
    snapshot("then");
    churn(2);
    EXPECT_GE(segments_in_history(), 2u);
    rest();
    EXPECT_LE(segments_in_history(), 1u);
    EXPECT_EQ(content_at(at("then")), then);
    kill_and_open();
    EXPECT_EQ(content_at(at("then")), then);
    expect_sound();
}

TEST_F(PackTest, ADiskThatIsSeldomWrittenToHasFewRests) {
    fill();
    rest();
    snapshot("then");
    churn(2);
    rest();
    EXPECT_GE(segments_in_history(), 2u);
    churn(8);
    rest();
    EXPECT_LE(segments_in_history(), 1u);
    expect_sound();
}

TEST_F(PackTest, NothingIsPackedUnlessItIsAskedFor) {
    engine->set_pack_after(-1);
    fill();
    rest();
    EXPECT_EQ(engine->stats().packs, 0u);
}

TEST_F(PackTest, WhatWasPackedIsThereAfterEachKindOfEnd) {
    fill_and_pack();
    expect_sound();
    kill_and_open();
    expect_sound();
    lose_power_and_open();
    expect_sound();
    close_and_open();
    expect_sound();
    ASSERT_TRUE(engine->checkpoint().ok());
    kill_and_open();
    expect_sound();
    EXPECT_GT(packed(), 0u);
}

TEST_F(PackTest, PartsOfPackedRunsCanBeWrittenZeroedAndRead) {
    fill_and_pack();
    must_write(300, 3);
    must_write(511, 2);
    ASSERT_TRUE(zero(700, 33).ok());
    expect_sound();
    flush();
    kill_and_open();
    expect_sound();
}

TEST_F(PackTest, SnapshotsAndViewsBeforeAndAfterItStayWhatTheyAre) {
    fill();
    const Stamps then = now;
    snapshot("before");
    auto view = engine->open_view(at("before"));
    ASSERT_TRUE(view.ok());
    rest();
    must_write(1000, 200);
    const Stamps after = now;
    snapshot("after");
    must_write(900, 200);
    churn(10);
    rest();
    ASSERT_GT(engine->stats().packs, 0u);
    EXPECT_EQ(content(*view.value()), then);
    view.value().reset();
    churn(4);
    EXPECT_EQ(content_at(at("before")), then);
    EXPECT_EQ(content_at(at("after")), after);
    kill_and_open();
    EXPECT_EQ(content_at(at("before")), then);
    EXPECT_EQ(content_at(at("after")), after);
    ASSERT_TRUE(engine->rollback(at("before")).ok());
    now = then;
    expect_sound();
    lose_power_and_open();
    expect_sound();
}

// What was replaced within the window has its place in the pack.
TEST_F(PackTest, APackStaysWhileHistoryHasPlacesInIt) {
    fill_and_pack();
    const Stamps then = now;
    ASSERT_TRUE(engine->set_retention({int64_t{1} << 50, {}}).ok());
    const Sequence before = sequence();
    for (uint64_t sector = 256; sector + 64 <= kTestSectors; sector += 64) {
        must_write(sector, 64);  // nothing of the pack is in use any more
    }
    churn(4);
    ASSERT_EQ(packed(), 0u);
    EXPECT_GT(engine->info().packs, 0u);
    EXPECT_EQ(content_at(at(before)), then);
    kill_and_open();
    churn(2);
    EXPECT_EQ(content_at(at(before)), then);
    expect_sound();
}

TEST_F(PackTest, APackThatNothingIsInIsDropped) {
    fill_and_pack();
    for (uint64_t sector = 256; sector + 64 <= kTestSectors; sector += 64) {
        must_write(sector, 64);
    }
    churn(8);
    EXPECT_EQ(engine->info().packs, 0u);
    expect_sound();
}

TEST_F(PackTest, WhatIsLeftOfAPackIsPackedAgain) {
    fill_and_pack();
    const uint64_t packs = engine->stats().packs;
    for (uint64_t sector = 256; sector + 64 <= kTestSectors; sector += 128) {
        must_write(sector, 64);
    }
    churn(8);
    rest();
    EXPECT_GT(engine->stats().packs, packs);
    EXPECT_LE(engine->info().packs, engine->stats().packs - packs);  // those before are gone
    expect_sound();
    kill_and_open();
    expect_sound();
}

// The window, whatever is in packs, is not cut for the limit of bytes: packs are no history.
TEST_F(PackTest, PacksDoNotCountAsHistory) {
    snapshot("old");
    fill_and_pack();
    ASSERT_TRUE(engine->set_retention({0, 4 * uint64_t{kTestSegment}}).ok());
    churn(8);
    EXPECT_EQ(engine->stats().points_cut, 0u);
    EXPECT_NE(engine->snapshots().size(), 0u);
}

// At each of its writes the packing may end, with what was flushed or all that was written.
TEST_F(PackTest, ACrashAtAnyStepOfItLosesNothing) {
    fill();
    flush();
    const auto images = images_during([&] {
        rest();
        ASSERT_GT(engine->stats().packs, 0u);
        flush();
        churn(1);
    });
    const Stamps then = now;
    ASSERT_GT(images.size(), 20u);
    // Each image may lack the last of what the churning wrote: all that was there before must be.
    for (const std::vector<uint8_t>& image : images) {
        open_image(image);
        const Stamps found = content();
        for (uint64_t sector = 256; sector < kTestSectors; ++sector) {
            ASSERT_EQ(found[sector], then[sector]) << sector;
        }
        const auto checked = engine->check({});
        ASSERT_TRUE(checked.ok());
        ASSERT_EQ(checked.value().corruptions, 0u) << checked.value().findings.front();
    }
    now = content();
    churn(4);
    rest();
    expect_sound();
}

// Damage to a frame is told, of what lies there and nothing else.
TEST_F(PackTest, DamageIsToldAndTheRestIsReadable) {
    fill_and_pack();
    ASSERT_TRUE(engine->checkpoint().ok());
    for (uint32_t id = 0; id < engine->info().segments_total; ++id) {
        if (file.bytes.size() > image_offset(id, 4) && file.bytes[image_offset(id, 4)] == 4) {
            flip(image_offset(id, kBlockSize + 16));
        }
    }
    kill_and_open();
    uint8_t data[kBlockSize];
    const iovec vector{data, sizeof(data)};
    uint64_t bad = 0, good = 0;
    for (uint64_t sector = 0; sector + 8 <= kTestSectors; sector += 8) {
        const auto read = engine->read(sector * kSectorSize, {&vector, 1});
        read.ok() ? ++good : ++bad;
        if (!read.ok()) {
            EXPECT_EQ(read.error().code, EIO);
        }
    }
    EXPECT_GT(bad, 0u);
    EXPECT_GT(good, 0u);
    EXPECT_GT(host.count(Event::corruption), 0u);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_GT(checked.value().corruptions, 0u);
}

}  // namespace
}  // namespace predsnap::test
