// SPDX-License-Identifier: GPL-2.0-or-later
#include "bench_host.h"

#include <cassert>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tests/simulation/fiber.h"

namespace predsnap::bench {

struct BenchHost::Fiber {
    explicit Fiber(std::function<void()> body) : fiber(std::move(body)) {}

    sim::Fiber fiber;
    uint64_t wakes = 0;  // not yet taken by a suspend
    bool suspended = false;
};

BenchHost::BenchHost(size_t workers) {
    for (size_t i = 0; i < workers; ++i) {
        workers_.emplace_back([this] { work(); });
    }
}

BenchHost::~BenchHost() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    have_jobs_.notify_all();
    for (std::thread& worker : workers_) {
        worker.join();
    }
}

void BenchHost::run(std::function<void()> main) {
    bool ended = false;
    spawn([&] {
        main();
        ended = true;
    });
    while (!ended) {
        enter(next_ready());
    }
}

int64_t BenchHost::uptime_us() {
    if (clock_) {
        return clock_->value;
    }
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

Time BenchHost::now() {
    if (clock_) {
        return *clock_;
    }
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return Time(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

void BenchHost::suspend() {
    Fiber* self = running_;
    while (self->wakes == 0) {
        self->suspended = true;
        self->fiber.leave();
    }
    --self->wakes;
}

// Only tasks call it, and all run in one thread.
void BenchHost::wake(Task* task) {
    auto* fiber = reinterpret_cast<Fiber*>(task);
    ++fiber->wakes;
    if (std::exchange(fiber->suspended, false)) {
        ready_.push_back(fiber);
    }
}

void BenchHost::yield() {
    ready_.push_back(running_);
    running_->fiber.leave();
}

void BenchHost::run_others() {
    while (!ready_.empty() || blocked_ > 0) {
        yield();
    }
}

void BenchHost::spawn(std::function<void()> body) {
    ready_.push_back(new Fiber(std::move(body)));
}

void BenchHost::run_blocking(const std::function<void()>& call) {
    if (workers_.empty()) {
        call();
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        jobs_.push_back({&call, running_});
    }
    have_jobs_.notify_one();
    ++blocked_;
    running_->fiber.leave();
}

void BenchHost::report(Event event, uint64_t, uint64_t, std::string_view message) {
    if (event == Event::point) {
        return;
    }
    ++reports_;
    std::fprintf(stderr, "%s: the engine reports: %.*s\n", program_invocation_short_name,
                 static_cast<int>(message.size()), message.data());
}

// Fibers whose calls are done come after those that are ready.
BenchHost::Fiber* BenchHost::next_ready() {
    if (blocked_ > 0) {
        collect_done(ready_.empty());
    }
    if (ready_.empty()) {
        std::fprintf(stderr, "%s: no task can go on\n", program_invocation_short_name);
        std::abort();
    }
    Fiber* next = ready_.front();
    ready_.pop_front();
    return next;
}

void BenchHost::collect_done(bool wait) {
    std::unique_lock lock(mutex_);
    while (wait && done_.empty()) {
        have_done_.wait(lock);
    }
    blocked_ -= done_.size();
    ready_.insert(ready_.end(), done_.begin(), done_.end());
    done_.clear();
}

void BenchHost::enter(Fiber* fiber) {
    running_ = fiber;
    fiber->fiber.enter();
    running_ = nullptr;
    if (fiber->fiber.finished()) {
        delete fiber;
    }
}

void BenchHost::work() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        if (jobs_.empty()) {
            have_jobs_.wait(lock);
            continue;
        }
        const Job job = jobs_.front();
        jobs_.pop_front();
        lock.unlock();
        (*job.call)();
        lock.lock();
        done_.push_back(job.caller);
        have_done_.notify_one();
    }
}

}  // namespace predsnap::bench
