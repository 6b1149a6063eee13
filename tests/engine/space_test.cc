// SPDX-License-Identifier: GPL-2.0-or-later
//
// An image that cannot grow: history that the user's window does not insist on goes before the guest's writes fail.
#include "image_test.h"

namespace predsnap::test {
namespace {

constexpr int64_t kHour = 3'600'000'000;

class SpaceTest : public ImageTest {
  protected:
    void SetUp() override {
        options.pool_min = options.pool_max = 4 * kTestSegment;
        ImageTest::SetUp();
    }
    // The device ends so many bytes behind what it holds now.
    void no_more_than(uint64_t bytes) {
        const uint64_t end = file.bytes.size() + bytes;
        file.fail = [end](const MemoryDevice::Call& call) {
            return call.op == MemoryDevice::Op::write && call.offset + call.length > end ? ENOSPC : 0;
        };
    }
    // Overwrites a part of the disk again and again; the first error.
    Result<void> work(int rounds) {
        for (int i = 0; i < rounds; ++i) {
            const Result<void> done = write(static_cast<uint64_t>(i % 4) * 100, 90);
            if (!done.ok()) {
                return done;
            }
            if (i % 3 == 0) {
                flush();
            }
            work_in_background();
        }
        return {};
    }
};

TEST_F(SpaceTest, TheOldestHistoryGoesBeforeWritesFail) {
    ASSERT_TRUE(engine->set_retention({kHour, {}}).ok());
    must_write(0, 600);
    const Stamps then = now;
    snapshot("kept");
    ASSERT_TRUE(work(10).ok());
    EXPECT_EQ(engine->info().floor, Sequence(0));
    no_more_than(6 * kTestSegment);
    const Result<void> done = work(300);
    const EngineInfo at_end = engine->info();
    ASSERT_TRUE(done.ok()) << done.error().code << " floor " << at_end.floor.value << " ready " << at_end.segments_ready << " free " << at_end.segments_free << " log " << at_end.segments_log << " past " << at_end.segments_past << " leaving " << at_end.segments_leaving << " checkpoint " << at_end.segments_checkpoint << " stream " << at_end.segments_stream << " total " << at_end.segments_total << " live " << at_end.live_extents << " seq " << at_end.sequence.value << " shrunk " << host.count(Event::window_shrunk);
    EXPECT_GT(engine->info().floor, Sequence(0));
    EXPECT_GT(host.count(Event::window_shrunk), 0u);
    EXPECT_EQ(host.count(Event::fast_full), 1u);
    EXPECT_EQ(content(), now);
    EXPECT_EQ(content_at(at("kept")), then);  // never snapshots
    flush();
    lose_power_and_open();
    EXPECT_EQ(content(), now);
    EXPECT_EQ(content_at(at("kept")), then);
}

TEST_F(SpaceTest, YoungHistoryStaysWhileThereIsSpace) {
    ASSERT_TRUE(engine->set_retention({kHour, {}}).ok());
    ASSERT_TRUE(work(200).ok());
    EXPECT_EQ(engine->info().floor, Sequence(0));
    EXPECT_EQ(host.count(Event::window_shrunk), 0u);
    EXPECT_EQ(host.count(Event::fast_full), 0u);
}

TEST_F(SpaceTest, WithoutAWindowWritesFailAndNothingIsDropped) {
    ASSERT_TRUE(work(10).ok());
    no_more_than(2 * kTestSegment);
    const Result<void> done = work(300);
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().code, ENOSPC);
    EXPECT_EQ(engine->info().floor, Sequence(0));
    EXPECT_EQ(host.count(Event::window_shrunk), 0u);
    EXPECT_EQ(host.count(Event::fast_full), 1u);
    EXPECT_EQ(content(), now);
    file.fail = nullptr;
    ASSERT_TRUE(work(30).ok());
    EXPECT_EQ(content(), now);
    no_more_than(2 * kTestSegment);
    EXPECT_FALSE(work(300).ok());
    EXPECT_EQ(host.count(Event::fast_full), 2u);  // it had grown in between
}

}  // namespace
}  // namespace predsnap::test
