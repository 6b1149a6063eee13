// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the engine asks of the program it runs in: tasks, time, randomness, CPU. A task is whatever
// the host runs blocking code in: a QEMU coroutine, a fiber of the simulation, a thread of a tool.
// The engine starts no thread and reads no clock of its own.
//
// Locking: the engine guards its state with std::mutex, held only for short computations and never
// across a call that can suspend (Device, Host::suspend, Host::yield, Host::run_on_executor).
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "types.h"

namespace predsnap {

// An opaque handle of a task, valid while the task lives.
struct Task;

enum class Event : uint8_t {
    corruption,     // a checksum did not match; the read failed with EIO
    log_error,      // an append failed and was taken back
    point,          // a point was made that no flush asked for; may come often
    window_shrunk,  // history is shorter than was asked for
    fast_full,      // the image cannot grow; said once, until it can again
    capacity_full,  // the capacity image cannot grow, so streams stay where they are; likewise
    capacity_error, // what is needed cannot be read from the capacity image, or written to it; likewise
};

class Host {
  public:
    virtual ~Host() = default;

    virtual Time now() = 0;
    // Microseconds from some moment on, whatever happens to the clock. Differences mean something in one process.
    virtual int64_t uptime_us() = 0;
    virtual uint64_t random() = 0;

    // The running task. Every call into the engine that can block must come from a task.
    virtual Task* self() = 0;
    // Blocks the running task until somebody calls wake() on it, once for each suspend(). A wake that
    // comes first is not lost: the suspend returns at once.
    virtual void suspend() = 0;
    // May be called by any task of any thread. Does not switch to the woken task.
    virtual void wake(Task* task) = 0;
    // Lets other tasks that are ready run first.
    virtual void yield() = 0;
    // Starts a task in the background. The host keeps the engine alive until it ends.
    virtual void spawn(std::function<void()> body) = 0;
    // Runs CPU-heavy work elsewhere and blocks the task until it is done. Running it at once is legal.
    virtual void run_on_executor(const std::function<void()>& work) = 0;
    // Tells the administrator. offset and length are in bytes of the guest disk (0, 0 if not of it).
    virtual void report(Event event, uint64_t offset, uint64_t length, std::string_view message) = 0;
};

}  // namespace predsnap
