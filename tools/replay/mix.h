// SPDX-License-Identifier: GPL-2.0-or-later
//
// Chance that can be looked up: a number for each key, the same one each time.
#pragma once

#include <cstdint>

namespace predsnap::replay {

// The finaliser of SplitMix64.
constexpr uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

constexpr uint64_t mix(uint64_t key, uint64_t value) {
    return mix(key * 0x9e3779b97f4a7c15ull + mix(value + 0x632be59bd9b4e019ull));
}

}  // namespace predsnap::replay
