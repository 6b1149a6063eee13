// SPDX-License-Identifier: GPL-2.0-or-later
//
// A deterministic host: the test itself is a task, tasks it spawns are fibers, and whoever became ready
// first runs first, always when the running one suspends or yields. The clock stands still unless told.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "block/engine/host.h"
#include "tests/simulation/fiber.h"

namespace predsnap::test {

class FiberHost final : public Host {
  public:
    FiberHost();
    ~FiberHost() override;

    Time now() override;
    int64_t uptime_us() override { return uptime; }
    uint64_t random() override;
    Task* self() override;
    void suspend() override;
    void wake(Task* task) override;
    void yield() override;
    void spawn(std::function<void()> body) override;
    void run_on_executor(const std::function<void()>& work) override { work(); }
    void report(Event event, uint64_t offset, uint64_t length, std::string_view message) override;

    // Runs spawned tasks until none can go on. From the test's own task only.
    void run_ready();
    // Tasks that have not ended.
    size_t alive() const { return alive_; }

    // The clock: set, and how far each look at it moves it.
    Time time{1'000'000};
    int64_t tick_us = 0;
    int64_t uptime = 0;
    // Time passes.
    void pass(int64_t us) {
        time += us;
        uptime += us;
    }

    struct Report {
        Event event;
        uint64_t offset, length;
        std::string message;
    };
    std::vector<Report> reports;
    size_t count(Event event) const;

  private:
    struct Fiber;
    Fiber* pop_ready();
    void run(Fiber* fiber);

    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::deque<Fiber*> ready_;
    Fiber* running_ = nullptr;  // null: the test's own task
    uint64_t main_wakes_ = 0;
    uint64_t random_ = 0;
    size_t alive_ = 0;
};

}  // namespace predsnap::test
