// SPDX-License-Identifier: GPL-2.0-or-later
//
// XXH3, the format's only checksum.
#pragma once

#include <cstddef>
#include <cstdint>

namespace predsnap {

// XXH3_64bits_withSeed, in the way that suits the processor.
uint64_t xxh3(const void* data, size_t length, uint64_t seed);

inline uint64_t hash64(const void* data, size_t length) { return xxh3(data, length, 0); }

// The checksum of one unit of payload.
inline uint32_t unit_checksum(const void* data, size_t length) {
    return static_cast<uint32_t>(xxh3(data, length, 0));
}

// Checksum of a structure that contains its own checksum, which counts as zero. The seed binds it to one
// image (image_seed), so that what another image left on the same storage is never taken for valid. If
// `tail` bytes follow the structure in memory, they are hashed too, with the structure's hash as seed.
template <typename T>
uint64_t self_hash(uint64_t seed, const T& structure, size_t tail = 0) {
    T copy = structure;
    copy.checksum = 0;
    const uint64_t head = xxh3(&copy, sizeof(T), seed);
    if (tail == 0) {
        return head;
    }
    return xxh3(reinterpret_cast<const uint8_t*>(&structure) + sizeof(T), tail, head);
}

// Seed of all structures of an image but the superblock, whose seed is 0.
inline uint64_t image_seed(const uint8_t (&uuid)[16]) { return hash64(uuid, sizeof(uuid)); }

}  // namespace predsnap
