// SPDX-License-Identifier: GPL-2.0-or-later
#include "checksum.h"

#include <xxhash.h>

#include "checksum_avx2.h"

namespace predsnap {

namespace {

using Function = uint64_t (*)(const void* data, size_t length, uint64_t seed);

uint64_t xxh3_baseline(const void* data, size_t length, uint64_t seed) {
    return XXH3_64bits_withSeed(data, length, seed);
}

// Not AVX-512, whatever the processor has: it takes longer where the hash is computed now and then, after each
// wait for the disk, and it slows down what the processor does next (docs/performance.md).
Function choose() {
#ifdef PREDSNAP_XXH3_AVX2
    if (__builtin_cpu_supports("avx2")) {
        return xxh3_avx2;
    }
#endif
    return xxh3_baseline;
}

}  // namespace

uint64_t xxh3(const void* data, size_t length, uint64_t seed) {
    static const Function function = choose();
    return function(data, length, seed);
}

}  // namespace predsnap
