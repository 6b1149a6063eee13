// SPDX-License-Identifier: GPL-2.0-or-later
//
// The engine's Host in the simulation.
#pragma once

#include <string>
#include <vector>

#include "block/engine/host.h"
#include "random.h"
#include "scheduler.h"

namespace predsnap::sim {

class SimHost final : public Host {
  public:
    struct Report {
        Event event;
        uint64_t offset;
        uint64_t length;
        std::string message;
    };

    SimHost(Scheduler& scheduler, uint64_t seed);

    Time now() override;
    int64_t uptime_us() override { return static_cast<int64_t>(scheduler_.now_us()); }
    uint64_t random() override { return random_.next(); }
    Task* self() override { return reinterpret_cast<Task*>(scheduler_.self()); }
    void suspend() override { scheduler_.suspend(); }
    void wake(Task* task) override { scheduler_.wake(reinterpret_cast<SimTask*>(task)); }
    void yield() override { scheduler_.yield(); }
    void spawn(std::function<void()> body) override;
    void run_on_executor(const std::function<void()>& work) override;
    void report(Event event, uint64_t offset, uint64_t length, std::string_view message) override;

    // Sets the wall clock forward or back, as an administrator or NTP would.
    void jump_clock(int64_t us) { clock_offset_us_ += us; }
    // Waits until the tasks the engine spawned have ended.
    void join_spawned() { spawned_.wait("the engine's background tasks to end"); }

    const std::vector<Report>& reports() const { return reports_; }
    uint64_t corruption_reports() const { return corruption_reports_; }
    uint64_t count(Event event) const;

  private:
    Scheduler& scheduler_;
    Random random_;
    WaitGroup spawned_;
    int64_t clock_offset_us_ = 0;
    std::vector<Report> reports_;
    uint64_t corruption_reports_ = 0;
};

}  // namespace predsnap::sim
