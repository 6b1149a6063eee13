// SPDX-License-Identifier: GPL-2.0-or-later
#include "scheduler.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <utility>

namespace predsnap::sim {

namespace {
enum class State : uint8_t { ready, running, suspended, blocked, ended };

const char* name_of(State state) {
    constexpr const char* names[] = {"ready", "running", "suspended by the engine", "blocked",
                                     "ended"};
    return names[static_cast<size_t>(state)];
}
}  // namespace

class SimTask {
  public:
    SimTask(uint64_t id, std::string name, std::function<void()> body)
        : id(id), name(std::move(name)), fiber(std::move(body)) {}

    const uint64_t id;
    const std::string name;
    Fiber fiber;
    State state = State::ready;
    uint64_t wakes = 0;    // not yet taken by a suspend()
    const char* why = "";  // blocked for what
};

Scheduler::Scheduler(uint64_t seed) : random_(seed, 1), trace_hash_(mix(seed)) {}

Scheduler::~Scheduler() = default;

SimTask* Scheduler::spawn(std::string name, std::function<void()> body) {
    tasks_.push_back(std::make_unique<SimTask>(tasks_.size(), std::move(name), std::move(body)));
    ++alive_;
    ready_.push_back(tasks_.back().get());
    return tasks_.back().get();
}

void Scheduler::make_ready(SimTask* task) {
    task->state = State::ready;
    ready_.push_back(task);
}

void Scheduler::suspend() {
    assert(running_ != nullptr);
    if (running_->wakes > 0) {
        --running_->wakes;
        return;
    }
    running_->state = State::suspended;
    switch_to_scheduler();
}

void Scheduler::wake(SimTask* task) {
    if (task->state == State::ended) {
        fail("a task that has ended was woken: " + task->name);
        return;
    }
    if (task->state == State::suspended) {
        make_ready(task);
    } else {
        ++task->wakes;
    }
}

void Scheduler::yield() {
    make_ready(running_);
    switch_to_scheduler();
}

void Scheduler::block(const char* why) {
    assert(running_ != nullptr);
    running_->state = State::blocked;
    running_->why = why;
    switch_to_scheduler();
}

void Scheduler::unblock(SimTask* task) {
    assert(task->state == State::blocked);
    make_ready(task);
}

void Scheduler::sleep(uint64_t us) {
    SimTask* task = running_;
    after(us, [this, task] { unblock(task); });
    block("time to pass");
}

uint64_t Scheduler::wakes_pending(const SimTask* task) const {
    return task->wakes;
}

void Scheduler::after(uint64_t us, std::function<void()> action) {
    timers_.push(Timer{now_us_ + us, timer_order_++, std::move(action)});
}

void Scheduler::fail(std::string message) {
    if (failure_.empty()) {
        failure_ = std::move(message);
    }
    if (running_ != nullptr) {
        switch_to_scheduler();
        abort();  // the loop runs nobody after a failure
    }
}

void Scheduler::trace(uint64_t what, uint64_t a, uint64_t b) {
    trace_hash_ = mix(trace_hash_ ^ mix(what + 0x9e37) ^ mix(a * 3 + 1) ^ mix(b * 5 + 2)) + a + b;
}

void Scheduler::switch_to_scheduler() {
    running_->fiber.leave();
}

void Scheduler::run(std::function<void()> main) {
    const SimTask* task = spawn("main", std::move(main));
    loop(task);
    if (!failed() && alive_ != 0) {
        fail("tasks are left over at the end:" + describe_tasks());
    }
}

void Scheduler::loop(const SimTask* main) {
    while (!failed() && main->state != State::ended) {
        if (++steps_ > step_limit_) {
            fail("the run goes on without end (step limit):" + describe_tasks());
        } else if (ready_.empty() && timers_.empty()) {
            fail("deadlock: no task can go on:" + describe_tasks());
        } else if (ready_.empty() ||
                   (!timers_.empty() && (timers_.top().due_us <= now_us_ || random_.chance(0.1)))) {
            step_timer();
        } else {
            step_task();
        }
    }
}

void Scheduler::step_task() {
    std::swap(ready_[random_.below(ready_.size())], ready_.back());
    SimTask* task = ready_.back();
    ready_.pop_back();
    now_us_ += random_.skewed(8);
    trace(1, task->id, now_us_);
    task->state = State::running;
    running_ = task;
    task->fiber.enter();
    running_ = nullptr;
    if (task->fiber.finished()) {
        task->state = State::ended;
        task->fiber.release_stack();
        --alive_;
    }
}

void Scheduler::step_timer() {
    // top() is const only because changing it could break the order; it is removed next.
    Timer timer = std::move(const_cast<Timer&>(timers_.top()));
    timers_.pop();
    now_us_ = std::max(now_us_, timer.due_us);
    trace(2, timer.order, now_us_);
    timer.action();
}

std::string Scheduler::describe_tasks() const {
    std::string text;
    for (const auto& task : tasks_) {
        if (task->state == State::ended) {
            continue;
        }
        text += "\n  task " + std::to_string(task->id) + " (" + task->name +
                "): " + name_of(task->state);
        if (task->state == State::blocked) {
            text += std::string(", waits for ") + task->why;
        }
    }
    return text;
}

void WaitGroup::done() {
    assert(count_ > 0);
    if (--count_ > 0) {
        return;
    }
    for (SimTask* task : std::exchange(waiters_, {})) {
        scheduler_.unblock(task);
    }
}

void WaitGroup::wait(const char* why) {
    while (count_ > 0) {
        waiters_.push_back(scheduler_.self());
        scheduler_.block(why);
    }
}

}  // namespace predsnap::sim
