// SPDX-License-Identifier: GPL-2.0-or-later
//
// A fiber: a function with a stack of its own, entered and left by switching contexts. Annotated
// for AddressSanitizer. Used by the scheduler only.
#pragma once

#include <setjmp.h>

#include <cstddef>
#include <functional>

namespace predsnap::sim {

class Fiber {
  public:
    explicit Fiber(std::function<void()> body);
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Runs the fiber until it leaves or its body ends. Called from the scheduler's own stack.
    void enter();
    // Back to the scheduler; returns at the next enter().
    void leave();
    bool finished() const { return finished_; }
    // Gives the stack of a finished fiber back for the next one.
    void release_stack();

  private:
    static void start(unsigned high, unsigned low);
    // AddressSanitizer would not learn that the frame is left.
    [[noreturn, gnu::no_sanitize_address]] void begin();
    void run();
    void switch_out(bool for_good);

    std::function<void()> body_;
    jmp_buf fiber_;      // where it left
    jmp_buf scheduler_;  // where it was entered
    void* stack_ = nullptr;
    void* fake_stack_ = nullptr;            // AddressSanitizer's, of this fiber
    void* scheduler_fake_stack_ = nullptr;  // and of the scheduler, while the fiber runs
    const void* scheduler_bottom_ = nullptr;
    size_t scheduler_size_ = 0;
    bool started_ = false;
    bool finished_ = false;
};

}  // namespace predsnap::sim
