// SPDX-License-Identifier: GPL-2.0-or-later
//
// Placement: what is copied to make room goes to the log's end, or apart.
#include <algorithm>

#include "image_test.h"

namespace predsnap::test {
namespace {

constexpr uint64_t kLasting = 1024;  // sectors; behind them is what is written again and again
constexpr uint64_t kAtOnce = 8;

class PlacementTest : public WithoutWindowTest {
  protected:
    void SetUp() override {
        options.spare_segments = 1;
        options.placement = Placement::apart;
        WithoutWindowTest::SetUp();
    }
    // Segments in which half the data lasts, and half does not, and then more until room is short.
    void mix(uint64_t after = 600) {
        for (uint64_t i = 0; i < kLasting / kAtOnce; ++i) {
            must_write(i * kAtOnce, kAtOnce);
            write_again(i);
        }
        for (uint64_t i = 0; i < after; ++i) {
            write_again(i);
        }
        flush();
    }
    void write_again(uint64_t i) {
        must_write(kLasting + i % 24 * kAtOnce, kAtOnce);
        if (i % 16 == 0) {
            flush();
            work_in_background();
        }
    }
    uint64_t packed() const { return engine->info().packed_live_bytes; }
};

TEST_F(PlacementTest, WhatLastsIsPutApartToMakeRoom) {
    mix();
    const EngineStats stats = engine->stats();
    EXPECT_GT(stats.packs, 0u);
    EXPECT_GT(packed(), kLasting * kSectorSize / 4);
    EXPECT_GT(stats.cleaned_segments, 4u);
    EXPECT_LT(stats.moved_bytes, stats.packed_bytes / 4);
    expect_sound();
}

TEST_F(PlacementTest, NothingIsUnlessItIsAskedFor) {
    engine->set_placement(Placement::log);
    mix();
    EXPECT_EQ(engine->stats().packs, 0u);
    EXPECT_GT(engine->stats().moved_bytes, 0u);
    engine->set_placement(Placement::apart);
    mix();
    EXPECT_GT(engine->stats().packs, 0u);
    expect_sound();
}

TEST_F(PlacementTest, ItIsThereAfterEachKindOfEnd) {
    mix();
    kill_and_open();
    expect_sound();
    mix();
    lose_power_and_open();
    expect_sound();
    options.placement = Placement::log;
    close_and_open();
    mix();
    expect_sound();
}

TEST_F(PlacementTest, WhatIsSaidToBeWrittenSoonIsNot) {
    ASSERT_TRUE(predict({{0, kTestSectors * kSectorSize, 1, 0, {}}}).ok());
    mix();
    EXPECT_EQ(engine->stats().packs, 0u);
    EXPECT_GT(engine->stats().moved_bytes, 0u);
    expect_sound();
}

TEST_F(PlacementTest, WhatIsSaidIsNotHeardWhereThatIsOff) {
    FineOptions fine = options.fine;
    fine.use.placement = false;
    engine->set_fine(fine);
    ASSERT_TRUE(predict({{0, kTestSectors * kSectorSize, 1, 0, {}}}).ok());
    mix();
    EXPECT_GT(engine->stats().packs, 0u);
    expect_sound();
}

TEST_F(PlacementTest, PacksThatAreMostlyOverwrittenMakeRoom) {
    mix();
    for (int round = 0; round < 6; ++round) {
        for (uint64_t at = round % 2 * kAtOnce; at < kLasting; at += 2 * kAtOnce) {
            must_write(at, kAtOnce);
            write_again(at / kAtOnce);
        }
    }
    const EngineInfo info = engine->info();
    EXPECT_LT(info.segments_total - info.segments_ready - info.segments_free, 44u);
    expect_sound();
}

TEST_F(PlacementTest, WhatCannotBeReadKeepsNothingElseFromBeingMoved) {
    mix(0);
    std::vector<uint8_t> sector(kSectorSize);
    fill_sector(sector.data(), now[kLasting - 1], kLasting - 1);  // not put apart yet
    const auto at = std::search(file.bytes.begin(), file.bytes.end(), sector.begin(), sector.end());
    ASSERT_NE(at, file.bytes.end());
    *at ^= 0x10;
    for (uint64_t i = 0; i < 900; ++i) {
        write_again(i);
    }
    EXPECT_GT(engine->stats().cleaned_segments, 4u);
    std::vector<uint8_t> data(kLasting / 2 * kSectorSize);
    const iovec to{data.data(), data.size()};
    ASSERT_TRUE(engine->read(0, {&to, 1}).ok());
    expect_stamps(0, data);
}

}  // namespace
}  // namespace predsnap::test
