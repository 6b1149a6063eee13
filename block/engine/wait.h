// SPDX-License-Identifier: GPL-2.0-or-later
//
// Waiting, built on Host::suspend and Host::wake: a list of waiting tasks, a mutex that may be held
// across I/O, and a group of concurrent tasks.
#pragma once

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "host.h"
#include "result.h"

namespace predsnap {

using Lock = std::unique_lock<std::mutex>;

// Tasks waiting for a condition guarded by a mutex. Use like a condition variable: check the
// condition again after each wait.
class WaitList {
  public:
    // Requires the lock; drops it while waiting.
    void wait(Host& host, Lock& lock) {
        waiting_.push_back(host.self());
        lock.unlock();
        host.suspend();
        lock.lock();
    }
    // Requires the lock.
    void wake_all(Host& host) {
        std::vector<Task*> woken;
        woken.swap(waiting_);
        for (Task* task : woken) {
            host.wake(task);
        }
    }

  private:
    std::vector<Task*> waiting_;
};

// Held across I/O. Not recursive.
class TaskMutex {
  public:
    class Guard {
      public:
        Guard(Host& host, TaskMutex& mutex) : host_(host), mutex_(mutex) {
            Lock lock(mutex_.mutex_);
            while (mutex_.held_) {
                mutex_.waiters_.wait(host_, lock);
            }
            mutex_.held_ = true;
        }
        ~Guard() {
            Lock lock(mutex_.mutex_);
            mutex_.held_ = false;
            mutex_.waiters_.wake_all(host_);
        }
        Guard(const Guard&) = delete;
        Guard& operator=(const Guard&) = delete;

      private:
        Host& host_;
        TaskMutex& mutex_;
    };

  private:
    std::mutex mutex_;
    WaitList waiters_;
    bool held_ = false;
};

// Runs pieces of one request concurrently; wait() returns the first error.
class TaskGroup {
  public:
    TaskGroup(Host& host, size_t limit) : host_(host), limit_(limit) {}
    ~TaskGroup() { wait().ok(); }
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;

    // Starts the piece, after waiting for a free place. Skips it if another piece has failed.
    void run(std::function<Result<void>()> piece) {
        Lock lock(mutex_);
        while (running_ >= limit_) {
            done_.wait(host_, lock);
        }
        if (!result_.ok()) {
            return;
        }
        ++running_;
        lock.unlock();
        host_.spawn([this, piece = std::move(piece)] {
            Result<void> result = piece();
            Lock lock(mutex_);
            if (!result.ok() && result_.ok()) {
                result_ = std::move(result);
            }
            --running_;
            done_.wake_all(host_);
        });
    }

    Result<void> wait() {
        Lock lock(mutex_);
        while (running_ > 0) {
            done_.wait(host_, lock);
        }
        return result_;
    }

  private:
    Host& host_;
    const size_t limit_;
    std::mutex mutex_;
    WaitList done_;
    size_t running_ = 0;
    Result<void> result_;
};

}  // namespace predsnap
