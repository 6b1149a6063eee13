// SPDX-License-Identifier: GPL-2.0-or-later
//
// The engine's host in benchmarks: tasks are fibers of one thread, as coroutines of one QEMU
// iothread are; blocking calls and CPU-heavy work go to a few worker threads, whose answers wake
// the fibers.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "block/engine/host.h"

namespace predsnap::bench {

class BenchHost final : public Host {
  public:
    explicit BenchHost(size_t workers);
    ~BenchHost() override;

    // Runs `main` as a task, with all that it spawns, until it ends. What is left is dropped.
    void run(std::function<void()> main);
    // Runs `call` on a worker thread and blocks the task until it is done.
    void run_blocking(const std::function<void()>& call);
    uint64_t reports() const { return reports_; }
    // From now on time stands still but for what is set here.
    void set_clock(Time now) { clock_ = now; }
    // Runs other tasks until they all wait, for what does not come from a worker. From a task.
    void run_others();

    Time now() override;
    int64_t uptime_us() override;
    uint64_t random() override { return random_(); }
    Task* self() override { return reinterpret_cast<Task*>(running_); }
    void suspend() override;
    void wake(Task* task) override;
    void yield() override;
    void spawn(std::function<void()> body) override;
    void run_on_executor(const std::function<void()>& work) override { run_blocking(work); }
    void report(Event event, uint64_t offset, uint64_t length, std::string_view message) override;

  private:
    struct Fiber;
    struct Job {
        const std::function<void()>* call;
        Fiber* caller;
    };

    Fiber* next_ready();
    void collect_done(bool wait);
    void enter(Fiber* fiber);
    void work();

    std::mt19937_64 random_{std::random_device{}()};
    std::deque<Fiber*> ready_;
    Fiber* running_ = nullptr;
    size_t blocked_ = 0;  // fibers whose call a worker has
    uint64_t reports_ = 0;
    std::optional<Time> clock_;  // that stands still

    std::mutex mutex_;  // guards what follows
    std::condition_variable have_jobs_;
    std::condition_variable have_done_;
    std::deque<Job> jobs_;
    std::vector<Fiber*> done_;
    bool stopping_ = false;
    std::vector<std::thread> workers_;
};

}  // namespace predsnap::bench
