// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arrays that are kept for long and seldom looked at, in fewer bytes: nothing of them is lost. Values of a kind are
// compressed together, as they are alike.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace predsnap::predict {

class Squeezed {
  public:
    Squeezed() = default;
    // `stride`: bytes from a value to the next one of its kind, a row's for instance. Values are plain bytes.
    template <typename T>
    Squeezed(std::span<const T> values, size_t stride) : Squeezed(std::as_bytes(values), stride, Bytes{}) {
        static_assert(std::is_trivially_copyable_v<T>);
    }
    // Of the type it was made of.
    template <typename T>
    std::vector<T> values() const {
        assert(size_ % sizeof(T) == 0);
        std::vector<T> values(size_ / sizeof(T));
        expand(std::as_writable_bytes(std::span(values)));
        return values;
    }
    bool empty() const { return size_ == 0; }
    size_t memory_bytes() const { return bytes_.capacity(); }

  private:
    struct Bytes {};
    Squeezed(std::span<const std::byte> values, size_t stride, Bytes);
    void expand(std::span<std::byte> values) const;

    size_t size_ = 0, stride_ = 1;
    std::string bytes_;
};

}  // namespace predsnap::predict
