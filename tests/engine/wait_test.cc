// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/wait.h"

#include <gtest/gtest.h>

#include "fiber_host.h"

namespace predsnap::test {
namespace {

class WaitTest : public ::testing::Test {
  protected:
    FiberHost host;
};

TEST_F(WaitTest, AWakeThatComesFirstIsNotLost) {
    host.wake(host.self());
    host.suspend();  // would never return
}

TEST_F(WaitTest, AllThatWaitAreWoken) {
    std::mutex mutex;
    WaitList list;
    bool open = false;
    int passed = 0;
    for (int i = 0; i < 3; ++i) {
        host.spawn([&] {
            Lock lock(mutex);
            while (!open) {
                list.wait(host, lock);
            }
            ++passed;
        });
    }
    host.run_ready();
    EXPECT_EQ(passed, 0);
    {
        Lock lock(mutex);
        open = true;
        list.wake_all(host);
    }
    host.run_ready();
    EXPECT_EQ(passed, 3);
    EXPECT_EQ(host.alive(), 0u);
}

TEST_F(WaitTest, ATaskMutexIsHeldByOneAtATimeAcrossWaits) {
    TaskMutex mutex;
    int inside = 0, most = 0, done = 0;
    for (int i = 0; i < 5; ++i) {
        host.spawn([&] {
            TaskMutex::Guard guard(host, mutex);
            most = std::max(most, ++inside);
            host.yield();
            host.yield();
            --inside;
            ++done;
        });
    }
    host.run_ready();
    EXPECT_EQ(done, 5);
    EXPECT_EQ(most, 1);
}

TEST_F(WaitTest, AGroupRunsAtMostSoManyPiecesAtOnce) {
    int running = 0, most = 0;
    TaskGroup group(host, 3);
    for (int i = 0; i < 10; ++i) {
        group.run([&]() -> Result<void> {
            most = std::max(most, ++running);
            host.yield();
            --running;
            return {};
        });
    }
    EXPECT_TRUE(group.wait().ok());
    EXPECT_EQ(most, 3);
}

TEST_F(WaitTest, AGroupTellsTheFirstErrorAndStartsNoMore) {
    int started = 0;
    TaskGroup group(host, 1);
    for (int i = 0; i < 5; ++i) {
        group.run([&started, i]() -> Result<void> {
            ++started;
            return i == 1 ? Result<void>(Error{EBUSY, "piece 1"}) : Result<void>();
        });
    }
    const Result<void> result = group.wait();
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, EBUSY);
    EXPECT_EQ(started, 2);
}

TEST_F(WaitTest, AGroupWaitsWhenItGoesOutOfScope) {
    bool done = false;
    {
        TaskGroup group(host, 1);
        group.run([&]() -> Result<void> {
            host.yield();
            done = true;
            return {};
        });
    }
    EXPECT_TRUE(done);
}

}  // namespace
}  // namespace predsnap::test
