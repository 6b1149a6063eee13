// SPDX-License-Identifier: GPL-2.0-or-later
#include "sim_disk.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <set>

#include "block/engine/types.h"
#include "stamp.h"

namespace predsnap::sim {
namespace {

constexpr uint64_t kBytes = 64 * kSectorSize;

class Fixture {
  public:
    explicit Fixture(uint64_t seed, DiskOptions options = {})
        : scheduler(seed), disk(scheduler, seed, options) {}

    void run(std::function<void()> main) {
        scheduler.run(std::move(main));
        EXPECT_EQ(scheduler.failure(), "");
    }
    // Fills sectors with the stamp of a value.
    Result<void> write(uint64_t first, uint64_t count, Value value) {
        std::vector<uint8_t> bytes(count * kSectorSize);
        for (uint64_t i = 0; i < count; ++i) {
            stamp(bytes.data() + i * kSectorSize, first + i, value);
        }
        return disk.pwrite(first * kSectorSize, bytes.data(), bytes.size());
    }
    Value read(uint64_t sector) {
        uint8_t bytes[kSectorSize];
        EXPECT_TRUE(disk.pread(sector * kSectorSize, bytes, sizeof(bytes)).ok());
        return read_stamp(bytes, sector);
    }

    Scheduler scheduler;
    SimDisk disk;
};

TEST(SimDisk, ReadsWhatWasWritten) {
    Fixture t(1);
    t.run([&] {
        EXPECT_TRUE(t.write(3, 5, 100).ok());
        EXPECT_EQ(t.read(3), 100u);
        EXPECT_EQ(t.read(7), 100u);
        EXPECT_EQ(t.read(0), kZero);
        EXPECT_EQ(t.disk.length().take(), 8 * kSectorSize);
        uint8_t bytes[kSectorSize];
        EXPECT_FALSE(t.disk.pread(8 * kSectorSize, bytes, sizeof(bytes)).ok());
    });
}

TEST(SimDisk, FlushedDataSurvivesEveryPowerLoss) {
    for (uint64_t seed = 1; seed <= 50; ++seed) {
        Fixture t(seed);
        t.run([&] {
            EXPECT_TRUE(t.write(0, 64, 100).ok());
            EXPECT_TRUE(t.disk.flush().ok());
            t.disk.die();
            EXPECT_FALSE(t.write(0, 1, 101).ok());
            t.disk.restart(Death::power_loss);
            for (uint64_t sector = 0; sector < 64; ++sector) {
                EXPECT_EQ(t.read(sector), 100u);
            }
        });
    }
}

// Over many seeds, unflushed writes are kept, lost, torn, and kept when an earlier one is lost.
TEST(SimDisk, UnflushedWritesAreLostTornAndReordered) {
    std::set<std::string> outcomes;
    for (uint64_t seed = 1; seed <= 300; ++seed) {
        Fixture t(seed);
        t.run([&] {
            EXPECT_TRUE(t.disk.truncate(kBytes).ok());
            EXPECT_TRUE(t.disk.flush().ok());
            EXPECT_TRUE(t.write(0, 4, 100).ok());
            EXPECT_TRUE(t.write(8, 4, 101).ok());
            t.disk.die();
            t.disk.restart(Death::power_loss);
            std::string outcome;
            for (const uint64_t sector : {0, 1, 2, 3, 8, 9, 10, 11}) {
                const Value value = t.read(sector);
                EXPECT_TRUE(value == kZero || value == (sector < 8 ? 100u : 101u));
                outcome += value == kZero ? '0' : '1';
            }
            outcomes.insert(outcome);
        });
    }
    EXPECT_TRUE(outcomes.contains("00000000"));
    EXPECT_TRUE(outcomes.contains("11111111"));
    EXPECT_TRUE(outcomes.contains("00001111"));  // the later one only
    EXPECT_TRUE(outcomes.contains("11110000"));
    EXPECT_GT(outcomes.size(), 20u);  // torn in many ways
}

// A flush covers what completed before it began, and need not cover more.
TEST(SimDisk, FlushCoversOnlyWritesCompletedBefore) {
    bool lost = false;
    for (uint64_t seed = 1; seed <= 200 && !lost; ++seed) {
        Fixture t(seed);
        t.run([&] {
            EXPECT_TRUE(t.disk.truncate(kBytes).ok());
            WaitGroup group(t.scheduler);
            group.add();
            t.scheduler.spawn("writer", [&] {
                EXPECT_TRUE(t.write(0, 1, 100).ok());
                group.done();
            });
            t.scheduler.yield();
            EXPECT_TRUE(t.disk.flush().ok());
            group.wait("the writer");
            t.disk.die();
            t.disk.restart(Death::power_loss);
            lost = t.disk.length().take() == 0 || t.read(0) == kZero;
        });
    }
    EXPECT_TRUE(lost);
}

TEST(SimDisk, FlushesThatOverlapKeepWhatTheLaterOneCovered) {
    for (uint64_t seed = 1; seed <= 100; ++seed) {
        Fixture t(seed);
        t.run([&] {
            EXPECT_TRUE(t.write(0, 1, 100).ok());
            WaitGroup group(t.scheduler);
            group.add();
            t.scheduler.spawn("flusher", [&] {
                EXPECT_TRUE(t.disk.flush().ok());
                group.done();
            });
            t.scheduler.yield();
            EXPECT_TRUE(t.write(1, 31, 101).ok());
            EXPECT_TRUE(t.disk.flush().ok());
            group.wait("the other flush");
            t.disk.die();
            t.disk.restart(Death::power_loss);
            ASSERT_EQ(t.disk.length().take(), 32 * kSectorSize);
            EXPECT_EQ(t.read(31), 101u);
        });
    }
}

TEST(SimDisk, KilledProcessLosesNothingThatCompleted) {
    for (uint64_t seed = 1; seed <= 50; ++seed) {
        Fixture t(seed);
        t.run([&] {
            EXPECT_TRUE(t.write(0, 64, 100).ok());
            t.disk.die();
            t.disk.restart(Death::process_killed);
            EXPECT_EQ(t.read(0), 100u);
            EXPECT_EQ(t.read(63), 100u);
        });
    }
}

TEST(SimDisk, DiesAfterSoManyRequests) {
    Fixture t(1);
    t.run([&] {
        t.disk.die_after(2);
        EXPECT_TRUE(t.write(0, 1, 100).ok());
        EXPECT_TRUE(t.write(1, 1, 100).ok());
        EXPECT_FALSE(t.write(2, 1, 100).ok());
        EXPECT_TRUE(t.disk.dead());
    });
}

TEST(SimDisk, RequestsInFlightAtDeathFail) {
    Fixture t(1);
    t.run([&] {
        WaitGroup group(t.scheduler);
        uint64_t failed = 0;
        for (uint64_t i = 0; i < 8; ++i) {
            group.add();
            t.scheduler.spawn("writer", [&, i] {
                failed += !t.write(i, 1, 100).ok();
                group.done();
            });
        }
        while (t.disk.requests_in_flight() == 0) {
            t.scheduler.yield();
        }
        const uint64_t in_flight = t.disk.requests_in_flight();
        t.disk.die();
        group.wait("writers");
        EXPECT_GE(failed, in_flight);
    });
}

TEST(SimDisk, FullDiskRefusesNewBlocksOnly) {
    Fixture t(1);
    t.run([&] {
        t.disk.set_capacity(2 * kBlockSize);
        EXPECT_TRUE(t.write(0, 16, 100).ok());
        const Result<void> refused = t.write(16, 1, 100);
        EXPECT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().code, ENOSPC);
        EXPECT_TRUE(t.write(0, 16, 101).ok());
        EXPECT_TRUE(t.disk.discard(0, kBlockSize).ok());
        EXPECT_TRUE(t.write(16, 1, 100).ok());
        t.disk.set_capacity(UINT64_MAX);
        EXPECT_TRUE(t.write(0, 64, 100).ok());
    });
}

TEST(SimDisk, InjectedErrorsFailAndMayHaveWritten) {
    Fixture t(5);
    bool old_seen = false, new_seen = false;
    t.run([&] {
        EXPECT_TRUE(t.write(0, 64, 100).ok());
        t.disk.set_faults({.write_error = 1});
        EXPECT_FALSE(t.write(0, 64, 101).ok());
        for (uint64_t sector = 0; sector < 64; ++sector) {
            const Value value = t.read(sector);
            old_seen |= value == 100;
            new_seen |= value == 101;
        }
    });
    EXPECT_TRUE(old_seen && new_seen);
    EXPECT_EQ(t.disk.stats().errors_injected, 1u);
}

TEST(SimDisk, FlippedBitStaysFlipped) {
    Fixture t(1);
    t.run([&] {
        EXPECT_TRUE(t.write(0, 2, 100).ok());
        t.disk.flip_bit(17, 3);
        EXPECT_EQ(t.read(0), kBadContent);
        EXPECT_EQ(t.read(1), 100u);
        EXPECT_TRUE(t.disk.flush().ok());
        t.disk.die();
        t.disk.restart(Death::power_loss);
        EXPECT_EQ(t.read(0), kBadContent);
    });
}

TEST(SimDisk, NewSpaceMayBeGarbage) {
    Fixture t(1, {.garbage_in_new_space = true});
    t.run([&] {
        EXPECT_TRUE(t.disk.truncate(kBytes).ok());
        EXPECT_EQ(t.read(5), kBadContent);
        EXPECT_TRUE(t.disk.write_zeroes(0, kBytes).ok());
        EXPECT_EQ(t.read(5), kZero);
    });
}

TEST(Stamp, RecognisesForeignContent) {
    uint8_t sector[kSectorSize] = {};
    EXPECT_EQ(read_stamp(sector, 7), kZero);
    stamp(sector, 7, 99);
    EXPECT_EQ(read_stamp(sector, 7), 99u);
    EXPECT_EQ(read_stamp(sector, 8), kBadContent);
    uint8_t other[kSectorSize];
    stamp(other, 7, 98);
    memcpy(sector + 256, other + 256, 256);  // torn
    EXPECT_EQ(read_stamp(sector, 7), kBadContent);
}

}  // namespace
}  // namespace predsnap::sim
