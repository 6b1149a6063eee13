// SPDX-License-Identifier: GPL-2.0-or-later
#include "scheduler.h"

#include <gtest/gtest.h>

#include "sim_host.h"

namespace predsnap::sim {
namespace {

TEST(Scheduler, WakeBeforeSuspendIsNotLost) {
    Scheduler scheduler(1);
    bool passed = false;
    scheduler.run([&] {
        scheduler.wake(scheduler.self());
        scheduler.suspend();
        passed = true;
    });
    EXPECT_TRUE(passed);
    EXPECT_EQ(scheduler.failure(), "");
}

TEST(Scheduler, EachSuspendTakesOneWake) {
    Scheduler scheduler(1);
    scheduler.run([&] {
        scheduler.wake(scheduler.self());
        scheduler.wake(scheduler.self());
        scheduler.suspend();
        EXPECT_EQ(scheduler.wakes_pending(scheduler.self()), 1u);
        scheduler.suspend();
        EXPECT_EQ(scheduler.wakes_pending(scheduler.self()), 0u);
    });
    EXPECT_EQ(scheduler.failure(), "");
}

TEST(Scheduler, DeadlockIsAFailureThatNamesTheTasks) {
    Scheduler scheduler(1);
    scheduler.run([&] {
        scheduler.spawn("sleeper", [&] { scheduler.suspend(); });
        scheduler.block("Godot");
    });
    EXPECT_NE(scheduler.failure().find("deadlock"), std::string::npos);
    EXPECT_NE(scheduler.failure().find("sleeper"), std::string::npos);
    EXPECT_NE(scheduler.failure().find("Godot"), std::string::npos);
}

TEST(Scheduler, EndlessRunIsAFailure) {
    Scheduler scheduler(1);
    scheduler.limit_steps(1000);
    scheduler.run([&] {
        for (;;) {
            scheduler.yield();
        }
    });
    EXPECT_NE(scheduler.failure().find("step limit"), std::string::npos);
}

TEST(Scheduler, TaskLeftOverIsAFailure) {
    Scheduler scheduler(1);
    scheduler.run([&] { scheduler.spawn("straggler", [&] { scheduler.suspend(); }); });
    EXPECT_NE(scheduler.failure().find("straggler"), std::string::npos);
}

TEST(Scheduler, WakingAnEndedTaskIsAFailure) {
    Scheduler scheduler(1);
    scheduler.run([&] {
        SimTask* task = scheduler.spawn("short", [] {});
        scheduler.sleep(1000);
        scheduler.wake(task);
    });
    EXPECT_NE(scheduler.failure().find("woken"), std::string::npos);
}

// The order in which ten tasks that yield in turn came to run.
std::string order_of(uint64_t seed, uint64_t* hash) {
    Scheduler scheduler(seed);
    std::string order;
    scheduler.run([&] {
        WaitGroup group(scheduler);
        for (int i = 0; i < 10; ++i) {
            group.add();
            scheduler.spawn("task", [&, i] {
                scheduler.yield();
                order += static_cast<char>('0' + i);
                group.done();
            });
        }
        group.wait("all");
    });
    EXPECT_EQ(scheduler.failure(), "");
    *hash = scheduler.trace_hash();
    return order;
}

TEST(Scheduler, SeedDecidesTheOrder) {
    uint64_t first, again, other;
    EXPECT_EQ(order_of(1, &first), order_of(1, &again));
    EXPECT_NE(order_of(1, &first), order_of(2, &other));
    EXPECT_EQ(first, again);
    EXPECT_NE(first, other);
}

TEST(Scheduler, TimersFireInOrderOfTime) {
    Scheduler scheduler(3);
    std::string order;
    scheduler.run([&] {
        scheduler.after(30, [&] { order += 'c'; });
        scheduler.after(10, [&] { order += 'a'; });
        scheduler.after(20, [&] { order += 'b'; });
        scheduler.sleep(40);
        EXPECT_GE(scheduler.now_us(), 40u);
    });
    EXPECT_EQ(order, "abc");
}

TEST(SimHost, ClockJumpsBothWays) {
    Scheduler scheduler(1);
    SimHost host(scheduler, 1);
    const Time before = host.now();
    host.jump_clock(-5'000'000);
    EXPECT_EQ(before.value - host.now().value, 5'000'000);
    host.jump_clock(6'000'000);
    EXPECT_EQ(host.now().value - before.value, 1'000'000);
}

TEST(SimHost, ExecutorRunsTheWorkAfterOthersCouldRun) {
    Scheduler scheduler(1);
    SimHost host(scheduler, 1);
    std::string order;
    scheduler.run([&] {
        host.spawn([&] { order += 'o'; });
        host.run_on_executor([&] { order += 'w'; });
        host.join_spawned();
    });
    EXPECT_EQ(scheduler.failure(), "");
    EXPECT_EQ(order.size(), 2u);
}

}  // namespace
}  // namespace predsnap::sim
