// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much neighbouring streams have in common: what merging them is expected to free.
#pragma once

#include <span>

#include "chunk_set.h"

namespace predsnap {

// What a stream changed: how many sectors, somewhere in these chunks.
struct Changed {
    ChunkSet chunks;
    uint64_t sectors = 0;
};

// How many sectors all of them together are expected to have changed, each counted once: as many as if each had spread its
// sectors evenly over its chunks, where in these it pleased. Between the most that any of them changed and their sum.
uint64_t expected_union(std::span<const Changed> streams);

}  // namespace predsnap
