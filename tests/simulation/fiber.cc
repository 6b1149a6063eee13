// SPDX-License-Identifier: GPL-2.0-or-later
#include "fiber.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cassert>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif

#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace predsnap::sim {
namespace {

constexpr size_t kGuardSize = 4096;
#ifdef SIM_ASAN
constexpr size_t kStackSize = 512 << 10;  // its red zones make frames several times larger
#else
constexpr size_t kStackSize = 256 << 10;
#endif

// Stacks are kept for the next fibers: a run makes thousands of them. The lowest page of each is a
// guard, so that an overflow is a fault and not silent damage.
std::vector<void*>& idle_stacks() {
    static std::vector<void*> stacks;
    return stacks;
}

void* take_stack() {
    auto& idle = idle_stacks();
    if (!idle.empty()) {
        void* stack = idle.back();
        idle.pop_back();
        return stack;
    }
    void* stack =
        mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, kGuardSize, PROT_NONE) != 0) {
        perror("simulation: no memory for a fiber's stack");
        abort();
    }
    return stack;
}

// What a finished fiber poisoned must not trip the next user of its stack.
void give_stack(void* stack) {
#ifdef SIM_ASAN
    __asan_unpoison_memory_region(static_cast<char*>(stack) + kGuardSize, kStackSize - kGuardSize);
#endif
    idle_stacks().push_back(stack);
}

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {}

Fiber::~Fiber() {
    release_stack();
}

void Fiber::release_stack() {
    if (stack_ != nullptr) {
        give_stack(std::exchange(stack_, nullptr));
    }
}

void Fiber::enter() {
    assert(!finished_);
    if (stack_ == nullptr) {
        stack_ = take_stack();
    }
#ifdef SIM_ASAN
    __sanitizer_start_switch_fiber(&scheduler_fake_stack_, stack_, kStackSize);
#endif
    // Jumps, and not swapcontext(), which makes a system call each time.
    if (_setjmp(scheduler_) == 0) {
        if (!started_) {
            begin();
        }
        _longjmp(fiber_, 1);
    }
#ifdef SIM_ASAN
    __sanitizer_finish_switch_fiber(scheduler_fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::begin() {
    started_ = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stack_;
    context.uc_stack.ss_size = kStackSize;
    context.uc_link = nullptr;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&context, reinterpret_cast<void (*)()>(&Fiber::start), 2, static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(self));
    setcontext(&context);
    abort();  // it does not return
}

void Fiber::leave() {
    switch_out(false);
}

void Fiber::switch_out([[maybe_unused]] bool for_good) {
#ifdef SIM_ASAN
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, scheduler_bottom_,
                                   scheduler_size_);
#endif
    if (_setjmp(fiber_) == 0) {
        _longjmp(scheduler_, 1);
    }
#ifdef SIM_ASAN
    __sanitizer_finish_switch_fiber(fake_stack_, &scheduler_bottom_, &scheduler_size_);
#endif
}

void Fiber::start(unsigned high, unsigned low) {
    const uintptr_t self = (static_cast<uintptr_t>(high) << 32) | low;
    reinterpret_cast<Fiber*>(self)->run();
}

void Fiber::run() {
#ifdef SIM_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom_, &scheduler_size_);
#endif
    body_();
    body_ = nullptr;
    finished_ = true;
    switch_out(true);
    abort();  // a finished fiber is never entered again
}

}  // namespace predsnap::sim
