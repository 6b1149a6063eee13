// SPDX-License-Identifier: GPL-2.0-or-later
//
// Compiled for AVX2, all of it: so nothing else may be in this file, or be included, that is not static.
#include "checksum_avx2.h"

#include <immintrin.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace predsnap {

uint64_t xxh3_avx2(const void* data, size_t length, uint64_t seed) {
    const uint64_t hash = XXH3_64bits_withSeed(data, length, seed);
    // The compiler leaves this out here. Upper halves of registers that are left in use cost 15 us at each wait
    // for the disk in a virtual machine, and slow down all code for SSE (docs/performance.md).
    _mm256_zeroupper();
    return hash;
}

}  // namespace predsnap
