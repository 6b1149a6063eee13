// SPDX-License-Identifier: GPL-2.0-or-later
//
// A disk in memory with a clock of its own: what is measured on it is the same in each run, and does not depend on
// the machine. It does one request after the other; each takes so long, and so long for each byte. It knows what a
// file system would have allocated, in blocks of 4 KiB.
#pragma once

#include <map>
#include <vector>

#include "bench_host.h"
#include "block/engine/device.h"

namespace predsnap::bench {

class ModelledDisk final : public Device {
  public:
    static constexpr int64_t kRequestUs = 60;
    static constexpr int64_t kBytesPerUs = 1000;
    static constexpr int64_t kFlushUs = 100;

    // The clock begins at `begin`; the disk can grow to `capacity` bytes.
    ModelledDisk(BenchHost& host, Time begin, uint64_t capacity);
    ~ModelledDisk() override;
    ModelledDisk(const ModelledDisk&) = delete;
    ModelledDisk& operator=(const ModelledDisk&) = delete;

    // A task of its own: makes time go on whenever all other tasks wait.
    void run_clock();

    uint64_t written_bytes() const { return written_bytes_; }
    uint64_t allocated_bytes() const { return allocated_ * kBlock; }
    uint64_t most_allocated_bytes() const { return most_allocated_ * kBlock; }
    // From now on, most_allocated_bytes() is of what comes.
    void forget_most() { most_allocated_ = allocated_; }

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> write_zeroes(uint64_t offset, uint64_t length) override;
    Result<void> discard(uint64_t offset, uint64_t length) override;
    Result<void> flush() override;
    Result<uint64_t> length() override { return uint64_t{length_}; }
    Result<void> truncate(uint64_t length) override;

  private:
    static constexpr uint64_t kBlock = 4096;

    void take(int64_t us);
    void allocate(uint64_t offset, uint64_t length, bool now);

    BenchHost& host_;
    const uint64_t capacity_;
    uint8_t* bytes_;
    uint64_t length_ = 0;
    uint64_t written_bytes_ = 0;
    std::vector<bool> is_allocated_;
    uint64_t allocated_ = 0, most_allocated_ = 0;

    int64_t now_us_;
    int64_t busy_until_us_;
    std::multimap<int64_t, Task*> waiting_;  // by when their requests are done
};

}  // namespace predsnap::bench
