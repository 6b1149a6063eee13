// SPDX-License-Identifier: GPL-2.0-or-later
//
// Memory aligned for direct I/O, and copies to and from scattered buffers.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "types.h"

namespace predsnap {

// Owns block-aligned memory. Content is undefined at first.
class AlignedBuffer {
  public:
    AlignedBuffer() = default;
    explicit AlignedBuffer(size_t size)
        : data_(static_cast<uint8_t*>(std::aligned_alloc(kBlockSize, align_up(size, kBlockSize)))),
          size_(size) {
        if (data_ == nullptr && size > 0) {
            std::abort();  // as GLib does: a host without memory cannot go on
        }
    }
    ~AlignedBuffer() { std::free(data_); }
    AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        swap(other);
        return *this;
    }

    uint8_t* data() { return data_; }
    const uint8_t* data() const { return data_; }
    size_t size() const { return size_; }
    std::span<const uint8_t> bytes() const { return {data_, size_}; }
    void swap(AlignedBuffer& other) {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }

  private:
    uint8_t* data_ = nullptr;
    size_t size_ = 0;
};

inline size_t total_length(std::span<const iovec> buffers) {
    size_t length = 0;
    for (const iovec& buffer : buffers) {
        length += buffer.iov_len;
    }
    return length;
}

// Calls visit(pointer, length) for each contiguous part of [skip, skip + length).
template <typename Visit>
void for_each_part(std::span<const iovec> buffers, size_t skip, size_t length, Visit visit) {
    for (const iovec& buffer : buffers) {
        if (length == 0) {
            return;
        }
        if (skip >= buffer.iov_len) {
            skip -= buffer.iov_len;
            continue;
        }
        const size_t part = std::min(buffer.iov_len - skip, length);
        visit(static_cast<uint8_t*>(buffer.iov_base) + skip, part);
        skip = 0;
        length -= part;
    }
}

inline void copy_from(std::span<const iovec> buffers, size_t skip, void* to, size_t length) {
    auto* out = static_cast<uint8_t*>(to);
    for_each_part(buffers, skip, length, [&](uint8_t* part, size_t n) {
        std::memcpy(out, part, n);
        out += n;
    });
}

inline void copy_to(std::span<const iovec> buffers, size_t skip, const void* from, size_t length) {
    auto* in = static_cast<const uint8_t*>(from);
    for_each_part(buffers, skip, length, [&](uint8_t* part, size_t n) {
        std::memcpy(part, in, n);
        in += n;
    });
}

inline void fill_zero(std::span<const iovec> buffers, size_t skip, size_t length) {
    for_each_part(buffers, skip, length, [](uint8_t* part, size_t n) { std::memset(part, 0, n); });
}

}  // namespace predsnap
