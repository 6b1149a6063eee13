// SPDX-License-Identifier: GPL-2.0-or-later
//
// Deltas in a whole engine: written, read, kept as long as they are needed.
#include "block/engine/fine.h"

#include <algorithm>
#include <random>

#include "image_test.h"

namespace predsnap::test {
namespace {

class FineTest : public ImageTest {
  protected:
    FineTest() { options.fine.granularity = Granularity::fine; }
    void keep_nothing() { ASSERT_TRUE(engine->set_retention({0, {}}).ok()); }
    // Fills segments with data that takes the place of the same data before.
    void churn(uint64_t segments) {
        for (uint64_t i = 0; i < segments; ++i) {
            const uint64_t wanted = engine->info().segments_log + 1;
            for (uint64_t n = 0; n < 400 && engine->info().segments_log < wanted; ++n) {
                must_write(1001 + n * 40 % 1000, 40);
            }
            flush();
            work_in_background();
        }
    }
    uint64_t deltas() const { return engine->stats().deltas; }
};

TEST_F(FineTest, APageThatIsWrittenAgainIsADelta) {
    must_write(0, 8);
    EXPECT_EQ(deltas(), 0u);
    must_write(0, 8);
    EXPECT_EQ(deltas(), 1u);
    EXPECT_LE(engine->stats().delta_bytes, 512u);
    EXPECT_EQ(engine->fine_info().live_deltas, 1u);
    expect_sound();
    kill_and_open();  // and without the cache
    expect_sound();
}

TEST_F(FineTest, OnePageAfterTheOtherManyTimes) {
    std::vector<Stamps> states{now};
    for (int i = 0; i < 40; ++i) {
        must_write(static_cast<uint64_t>(i % 3) * 8, i % 5 == 0 ? 16 : 8);
        states.push_back(now);
    }
    EXPECT_GT(deltas(), 30u);
    for (int round = 0; round < 2; ++round) {
        for (size_t s = 0; s < states.size(); ++s) {
            EXPECT_EQ(content_at(at(Sequence(s))), states[s]) << "state " << s;
        }
        expect_sound();
        kill_and_open();
    }
    for (const size_t s : {20u, 3u, 38u, 0u, 40u}) {
        ASSERT_TRUE(engine->rollback(at(Sequence(s))).ok());
        EXPECT_EQ(content(), states[s]) << "rolled back to " << s;
        now = states[s];
        must_write(16, 8);
        must_write(16, 8);
        expect_sound();
    }
}

TEST_F(FineTest, ChainsAreAtMostEightDeep) {
    for (int i = 0; i < 9; ++i) {
        must_write(0, 8);
    }
    EXPECT_EQ(deltas(), 8u);
    must_write(0, 8);
    EXPECT_EQ(deltas(), 8u);  // as it is
    must_write(0, 8);
    EXPECT_EQ(deltas(), 9u);
    expect_sound();
}

TEST_F(FineTest, TheDeepestAreWrittenOutWhenNobodyWritesThem) {
    for (int i = 0; i < 9; ++i) {
        must_write(0, 8);
    }
    flush();
    work_in_background();
    EXPECT_EQ(engine->stats().materialised, 0u);
    host.time += 2'000'000;
    work_in_background();
    EXPECT_EQ(engine->stats().materialised, 1u);
    EXPECT_EQ(engine->fine_info().live_deltas, 0u);
    EXPECT_EQ(content_at(at(Sequence(9))), now);
    expect_sound();
    const Stamps then = now;
    must_write(0, 8);
    EXPECT_EQ(engine->fine_info().live_deltas, 1u);  // based on what was moved
    expect_sound();
    lose_power_and_open();  // that and the moved entry are lost
    now = then;
    expect_sound();
}

TEST_F(FineTest, PartsOfADeltaStayReadable) {
    must_write(0, 16);
    must_write(0, 16);
    must_write(3, 2);
    ASSERT_TRUE(zero(9, 1).ok());
    EXPECT_EQ(engine->fine_info().live_deltas, 2u);
    expect_sound();
    kill_and_open();
    expect_sound();
    must_write(0, 8);
    must_write(8, 8);
    EXPECT_EQ(engine->fine_info().live_deltas, 0u);  // what was cut is written as it is
    expect_sound();
}

TEST_F(FineTest, WhatDeltasAreBasedOnIsKept) {
    keep_nothing();
    must_write(0, 8);
    must_write(16, 8);
    fill_segments(2);
    must_write(16, 8);
    must_write(0, 8);  // nothing else needs the first segment then
    must_write(16, 8);
    EXPECT_EQ(engine->fine_info().live_deltas, 2u);
    for (int i = 0; i < 60; ++i) {
        churn(1);
        if (i == 20) {
            engine->set_fine({});  // which empties the cache only if its size changes
            engine->set_fine({.staging_bytes = 0});
        }
        ASSERT_EQ(content(), now) << "after " << i;
    }
    EXPECT_GT(engine->stats().reclaimed_segments, 10u);
    expect_sound();
    kill_and_open();
    expect_sound();
}

TEST_F(FineTest, TheImageStaysBounded) {
    keep_nothing();
    must_write(0, 1024);
    must_write(1024, 1024);
    std::mt19937_64 random(3);
    uint64_t most = 0;
    for (uint64_t i = 0; i < 6'000; ++i) {
        // Some pages are hot for a while, then others.
        const uint64_t page = random() % 4 == 0 ? random() % 256 : (i / 100 * 7 + random() % 10) % 256;
        must_write(page * 8, 8);
        if (i % 10 == 0) {
            flush();
            work_in_background();
            most = std::max(most, uint64_t{file.bytes.size()});
        }
    }
    EXPECT_GT(engine->stats().reclaimed_segments, 30u);
    EXPECT_GT(deltas(), 2500u);
    EXPECT_LT(most, 120u * kTestSegment);  // of a disk of 16, each write taking a block of the log
    expect_sound();
    kill_and_open();
    expect_sound();
}

TEST_F(FineTest, DeltasFoundAtOpeningAreLearntBeforeAnythingIsGivenAway) {
    must_write(0, 8);
    for (int i = 0; i < 5; ++i) {
        must_write(0, 8);
        must_write(32, 8);
    }
    close_and_open();
    EXPECT_FALSE(engine->fine_info().deltas_learnt);
    keep_nothing();
    for (int i = 0; i < 40; ++i) {
        churn(1);
        ASSERT_EQ(content(), now);
    }
    EXPECT_TRUE(engine->fine_info().deltas_learnt);
    EXPECT_GT(engine->stats().reclaimed_segments, 10u);
    expect_sound();
    // And after a rollback.
    must_write(0, 8);
    const Sequence then = sequence();
    const Stamps state = now;
    must_write(0, 8);
    must_write(0, 3);
    ASSERT_TRUE(engine->rollback(at(then)).ok());
    now = state;
    for (int i = 0; i < 40; ++i) {
        churn(1);
        ASSERT_EQ(content(), now);
    }
    kill_and_open();
    expect_sound();
}

TEST_F(FineTest, AViewKeepsItsDeltas) {
    keep_nothing();
    must_write(0, 8);
    must_write(0, 8);
    const Stamps then = now;
    auto view = engine->open_view(at(sequence()));
    ASSERT_TRUE(view.ok());
    for (int i = 0; i < 30; ++i) {
        must_write(0, i % 2 == 0 ? 8 : 9);
        churn(1);
        ASSERT_EQ(content(*view.value()), then) << i;
    }
    expect_sound();
}

TEST_F(FineTest, AnAppendThatFailsLeavesNothingBehind) {
    must_write(0, 8);
    must_write(0, 8);
    file.fail = [](const MemoryDevice::Call& call) { return call.op == MemoryDevice::Op::write ? EIO : 0; };
    EXPECT_FALSE(write(0, 8).ok());
    file.fail = nullptr;
    expect_sound();
    must_write(0, 8);
    EXPECT_EQ(engine->fine_info().live_deltas, 1u);
    expect_sound();
    kill_and_open();
    expect_sound();
}

TEST_F(FineTest, DamageOfABaseIsAnErrorAndIsFound) {
    must_write(0, 8);
    const auto status = engine->status(0, kBlockSize, true);
    ASSERT_TRUE(status.ok() && status.value().place);
    must_write(0, 8);
    EXPECT_FALSE(engine->status(0, kBlockSize, true).value().place);  // nobody may look for it there
    flush();
    must_write(100, 1);  // says that what was before it was durable
    flip(to_bytes(*status.value().place) + 17);
    EXPECT_EQ(content(), now);  // it is staged
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_GE(checked.value().corruptions, 2u);  // the data, and what is based on it
    kill_and_open();
    uint8_t block[kBlockSize];
    const iovec buffer{block, sizeof(block)};
    const Result<void> read = engine->read(0, {&buffer, 1});
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code, EIO);
    EXPECT_GE(host.count(Event::corruption), 1u);
}

TEST_F(FineTest, WhatIsNotFineIsWrittenAsItIs) {
    options.fine.granularity = Granularity::sub_block;
    kill_and_open();
    must_write(0, 8);
    must_write(0, 8);
    EXPECT_EQ(deltas(), 0u);
    EXPECT_EQ(engine->fine_info().staging.memory_bytes, 0u);
    engine->set_fine({.granularity = Granularity::fine});
    must_write(4, 8);
    must_write(4, 8);  // no whole blocks
    EXPECT_EQ(deltas(), 0u);
    must_write(0, 8);
    must_write(0, 8);
    EXPECT_EQ(deltas(), 1u);
    expect_sound();
}

TEST_F(FineTest, AWriteSaysHowMuchItChangedWhereThatIsKnown) {
    uint8_t blocks[2 * kBlockSize] = {};
    const auto changed = [&](uint64_t offset, size_t length) {
        const iovec buffer{blocks, length};
        std::optional<uint8_t> share = 77;
        EXPECT_TRUE(engine->write(offset, {&buffer, 1}, &share).ok());
        return share;
    };
    std::fill_n(blocks, kBlockSize, 1);
    EXPECT_EQ(changed(0, kBlockSize).value_or(99), 99);  // 77 would be what nobody said
    EXPECT_EQ(changed(0, kBlockSize), 0);
    std::fill_n(blocks, kBlockSize / 4, 2);
    EXPECT_EQ(changed(0, kBlockSize), 64);
    blocks[100] = 3;
    EXPECT_EQ(changed(0, kBlockSize), 1);  // a byte is not nothing
    std::fill_n(blocks, kBlockSize, 4);
    EXPECT_EQ(changed(0, 2 * kBlockSize), 255);  // of the block that is known
    EXPECT_EQ(changed(kSectorSize, kSectorSize).value_or(99), 99);
}

TEST_F(FineTest, LevelsAreKeptWithTheImage) {
    options.fine.granularity = Granularity::automatic;
    kill_and_open();
    for (int i = 0; i < 6; ++i) {
        must_write(0, 8);
        must_write(256, 8);
    }
    EXPECT_EQ(engine->fine_info().chunks_fine, 2u);
    EXPECT_GT(deltas(), 4u);
    ASSERT_TRUE(engine->checkpoint().ok());
    kill_and_open();
    EXPECT_EQ(engine->fine_info().chunks_fine, 2u);
    expect_sound();
}

}  // namespace
}  // namespace predsnap::test
