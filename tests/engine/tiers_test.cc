// SPDX-License-Identifier: GPL-2.0-or-later
//
// Tiers: old history in a second image.
#include <algorithm>

#include "image_test.h"

namespace predsnap::test {
namespace {

// Without a window, so that only snapshots keep history.
class TiersTest : public WithoutWindowTest {
  protected:
    void SetUp() override {
        options.capacity = &slow;
        WithoutWindowTest::SetUp();
    }
    // What the background has decided becomes durable, and space free.
    void settle() {
        for (int i = 0; i < 3; ++i) {
            must_write(0, 1);
            flush();
            work_in_background();
        }
    }
    // A snapshot that lies before the floor.
    Stamps old_snapshot(const std::string& name) {
        must_write(0, 300);
        EXPECT_TRUE(zero(100, 50).ok());
        const Stamps then = now;
        snapshot(name);
        host.time = Time(host.time.value + 1'000'000);
        churn(14);
        return then;
    }
    const TierInfo fast() { return engine->info().fast; }
    const TierInfo capacity() { return engine->info().capacity; }
    void open_without() {
        ASSERT_TRUE(engine->close().ok());
        engine.reset();
        options.capacity = nullptr;
        open();
    }
    size_t count(MemoryDevice::Op op) const { return slow.count(op); }

    MemoryDevice slow;
};

TEST_F(TiersTest, AnEmptyNodeBecomesTheCapacityImage) {
    EXPECT_TRUE(capacity().attached);
    EXPECT_EQ(slow.bytes.size(), format::kSuperblockArea);
    const Uuid id = engine->info().capacity_id;
    EXPECT_NE(id, Uuid{});
    close_and_open();
    EXPECT_EQ(engine->info().capacity_id, id);
}

TEST_F(TiersTest, StreamsMoveThereAndAreReadFromThere) {
    const Stamps then = old_snapshot("old");
    EXPECT_GT(capacity().streams, 0u);
    EXPECT_EQ(fast().streams, 0u);
    EXPECT_GT(engine->stats().moved_streams, 0u);
    const size_t reads = count(MemoryDevice::Op::read);
    EXPECT_EQ(content_at(at("old")), then);
    EXPECT_GT(count(MemoryDevice::Op::read), reads);
    kill_and_open();
    EXPECT_EQ(content_at(at("old")), then);
    slow.lose_power();
    lose_power_and_open();
    EXPECT_EQ(content_at(at("old")), then);
    churn(4);
    settle();
    EXPECT_EQ(engine->info().segments_stream, 0u);  // the space they took is free
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u);
}

TEST_F(TiersTest, AViewStaysWhatItIsWhileItsStreamsMove) {
    slow.fail = [](const MemoryDevice::Call& call) { return call.op == MemoryDevice::Op::write ? EIO : 0; };
    const Stamps then = old_snapshot("old");
    EXPECT_EQ(capacity().streams, 0u);
    EXPECT_GT(fast().streams, 0u);
    auto view = engine->open_view(at("old"));
    ASSERT_TRUE(view.ok());
    slow.fail = nullptr;
    churn(20);
    EXPECT_EQ(fast().streams, 0u);
    EXPECT_EQ(content(*view.value()), then);
}

TEST_F(TiersTest, ARollbackToThere) {
    const Stamps then = old_snapshot("old");
    ASSERT_TRUE(engine->rollback(at("old")).ok());
    EXPECT_EQ(content(), then);
    now = then;
    kill_and_open();
    EXPECT_EQ(content(), now);
    churn(20);
    EXPECT_EQ(content(), now);
}

TEST_F(TiersTest, GuestWritesGoOnWhileARollbackReadsWhatLiesThere) {
    const Stamps then = old_snapshot("old");
    kill_and_open();
    int waiting = 0, written = 0;
    slow.before = [&](const MemoryDevice::Call& call) {
        if (call.op != MemoryDevice::Op::read || waiting > 0) {
            return;
        }
        ++waiting;
        host.spawn([&] {
            for (int i = 0; i < 6; ++i, ++written) {  // several segments of it, also where the rollback changes it
                must_write(static_cast<uint64_t>(i) * 150, 200);
            }
        });
        for (int i = 0; i < 200 && written < 6; ++i) {
            host.yield();
        }
        EXPECT_EQ(written, 6);
    };
    const auto gone = engine->rollback(at("old"));
    ASSERT_TRUE(gone.ok());
    EXPECT_EQ(waiting, 1);
    slow.before = nullptr;
    const Stamps left = now;
    EXPECT_EQ(content(), then);
    EXPECT_EQ(content_at(at(gone.value().from)), left);
    kill_and_open();
    EXPECT_EQ(content(), then);
    ASSERT_TRUE(engine->rollback(at(gone.value().from)).ok());
    EXPECT_EQ(content(), left);
    kill_and_open();
    EXPECT_EQ(content(), left);
}

TEST_F(TiersTest, SpaceComesBackWhenStreamsAreDropped) {
    old_snapshot("old");
    EXPECT_GT(capacity().used, 0u);
    ASSERT_TRUE(engine->snapshot_delete("old").ok());
    churn(6);
    settle();
    EXPECT_EQ(capacity().streams, 0u);
    EXPECT_EQ(capacity().used, 0u);
    EXPECT_GT(count(MemoryDevice::Op::discard), 0u);
}

TEST_F(TiersTest, FullItLeavesStreamsWhereTheyAre) {
    slow.fail = [](const MemoryDevice::Call& call) { return call.op == MemoryDevice::Op::write ? ENOSPC : 0; };
    const Stamps then = old_snapshot("old");
    EXPECT_EQ(host.count(Event::capacity_full), 1u);  // said once
    EXPECT_TRUE(capacity().full);
    EXPECT_EQ(capacity().streams, 0u);
    EXPECT_EQ(content_at(at("old")), then);
    slow.fail = nullptr;
    churn(40);
    EXPECT_FALSE(capacity().full);
    EXPECT_GT(capacity().streams, 0u);
    EXPECT_EQ(content_at(at("old")), then);
}

TEST_F(TiersTest, WithoutItTheDiskCanBeWrittenAndWhatLiesThereIsAnError) {
    const Stamps then = old_snapshot("old");
    open_without();
    EXPECT_FALSE(capacity().attached);
    EXPECT_GT(capacity().streams, 0u);
    EXPECT_NE(engine->info().capacity_id, Uuid{});
    EXPECT_EQ(content(), now);
    must_write(5, 100);
    churn(5);
    EXPECT_EQ(content(), now);
    for (int i = 0; i < 2; ++i) {
        const auto view = engine->open_view(at("old"));
        ASSERT_FALSE(view.ok());
        EXPECT_EQ(view.error().code, EIO);
        EXPECT_NE(view.error().message.find("open it with 'capacity'"), std::string::npos);
    }
    EXPECT_EQ(host.count(Event::capacity_error), 1u);
    EXPECT_EQ(host.count(Event::corruption), 0u);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u);
    EXPECT_EQ(checked.value().findings.size(), 1u);
    options.capacity = &slow;
    close_and_open();
    EXPECT_EQ(content_at(at("old")), then);
    EXPECT_EQ(content(), now);
}

