// SPDX-License-Identifier: GPL-2.0-or-later
//
// Passes everything on to another device, and counts what is written to it, and read.
#pragma once

#include <algorithm>

#include "block/engine/buffer.h"
#include "block/engine/device.h"

namespace predsnap::replay {

class CountingDevice final : public Device {
  public:
    explicit CountingDevice(Device& below) : below_(below) {}

    uint64_t written_bytes() const { return written_bytes_; }
    uint64_t read_requests() const { return read_requests_; }
    uint64_t read_bytes() const { return read_bytes_; }

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override {
        ++read_requests_;
        read_bytes_ += total_length(buffers);
        return below_.preadv(offset, buffers);
    }
    Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override {
        written_bytes_ += total_length(buffers);
        return below_.pwritev(offset, buffers);
    }
    // Segments are made ready with it: that is written, too.
    Result<void> write_zeroes(uint64_t offset, uint64_t length) override {
        written_bytes_ += length;
        return below_.write_zeroes(offset, length);
    }
    Result<void> discard(uint64_t offset, uint64_t length) override {
        return below_.discard(offset, length);
    }
    Result<void> flush() override { return below_.flush(); }
    Result<uint64_t> length() override { return below_.length(); }
    Result<void> truncate(uint64_t length) override { return below_.truncate(length); }

  private:
    Device& below_;
    uint64_t written_bytes_ = 0, read_requests_ = 0, read_bytes_ = 0;
};

}  // namespace predsnap::replay
