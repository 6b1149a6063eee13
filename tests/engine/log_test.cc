// SPDX-License-Identifier: GPL-2.0-or-later
//
// The log: group commit, flushes, and appends that fail.
#include "image_test.h"

namespace predsnap::test {
namespace {

using Op = MemoryDevice::Op;

class LogTest : public ImageTest {
  protected:
    // Each write in a task of its own, all ready at once.
    void write_at_once(uint64_t first, uint64_t count, uint64_t sectors) {
        for (uint64_t i = 0; i < count; ++i) {
            host.spawn([this, at = first + i * sectors, sectors] {
                failures += !write(at, sectors).ok();
                ++answered;
            });
        }
    }
    // Lets other tasks run during each request to the device.
    void make_device_slow() {
        file.before = [this](const MemoryDevice::Call&) {
            for (int i = 0; i < 6; ++i) {
                host.yield();
            }
        };
    }
    void fail_writes(int error) {
        file.fail = [error](const MemoryDevice::Call& call) {
            return call.op == Op::write ? error : 0;
        };
    }

    uint64_t answered = 0;
    uint64_t failures = 0;
};

TEST_F(LogTest, WritesThatAreReadyTogetherBecomeOneBatch) {
    write_at_once(0, 16, 2);
    host.run_ready();
    EXPECT_EQ(answered, 16u);
    EXPECT_EQ(sequence(), Sequence(1));
    EXPECT_EQ(content(), now);
}

TEST_F(LogTest, WritesGatherWhileAppendsAreInFlight) {
    make_device_slow();
    for (uint64_t i = 0; i < 40; ++i) {
        write_at_once(i * 8, 1, 8);
        host.yield();
    }
    host.run_ready();
    EXPECT_EQ(answered, 40u);
    EXPECT_LT(sequence().value, 40u);
    EXPECT_EQ(content(), now);
    file.before = nullptr;
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(LogTest, AWriteLongerThanABatchIsCutAndWhole) {
    must_write(3, 2000);
    EXPECT_GT(sequence().value, 1u);
    EXPECT_EQ(content(), now);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(LogTest, AnEmptyWriteIsNothing) {
    EXPECT_TRUE(engine->write(0, {}).ok());
    EXPECT_TRUE(engine->write_zeroes(0, 0).ok());
    EXPECT_TRUE(engine->discard(512, 0).ok());
    EXPECT_EQ(sequence(), Sequence(0));
}

TEST_F(LogTest, AnAppendIsOneRequestToTheDevice) {
    must_write(0, 8);
    const size_t before = file.count(Op::write);
    must_write(8, 8);
    EXPECT_EQ(file.count(Op::write), before + 1);
}

TEST_F(LogTest, AFlushOfNothingNewDoesNotReachTheDevice) {
    must_write(0, 8);
    flush();
    const size_t before = file.count(Op::flush);
    flush();
    EXPECT_EQ(file.count(Op::flush), before);
}

TEST_F(LogTest, FlushesAtOnceShareOneOfTheDevice) {
    must_write(0, 8);
    make_device_slow();
    const size_t before = file.count(Op::flush);
    for (int i = 0; i < 10; ++i) {
        host.spawn([this] { answered += engine->flush().ok(); });
    }
    host.run_ready();
    EXPECT_EQ(answered, 10u);
    EXPECT_EQ(file.count(Op::flush), before + 1);
}

TEST_F(LogTest, AFlushCoversNoWriteThatCameAfterTheDeviceBegan) {
    must_write(0, 8);
    bool write_now = true;
    file.before = [&](const MemoryDevice::Call& call) {
        if (call.op == Op::flush && std::exchange(write_now, false)) {
            // Answered while the flush is on its way: it may or may not be covered.
            host.spawn([this] { EXPECT_TRUE(write(8, 8).ok()); });
            host.yield();
            host.yield();
            host.yield();
        }
    };
    flush();
    EXPECT_EQ(sequence(), Sequence(2));
    EXPECT_EQ(engine->info().durable, Sequence(1));
}

TEST_F(LogTest, AFailedFlushMakesNothingDurable) {
    must_write(0, 8);
    file.fail = [](const MemoryDevice::Call& call) { return call.op == Op::flush ? EIO : 0; };
    EXPECT_EQ(engine->flush().error().code, EIO);
    EXPECT_EQ(engine->info().durable, Sequence(0));
    file.fail = nullptr;
    flush();
    EXPECT_EQ(engine->info().durable, Sequence(1));
}

TEST_F(LogTest, NoSpaceIsToldAndNothingChanges) {
    must_write(0, 8);
    const Stamps before = now;
    fail_writes(ENOSPC);
    EXPECT_EQ(write(0, 8).error().code, ENOSPC);
    EXPECT_EQ(content(), before);
    EXPECT_EQ(sequence(), Sequence(1));
    EXPECT_EQ(host.count(Event::log_error), 1u);
}

TEST_F(LogTest, WritingGoesOnWhenThereIsSpaceAgain) {
    for (int round = 0; round < 30; ++round) {
        fail_writes(ENOSPC);
        file.torn_bytes = static_cast<uint64_t>(round) % 5 * kBlockSize;
        ASSERT_FALSE(write(static_cast<uint64_t>(round) * 40 % 1900, 1 + round % 40).ok());
        file.fail = nullptr;
        must_write(static_cast<uint64_t>(round) * 57 % 1900, 1 + static_cast<uint64_t>(round) * 3 % 40);
    }
    EXPECT_EQ(content(), now);
    flush();
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(LogTest, NoSpaceAgainAndAgainUsesNone) {
    must_write(0, 8);
    const uint64_t segments = engine->info().segments_total;
    fail_writes(ENOSPC);
    for (int i = 0; i < 100; ++i) {
        ASSERT_FALSE(write(0, 40).ok());
    }
    EXPECT_EQ(engine->info().segments_total, segments);
}

TEST_F(LogTest, AfterAnErrorTheLogGoesOnInTheNextSegment) {
    must_write(0, 8);
    const uint64_t segments = engine->info().segments_log;
    fail_writes(EIO);
    EXPECT_EQ(write(8, 8).error().code, EIO);
    file.fail = nullptr;
    must_write(8, 8);
    EXPECT_EQ(engine->info().segments_log, segments + 1);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(LogTest, AppendsBehindAFailedOneAreTakenBackWithIt) {
    must_write(0, 8);
    make_device_slow();
    int writes = 0;
    file.fail = [&](const MemoryDevice::Call& call) {
        return call.op == Op::write && ++writes == 1 ? EIO : 0;
    };
    write_at_once(100, 1, 8);
    host.yield();
    host.yield();
    write_at_once(200, 1, 8);  // in flight behind it
    host.run_ready();
    EXPECT_EQ(answered, 2u);
    EXPECT_GE(failures, 1u);
    EXPECT_EQ(content(), now);
    file.fail = nullptr;
    file.before = nullptr;
    must_write(300, 8);
    flush();
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(LogTest, AFailedAppendDoesNotReturnAfterAFlush) {
    for (const int error : {EIO, ENOSPC}) {
        must_write(0, 8);
        // Each time in another place: the second one in the next segment.
        for (int round = 0; round < 2; ++round) {
            fail_writes(error);
            file.torn_bytes = UINT64_MAX;  // and yet all of it is stored
            ASSERT_EQ(write(100, 8).error().code, error);
        }
        file.fail = nullptr;
        flush();
        kill_and_open();
        EXPECT_EQ(content(), now);
        must_write(200, 8);
        flush();
        kill_and_open();
        EXPECT_EQ(content(), now);
    }
}

TEST_F(LogTest, AFlushThatCannotWipeAFailedAppendFails) {
    must_write(0, 8);
    flush();
    fail_writes(EIO);
    file.torn_bytes = UINT64_MAX;
    ASSERT_FALSE(write(100, 8).ok());
    file.torn_bytes = 0;
    EXPECT_EQ(engine->flush().error().code, EIO);
    file.fail = [](const MemoryDevice::Call& call) { return call.op == Op::flush ? EIO : 0; };
    EXPECT_EQ(engine->flush().error().code, EIO);
    file.fail = nullptr;
    const size_t flushes = file.count(Op::flush);
    flush();
    EXPECT_GT(file.count(Op::flush), flushes);  // what was wiped had not been made durable
    file.lose_power();
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(LogTest, AWriteAfterAFailedOneIsNotWiped) {
    make_device_slow();
    for (const int error : {EIO, ENOSPC}) {
        must_write(0, 8);
        fail_writes(error);
        file.torn_bytes = UINT64_MAX;
        ASSERT_FALSE(write(100, 8).ok());
        file.fail = nullptr;
        write_at_once(200, 4, 8);
        host.spawn([&] { ASSERT_TRUE(engine->flush().ok()); });
        write_at_once(300, 4, 8);
        host.run_ready();
        flush();
        EXPECT_EQ(content(), now);
        kill_and_open();
        EXPECT_EQ(content(), now);
    }
    EXPECT_EQ(failures, 0u);
}

TEST_F(LogTest, PointsOfATakenBackBatchAreRecordedByTheNext) {
    must_write(0, 8);
    flush();
    fail_writes(EIO);
    ASSERT_FALSE(write(8, 8).ok());
    file.fail = nullptr;
    must_write(8, 8);
    kill_and_open();
    const auto points = engine->points({}).take();
    ASSERT_EQ(points.size(), 2u);
    EXPECT_TRUE(points[0].flush);
}

TEST_F(LogTest, ErrorsWithManyWritersLoseNothingThatWasAnswered) {
    make_device_slow();
    uint32_t calls = 0;
    for (const int error : {EIO, ENOSPC}) {
        file.fail = [&](const MemoryDevice::Call& call) {
            return call.op == Op::write && ++calls % 5 == 0 ? error : 0;
        };
        file.torn_bytes = 3 * kBlockSize;
        for (uint64_t i = 0; i < 60; ++i) {
            write_at_once(i * 30 % 1900, 1, 1 + i % 30);
            host.yield();
        }
        host.run_ready();
        EXPECT_EQ(content(), now);
    }
    EXPECT_EQ(answered, 120u);
    EXPECT_GT(failures, 0u);
    file.fail = nullptr;
    file.before = nullptr;
    flush();
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(LogTest, ADiscardReadsAsZerosEvenOverABackingDisk) {
    MemoryDevice base;
    base.bytes.assign(kTestSectors * kSectorSize, 0);
    for (uint64_t sector = 0; sector < kTestSectors; ++sector) {
        fill_sector(&base.bytes[sector * kSectorSize], 9, sector);
    }
    engine->set_backing_device(&base);
    now.assign(kTestSectors, 9);
    ASSERT_TRUE(engine->discard(10 * kSectorSize, 20 * kSectorSize).ok());
    std::fill_n(now.begin() + 10, 20, 0u);
    EXPECT_EQ(content(), now);
}

}  // namespace
}  // namespace predsnap::test
