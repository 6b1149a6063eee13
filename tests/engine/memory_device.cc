// SPDX-License-Identifier: GPL-2.0-or-later
#include "memory_device.h"

#include <algorithm>

namespace predsnap::test {

int MemoryDevice::begin(Op op, uint64_t offset, uint64_t length) {
    const Call call{op, offset, length};
    calls.push_back(call);
    if (before) {
        before(call);
    }
    return fail ? fail(call) : 0;
}

Result<void> MemoryDevice::preadv(uint64_t offset, std::span<const iovec> buffers) {
    const size_t length = total_length(buffers);
    if (const int error = begin(Op::read, offset, length)) {
        return Error{error, "read fails on demand"};
    }
    if (length > bytes.size() || offset > bytes.size() - length) {
        return Error{EIO, "read past the end of the device"};
    }
    if (length > 0) {
        copy_to(buffers, 0, bytes.data() + offset, length);
    }
    return {};
}

Result<void> MemoryDevice::pwritev(uint64_t offset, std::span<const iovec> buffers) {
    const size_t length = total_length(buffers);
    const int error = begin(Op::write, offset, length);
    const size_t stored = error == 0 ? length : std::min<size_t>(length, torn_bytes);
    if (stored > 0) {
        bytes.resize(std::max<size_t>(bytes.size(), offset + stored));
        copy_from(buffers, 0, bytes.data() + offset, stored);
    }
    return error == 0 ? Result<void>() : Error{error, "write fails on demand"};
}

Result<void> MemoryDevice::write_zeroes(uint64_t offset, uint64_t length) {
    if (const int error = begin(Op::write_zeroes, offset, length)) {
        return Error{error, "write of zeros fails on demand"};
    }
    bytes.resize(std::max<size_t>(bytes.size(), offset + length));
    std::memset(bytes.data() + offset, 0, length);
    return {};
}

Result<void> MemoryDevice::discard(uint64_t offset, uint64_t length) {
    const int error = begin(Op::discard, offset, length);
    return error == 0 ? Result<void>() : Error{error, "discard fails on demand"};
}

Result<void> MemoryDevice::flush() {
    if (const int error = begin(Op::flush, 0, 0)) {
        return Error{error, "flush fails on demand"};
    }
    durable = bytes;
    return {};
}

Result<void> MemoryDevice::truncate(uint64_t length) {
    if (const int error = begin(Op::truncate, length, 0)) {
        return Error{error, "truncation fails on demand"};
    }
    bytes.resize(length);
    return {};
}

size_t MemoryDevice::count(Op op) const {
    return static_cast<size_t>(std::count_if(calls.begin(), calls.end(),
                                             [&](const Call& call) { return call.op == op; }));
}

}  // namespace predsnap::test
