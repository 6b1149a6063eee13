// SPDX-License-Identifier: GPL-2.0-or-later
//
// XXH3 for processors with AVX2.
#pragma once

#include <cstddef>
#include <cstdint>

namespace predsnap {

uint64_t xxh3_avx2(const void* data, size_t length, uint64_t seed);

}  // namespace predsnap
