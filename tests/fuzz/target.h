// SPDX-License-Identifier: GPL-2.0-or-later
//
// A fuzz target: libFuzzer's entry point, and inputs to begin with. A target is linked either with
// libFuzzer (tests/fuzz/run) or with replay.cc, which runs inputs again with any compiler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace predsnap::fuzz {

using Input = std::vector<uint8_t>;

std::vector<Input> seeds();

// Takes values off the front of an input; zeros when it is used up.
class InputReader {
  public:
    InputReader(const uint8_t* data, size_t size) : data_(data), left_(size) {}

    bool empty() const { return left_ == 0; }
    uint8_t byte() {
        if (left_ == 0) {
            return 0;
        }
        --left_;
        return *data_++;
    }
    // Little-endian, of so many bytes.
    uint64_t number(unsigned bytes) {
        uint64_t value = 0;
        for (unsigned i = 0; i < bytes; ++i) {
            value |= uint64_t{byte()} << (8 * i);
        }
        return value;
    }
    Input bytes(size_t count) {
        count = count < left_ ? count : left_;
        Input taken(data_, data_ + count);
        data_ += count;
        left_ -= count;
        return taken;
    }

  private:
    const uint8_t* data_;
    size_t left_;
};

}  // namespace predsnap::fuzz
