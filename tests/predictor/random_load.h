// SPDX-License-Identifier: GPL-2.0-or-later
//
// A guest for tests: some chunks written every minute, a stream, and noise. The same for the same seed.
#pragma once

#include <random>
#include <vector>

#include "tools/predsnapd/access.h"

namespace predsnap::predict::test {

inline std::vector<Access> random_load(uint32_t seed, int64_t seconds_long, int per_second = 3) {
    std::mt19937 random(seed);
    std::vector<Access> accesses;
    uint64_t head = 1000 * kChunkSize;
    for (int64_t second = 0; second < seconds_long; ++second) {
        for (int i = 0; i < per_second; ++i) {
            const int64_t time_us = second * kSecond + i * kSecond / per_second;
            const uint64_t chunk = second % 60 == 7 ? static_cast<uint64_t>(i) * 3 : 50 + random() % 200;
            const uint64_t block = random() % 16;
            switch (random() % 4) {
                case 0:
                    accesses.push_back({time_us, head, 32768, Op::kWrite, 0.25f});
                    head += 32768;
                    break;
                case 1:
                    accesses.push_back({time_us, chunk * kChunkSize + block * 4096, 8192, Op::kRead});
                    break;
                default:
                    accesses.push_back({time_us, chunk * kChunkSize + block * 4096 + random() % 2 * 512, 4096, Op::kWrite});
            }
        }
    }
    return accesses;
}

}  // namespace predsnap::predict::test
