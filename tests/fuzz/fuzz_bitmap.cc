// SPDX-License-Identifier: GPL-2.0-or-later
//
// Decoding a set of chunks. Input: the roaring bitmap.
#include <cstdlib>

#include "block/engine/chunk_set.h"
#include "target.h"

namespace predsnap::fuzz {

namespace {

ChunkSet sample(uint32_t first, uint32_t step, uint32_t length, int count) {
    ChunkSet set;
    for (int i = 0; i < count; ++i, first += step) {
        set.append(first, first + length - 1);
    }
    return set;
}

}  // namespace

// Each kind of container, alone and together.
std::vector<Input> seeds() {
    return {{},
            ChunkSet().encode(),
            sample(5, 9, 1, 3).encode(),
            sample(70'000, 40'000, 20'000, 3).encode(),
            sample(0, 2, 1, 5000).encode(),
            sample(1, 60'000, 4, 9).encode(),
            (sample(0, 3, 1, 300) | sample(100'000, 2, 1, 20'000) | sample(400'000, 1000, 900, 90)).encode(),
            sample(UINT32_MAX - 70'000, 1, 70'001, 1).encode()};
}

}  // namespace predsnap::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace predsnap;
    constexpr size_t kMaxRuns = 1 << 16;
    const auto set = ChunkSet::decode({data, size}, kMaxRuns);
    if (!set) {
        return 0;
    }
    for (size_t i = 0; i < set->runs().size(); ++i) {
        const ChunkSet::Run& run = set->runs()[i];
        if (run.last < run.first || (i > 0 && run.first <= uint64_t{set->runs()[i - 1].last} + 1)) {
            std::abort();
        }
    }
    const std::vector<uint8_t> again = set->encode();
    if (set->runs().size() > kMaxRuns || ChunkSet::decode(again) != set) {
        std::abort();
    }
    return 0;
}