TEST_F(TiersTest, ADiskThatWasTakenBackOpensWithoutIt) {
    old_snapshot("old");
    ASSERT_TRUE(engine->rollback(at("old")).ok());
    open_without();
    must_write(0, 4);
    std::vector<uint8_t> sector(kSectorSize);
    const iovec whole{sector.data(), sector.size()};
    EXPECT_TRUE(engine->read(0, {&whole, 1}).ok());
    EXPECT_EQ(engine->read(50 * kSectorSize, {&whole, 1}).error().code, EIO);
}

TEST_F(TiersTest, AnotherDisksCapacityImageIsRefused) {
    MemoryDevice other_file;
    CreateOptions create;
    create.size = kTestSectors * kSectorSize;
    create.segment_size = kTestSegment;
    ASSERT_TRUE(Engine::create(host, other_file, create).ok());
    const std::vector<uint8_t> before = slow.bytes;
    const auto opened = Engine::open(host, other_file, options);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, EINVAL);
    EXPECT_NE(opened.error().message.find("belongs to the disk"), std::string::npos);
    EXPECT_EQ(slow.bytes, before);
}

TEST_F(TiersTest, WhatHoldsSomethingElseIsRefused) {
    ASSERT_TRUE(engine->close().ok());
    engine.reset();
    std::fill(slow.bytes.begin(), slow.bytes.end(), 0);
    slow.bytes.resize(2 << 20);
    slow.bytes[70'000] = 1;
    const Result<void> opened = try_open();
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, EINVAL);
    EXPECT_EQ(slow.bytes[70'000], 1);
}

TEST_F(TiersTest, AnEmptyOneInPlaceOfOneThatIsNeededIsRefused) {
    old_snapshot("old");
    ASSERT_TRUE(engine->close().ok());
    engine.reset();
    const std::vector<uint8_t> kept = slow.bytes;
    slow.bytes.clear();
    EXPECT_EQ(try_open().error().code, EINVAL);
    EXPECT_TRUE(slow.bytes.empty());
    slow.bytes = kept;
    open();
}

TEST_F(TiersTest, OneThatWasTornWhileItWasMadeIsMadeAgain) {
    ASSERT_TRUE(engine->close().ok());
    engine.reset();
    const std::vector<uint8_t> whole = slow.bytes;
    for (const size_t sector : {size_t{0}, size_t{7}, size_t{8}}) {
        slow.bytes.assign(whole.size(), 0);
        std::copy_n(whole.begin() + static_cast<ptrdiff_t>(sector * kSectorSize), kSectorSize,
                    slow.bytes.begin() + static_cast<ptrdiff_t>(sector * kSectorSize));
        open();
        EXPECT_TRUE(capacity().attached) << sector;
        ASSERT_TRUE(engine->close().ok());
        engine.reset();
    }
}

TEST_F(TiersTest, DamageThereIsFoundAndNeverGivenOut) {
    old_snapshot("old");
    for (size_t at = format::kSuperblockArea + kBlockSize; at < slow.bytes.size(); at += kSectorSize) {
        slow.bytes[at] ^= 0x40;
    }
    const auto view = engine->open_view(at("old"));
    if (view.ok()) {
        std::vector<uint8_t> disk(kTestSectors * kSectorSize);
        const iovec whole{disk.data(), disk.size()};
        EXPECT_EQ(view.value()->read(0, {&whole, 1}).error().code, EIO);
    }
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_GT(checked.value().corruptions, 0u);
}

TEST_F(TiersTest, WhatItCannotReadIsNoCorruption) {
    old_snapshot("old");
    close_and_open();  // forgets what was read
    slow.fail = [](const MemoryDevice::Call& call) { return call.op == MemoryDevice::Op::read ? EIO : 0; };
    EXPECT_EQ(engine->open_view(at("old")).error().code, EIO);
    EXPECT_EQ(host.count(Event::corruption), 0u);
    EXPECT_EQ(host.count(Event::capacity_error), 1u);
    must_write(0, 8);
    slow.fail = nullptr;
    EXPECT_TRUE(engine->open_view(at("old")).ok());
}

// A stream that is being copied is dropped: the copy must not come into the history.
TEST_F(TiersTest, AStreamDroppedWhileItMovesIsGone) {
    bool hold = true;
    std::vector<Task*> held;
    slow.before = [&](const MemoryDevice::Call& call) {
        if (hold && call.op == MemoryDevice::Op::write) {
            held.push_back(host.self());
            host.suspend();
        }
    };
    old_snapshot("old");
    EXPECT_EQ(held.size(), 1u);
    EXPECT_GT(fast().streams, 0u);
    ASSERT_TRUE(engine->snapshot_delete("old").ok());
    churn(4);
    settle();
    EXPECT_EQ(fast().streams, 0u);  // the background's work goes on beside what does not answer
    hold = false;
    for (Task* task : held) {
        host.wake(task);
    }
    churn(6);
    settle();
    EXPECT_EQ(capacity().streams, 0u);
    EXPECT_EQ(capacity().used, 0u);
    EXPECT_EQ(content(), now);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(TiersTest, StreamsAreMergedThere) {
    std::vector<Stamps> kept;
    for (int i = 0; i < 6; ++i) {
        must_write(0, 400);
        kept.push_back(now);
        snapshot("s" + std::to_string(i));
        churn(5);
    }
    churn(10);
    settle();
    const uint64_t used = capacity().used, count = capacity().streams;
    EXPECT_GE(count, 6u);
    for (const int gone : {1, 2, 4}) {
        ASSERT_TRUE(engine->snapshot_delete("s" + std::to_string(gone)).ok());
    }
    churn(10);
    settle();
    EXPECT_LT(capacity().streams, count);
    EXPECT_GT(engine->stats().coalesced_bytes, 0u);
    EXPECT_LE(capacity().used, used);
    for (const int i : {0, 3, 5}) {
        EXPECT_EQ(content_at(at("s" + std::to_string(i))), kept[static_cast<size_t>(i)]) << i;
    }
    kill_and_open();
    for (const int i : {0, 3, 5}) {
        EXPECT_EQ(content_at(at("s" + std::to_string(i))), kept[static_cast<size_t>(i)]) << i;
    }
}

}  // namespace
}  // namespace predsnap::test
