// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the engine writes to in benchmarks: a file with O_DIRECT, or nothing at all.
#pragma once

#include <array>
#include <memory>

#include "bench_host.h"
#include "block/engine/device.h"
#include "block/engine/format.h"

namespace predsnap::bench {

// Calls block the task, not the thread.
class FileDevice final : public Device {
  public:
    // `create`: a new file in place of what is there.
    static Result<std::unique_ptr<FileDevice>> open(BenchHost& host, const char* path, bool create);
    ~FileDevice() override;

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> write_zeroes(uint64_t offset, uint64_t length) override;
    Result<void> discard(uint64_t offset, uint64_t length) override;
    Result<void> flush() override;
    Result<uint64_t> length() override;
    // What the file takes of its file system, in bytes.
    Result<uint64_t> allocated() const;
    Result<void> truncate(uint64_t length) override;

  private:
    FileDevice(BenchHost& host, int fd) : host_(host), fd_(fd) {}

    BenchHost& host_;
    const int fd_;
};

// Keeps the superblock and forgets everything else, as null-co would: for the CPU that writing
// costs. A write is answered when other tasks have run, as one of a device is.
class NullDevice final : public Device {
  public:
    explicit NullDevice(BenchHost& host) : host_(host) {}

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> write_zeroes(uint64_t offset, uint64_t length) override;
    Result<void> discard(uint64_t, uint64_t) override { return {}; }
    Result<void> flush() override;
    Result<uint64_t> length() override { return uint64_t{length_}; }
    Result<void> truncate(uint64_t length) override;

  private:
    BenchHost& host_;
    uint64_t length_ = 0;
    std::array<uint8_t, format::kSuperblockArea> superblock_{};
};

}  // namespace predsnap::bench
