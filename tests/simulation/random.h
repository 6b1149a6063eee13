// SPDX-License-Identifier: GPL-2.0-or-later
//
// The simulation's only source of chance. Everything that happens in a run follows from one seed.
#pragma once

#include <cassert>
#include <cstdint>

namespace predsnap::sim {

// Mixes a number well (the finaliser of SplitMix64).
constexpr uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

class Random {
  public:
    // Streams of one seed with different names are independent, so that one more draw in one part
    // of the simulation leaves the others as they were.
    Random(uint64_t seed, uint64_t stream)
        : state_(mix(seed * 0x9e3779b97f4a7c15ull + mix(stream))) {}

    uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15ull); }
    // 0 .. n-1
    uint64_t below(uint64_t n) {
        assert(n > 0);
        return next() % n;
    }
    // low .. high, both included
    uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
    bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1p-53 < p; }
    // Favours small numbers: each power of two up to n is as likely as any other.
    uint64_t skewed(uint64_t n) {
        const uint64_t bound = 1ull << below(64 - static_cast<uint64_t>(__builtin_clzll(n)));
        return below(bound < n ? bound : n);
    }

  private:
    uint64_t state_;
};

}  // namespace predsnap::sim
