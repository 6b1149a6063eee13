// SPDX-License-Identifier: GPL-2.0-or-later
//
// XXH3, the format's only checksum.
#pragma once

#include <xxhash.h>
#ifdef PREDSNAP_XXH_DISPATCH
#include <xxh_x86dispatch.h>  // makes the functions choose by processor
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace predsnap {

inline uint64_t hash64(const void* data, size_t length) { return XXH3_64bits(data, length); }

// The checksum of one unit of payload.
inline uint32_t unit_checksum(const void* data, size_t length) {
    return static_cast<uint32_t>(XXH3_64bits(data, length));
}

// Checksum of a structure that contains its own checksum, which counts as zero. The seed binds it to one
// image (image_seed), so that what another image left on the same storage is never taken for valid. If
// `tail` bytes follow the structure in memory, they are hashed too, with the structure's hash as seed.
template <typename T>
uint64_t self_hash(uint64_t seed, const T& structure, size_t tail = 0) {
    T copy = structure;
    copy.checksum = 0;
    const uint64_t head = XXH3_64bits_withSeed(&copy, sizeof(T), seed);
    if (tail == 0) {
        return head;
    }
    return XXH3_64bits_withSeed(reinterpret_cast<const uint8_t*>(&structure) + sizeof(T), tail, head);
}

// Seed of all structures of an image but the superblock, whose seed is 0.
inline uint64_t image_seed(const uint8_t (&uuid)[16]) { return hash64(uuid, sizeof(uuid)); }

}  // namespace predsnap
