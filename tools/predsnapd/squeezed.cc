// SPDX-License-Identifier: GPL-2.0-or-later
#include "squeezed.h"

#include <zstd.h>

#include <cstdlib>

namespace predsnap::predict {
namespace {

constexpr int kLevel = 3;

// Byte i of each stride, for each i: `from` has `count` strides. The other way round with the two exchanged.
void transpose(std::span<const std::byte> from, size_t count, size_t stride, std::span<std::byte> to) {
    for (size_t at = 0; at < stride; ++at) {
        for (size_t i = 0; i < count; ++i) {
            to[at * count + i] = from[i * stride + at];
        }
    }
}

}  // namespace

Squeezed::Squeezed(std::span<const std::byte> values, size_t stride, Bytes) : size_(values.size()), stride_(stride) {
    assert(stride > 0 && values.size() % stride == 0);
    if (values.empty()) {
        return;
    }
    std::vector<std::byte> planes(values.size());
    transpose(values, values.size() / stride, stride, planes);
    std::string bytes(ZSTD_compressBound(planes.size()), '\0');
    const size_t length = ZSTD_compress(bytes.data(), bytes.size(), planes.data(), planes.size(), kLevel);
    if (ZSTD_isError(length) != 0) {
        std::abort();  // no memory: as for any other array
    }
    bytes_.assign(bytes, 0, length);  // no longer than it is
}

void Squeezed::expand(std::span<std::byte> values) const {
    if (values.empty()) {
        return;
    }
    std::vector<std::byte> planes(size_);
    if (ZSTD_decompress(planes.data(), planes.size(), bytes_.data(), bytes_.size()) != size_) {
        std::abort();  // no memory, or another's write into this
    }
    transpose(planes, stride_, size_ / stride_, values);
}

}  // namespace predsnap::predict
