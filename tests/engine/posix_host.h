// SPDX-License-Identifier: GPL-2.0-or-later
//
// The engine's Host over threads, and a Device over a file: for tests of its locking.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "block/engine/device.h"
#include "block/engine/host.h"

namespace predsnap::test {

// A task is a thread.
class PosixHost final : public Host {
  public:
    PosixHost();
    ~PosixHost() override;

    Time now() override;
    int64_t uptime_us() override;
    uint64_t random() override;
    Task* self() override;
    void suspend() override;
    void wake(Task* task) override;
    void yield() override;
    void spawn(std::function<void()> body) override;
    void run_on_executor(const std::function<void()>& work) override { work(); }
    void report(Event event, uint64_t offset, uint64_t length, std::string_view message) override;

    // Waits until all spawned tasks have ended.
    void join_spawned();
    uint64_t corruptions() const;

  private:
    struct Thread;

    const uint64_t id_;  // never used again
    mutable std::mutex mutex_;
    std::condition_variable ended_;
    // Kept as long as the host: who wakes a task may still hold its lock when the thread goes on
    // and ends.
    std::deque<std::unique_ptr<Thread>> threads_;
    uint64_t running_ = 0;
    uint64_t corruptions_ = 0;
    uint64_t random_ = 0;
};

// A new, unnamed file in the directory for temporary files.
class FileDevice final : public Device {
  public:
    FileDevice();
    ~FileDevice() override;
    FileDevice(const FileDevice&) = delete;
    FileDevice& operator=(const FileDevice&) = delete;

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> write_zeroes(uint64_t offset, uint64_t length) override;
    Result<void> discard(uint64_t offset, uint64_t length) override;
    Result<void> flush() override;
    Result<uint64_t> length() override;
    Result<void> truncate(uint64_t length) override;

  private:
    int fd_;
};

}  // namespace predsnap::test
