// SPDX-License-Identifier: GPL-2.0-or-later
#include "fiber_host.h"

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace predsnap::test {

struct FiberHost::Fiber {
    explicit Fiber(std::function<void()> body) : fiber(std::move(body)) {}

    sim::Fiber fiber;
    uint64_t wakes = 0;     // not yet taken by a suspend
    bool suspended = false;
};

FiberHost::FiberHost() = default;
FiberHost::~FiberHost() = default;

Time FiberHost::now() {
    time += tick_us;
    return time;
}

// A Weyl sequence: numbers that differ, the same ones in each run.
uint64_t FiberHost::random() { return random_ += 0x9e3779b97f4a7c15ull; }

Task* FiberHost::self() {
    return running_ != nullptr ? reinterpret_cast<Task*>(running_) : reinterpret_cast<Task*>(this);
}

void FiberHost::suspend() {
    if (Fiber* self = running_) {
        while (self->wakes == 0) {
            self->suspended = true;
            self->fiber.leave();
        }
        --self->wakes;
        return;
    }
    while (main_wakes_ == 0) {
        Fiber* next = pop_ready();
        if (next == nullptr) {
            std::fprintf(stderr, "the test waits, and no task can go on\n");
            std::abort();
        }
        run(next);
    }
    --main_wakes_;
}

void FiberHost::wake(Task* task) {
    if (task == reinterpret_cast<Task*>(this)) {
        ++main_wakes_;
        return;
    }
    auto* fiber = reinterpret_cast<Fiber*>(task);
    ++fiber->wakes;
    if (std::exchange(fiber->suspended, false)) {
        ready_.push_back(fiber);
    }
}

void FiberHost::yield() {
    if (running_ != nullptr) {
        ready_.push_back(running_);
        running_->fiber.leave();
        return;
    }
    for (size_t n = ready_.size(); n > 0 && !ready_.empty(); --n) {
        run(pop_ready());
    }
}

void FiberHost::spawn(std::function<void()> body) {
    fibers_.push_back(std::make_unique<Fiber>(std::move(body)));
    ready_.push_back(fibers_.back().get());
    ++alive_;
}

void FiberHost::report(Event event, uint64_t offset, uint64_t length, std::string_view message) {
    reports.push_back({event, offset, length, std::string(message)});
}

size_t FiberHost::count(Event event) const {
    return static_cast<size_t>(std::count_if(reports.begin(), reports.end(), [&](const Report& report) {
        return report.event == event;
    }));
}

void FiberHost::run_ready() {
    while (Fiber* next = pop_ready()) {
        run(next);
    }
}

FiberHost::Fiber* FiberHost::pop_ready() {
    if (ready_.empty()) {
        return nullptr;
    }
    Fiber* next = ready_.front();
    ready_.pop_front();
    return next;
}

void FiberHost::run(Fiber* fiber) {
    assert(running_ == nullptr);
    running_ = fiber;
    fiber->fiber.enter();
    running_ = nullptr;
    if (fiber->fiber.finished()) {
        --alive_;
        std::erase_if(fibers_, [&](const auto& f) { return f.get() == fiber; });
    }
}

}  // namespace predsnap::test
