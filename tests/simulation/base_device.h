// SPDX-License-Identifier: GPL-2.0-or-later
//
// The backing disk of the simulation: its content follows from the address. Some sectors are zeros.
#pragma once

#include <cstdint>

#include "block/engine/device.h"
#include "random.h"
#include "scheduler.h"

namespace predsnap::sim {

class BaseDevice final : public Device {
  public:
    BaseDevice(Scheduler& scheduler, uint64_t seed, uint64_t length);

    // Whether the sector holds data, not zeros.
    bool has_data(uint64_t sector) const;
    void set_read_error(double probability) { read_error_ = probability; }
    uint64_t errors_injected() const { return errors_injected_; }
    uint64_t reads() const { return reads_; }

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override;
    Result<uint64_t> length() override { return length_; }
    // The backing disk is read-only: the engine must never call these.
    Result<void> pwritev(uint64_t, std::span<const iovec>) override { return refuse(); }
    Result<void> write_zeroes(uint64_t, uint64_t) override { return refuse(); }
    Result<void> discard(uint64_t, uint64_t) override { return refuse(); }
    Result<void> flush() override { return refuse(); }
    Result<void> truncate(uint64_t) override { return refuse(); }

  private:
    Error refuse();

    Scheduler& scheduler_;
    Random random_;
    const uint64_t key_;
    const uint64_t length_;
    double read_error_ = 0;
    uint64_t errors_injected_ = 0;
    uint64_t reads_ = 0;
};

}  // namespace predsnap::sim
