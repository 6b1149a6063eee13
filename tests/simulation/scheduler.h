// SPDX-License-Identifier: GPL-2.0-or-later
//
// Tasks and time of the simulation. One task runs at a time; which of the ready ones comes next,
// and how long it takes, is drawn from the seed. Time passes only here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include "fiber.h"
#include "random.h"

namespace predsnap::sim {

class SimTask;

class Scheduler {
  public:
    explicit Scheduler(uint64_t seed);
    ~Scheduler();

    // Runs `main` as a task, with all that it spawns, until it ends or the run fails. Tasks still
    // there when main ends are a failure, and so is a run in which nobody can go on.
    void run(std::function<void()> main);

    SimTask* spawn(std::string name, std::function<void()> body);
    SimTask* self() const { return running_; }
    // As Host's: each suspend() takes one wake(), which may come first.
    void suspend();
    void wake(SimTask* task);
    void yield();
    void sleep(uint64_t us);
    // For the simulation itself, apart from the engine's suspend and wake. `why` is shown when
    // stuck.
    void block(const char* why);
    void unblock(SimTask* task);
    // Wakes that no suspend() has taken. The engine must leave none behind in its callers' tasks.
    uint64_t wakes_pending(const SimTask* task) const;
    uint64_t tasks_alive() const { return alive_; }

    // Calls `action`, which must not block, after a time.
    void after(uint64_t us, std::function<void()> action);
    uint64_t now_us() const { return now_us_; }

    // Ends the run: the first message is kept. Called from a task, it does not return.
    void fail(std::string message);
    bool failed() const { return !failure_.empty(); }
    const std::string& failure() const { return failure_; }

    // Folds an event into the run's fingerprint: the same seed gives the same one, always.
    void trace(uint64_t what, uint64_t a = 0, uint64_t b = 0);
    uint64_t trace_hash() const { return trace_hash_; }
    uint64_t steps() const { return steps_; }
    void limit_steps(uint64_t limit) { step_limit_ = limit; }

  private:
    struct Timer {
        uint64_t due_us;
        uint64_t order;
        std::function<void()> action;
        bool operator>(const Timer& o) const {
            return due_us != o.due_us ? due_us > o.due_us : order > o.order;
        }
    };

    void loop(const SimTask* main);
    void step_task();
    void step_timer();
    void make_ready(SimTask* task);
    void switch_to_scheduler();
    std::string describe_tasks() const;

    Random random_;
    std::vector<std::unique_ptr<SimTask>> tasks_;  // kept to the end: a late wake must be noticed
    std::vector<SimTask*> ready_;
    std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
    SimTask* running_ = nullptr;
    uint64_t now_us_ = 0;
    uint64_t alive_ = 0;
    uint64_t steps_ = 0;
    uint64_t step_limit_ = 20'000'000;
    uint64_t timer_order_ = 0;
    uint64_t trace_hash_ = 0;
    std::string failure_;
};

// Lets tasks wait until a number of others are done.
class WaitGroup {
  public:
    explicit WaitGroup(Scheduler& scheduler) : scheduler_(scheduler) {}
    void add() { ++count_; }
    void done();
    void wait(const char* why);
    uint64_t count() const { return count_; }

  private:
    Scheduler& scheduler_;
    uint64_t count_ = 0;
    std::vector<SimTask*> waiters_;
};

}  // namespace predsnap::sim
