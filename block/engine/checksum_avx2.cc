// SPDX-License-Identifier: GPL-2.0-or-later
//
// Compiled for AVX2, all of it: so nothing else may be in this file, or be included, that is not static.
#include "checksum_avx2.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace predsnap {

uint64_t xxh3_avx2(const void* data, size_t length, uint64_t seed) {
    return XXH3_64bits_withSeed(data, length, seed);
}

}  // namespace predsnap
