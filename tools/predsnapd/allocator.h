// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much memory a process keeps that holds a lot only while it trains.
#pragma once

#include <malloc.h>

namespace predsnap::predict {

// At the very beginning. Arrays are mapped one by one, and gone when they are freed, however many there were before; threads
// share what is smaller, as else each keeps what another one could use.
inline void keep_memory_small() {
    constexpr int kMapped = 16 << 10;
    mallopt(M_MMAP_THRESHOLD, kMapped);
    mallopt(M_TRIM_THRESHOLD, kMapped);
    mallopt(M_MMAP_MAX, 1 << 20);
    mallopt(M_ARENA_MAX, 1);
}

// After a training.
inline void give_memory_back() { malloc_trim(0); }

}  // namespace predsnap::predict
