// SPDX-License-Identifier: GPL-2.0-or-later
//
// An image in memory, with faults on demand and power loss.
#pragma once

#include <cstring>
#include <functional>
#include <vector>

#include "block/engine/buffer.h"
#include "block/engine/device.h"
#include "block/engine/host.h"

namespace predsnap::test {

class MemoryDevice final : public Device {
  public:
    enum class Op { read, write, write_zeroes, discard, flush, truncate };
    struct Call {
        Op op;
        uint64_t offset, length;
    };

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> write_zeroes(uint64_t offset, uint64_t length) override;
    Result<void> discard(uint64_t offset, uint64_t length) override;
    Result<void> flush() override;
    Result<uint64_t> length() override { return uint64_t{bytes.size()}; }
    Result<void> truncate(uint64_t length) override;

    // All that was not flushed is gone.
    void lose_power() { bytes = durable; }
    // How many calls of a kind there were.
    size_t count(Op op) const;

    std::vector<uint8_t> bytes;    // what reads see
    std::vector<uint8_t> durable;  // as of the last flush
    std::vector<Call> calls;
    // Asked before each call: an errno value makes it fail. A write that fails still stores the first
    // `torn_bytes` of its data.
    std::function<int(const Call&)> fail;
    uint64_t torn_bytes = 0;
    // Called before each call is carried out: yield to let other tasks run meanwhile.
    std::function<void(const Call&)> before;

  private:
    int begin(Op op, uint64_t offset, uint64_t length);
};

}  // namespace predsnap::test
