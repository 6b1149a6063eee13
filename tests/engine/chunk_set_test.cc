// SPDX-License-Identifier: GPL-2.0-or-later
//
// Sets of chunks against std::set, and their bytes against CRoaring's.
#include "block/engine/chunk_set.h"

#include <gtest/gtest.h>
#include <roaring/roaring.h>

#include <algorithm>
#include <random>
#include <set>

namespace predsnap::test {
namespace {

using Naive = std::set<uint32_t>;

ChunkSet set_of(const Naive& naive) {
    ChunkSet set;
    for (const uint32_t chunk : naive) {
        set.append(chunk, chunk);
    }
    return set;
}

// Runs and scattered ones, in several containers.
Naive draw(std::mt19937_64& random, uint32_t span) {
    Naive naive;
    const auto below = [&](uint64_t limit) { return random() % limit; };
    for (uint64_t runs = below(6); runs > 0; --runs) {
        uint32_t chunk = static_cast<uint32_t>(below(span));
        for (uint64_t length = below(5000); length > 0; --length) {
            naive.insert(chunk++);
        }
    }
    for (uint64_t single = below(3) == 0 ? below(9000) : below(50); single > 0; --single) {
        naive.insert(static_cast<uint32_t>(below(span)));
    }
    return naive;
}

TEST(ChunkSetTest, IsWhatANaiveSetIs) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 60; ++round) {
        const uint32_t span = round % 2 == 0 ? 300 : 300'000;
        const Naive a = draw(random, span), b = draw(random, span);
        const ChunkSet x = set_of(a), y = set_of(b);
        EXPECT_EQ(x.count(), a.size());
        Naive both, either = a, only = a;
        either.insert(b.begin(), b.end());
        for (const uint32_t chunk : b) {
            only.erase(chunk);
            if (a.contains(chunk)) {
                both.insert(chunk);
            }
        }
        EXPECT_EQ(x | y, set_of(either));
        EXPECT_EQ(x & y, set_of(both));
        EXPECT_EQ(x - y, set_of(only));
        for (uint32_t chunk = 0; chunk < 300; ++chunk) {
            EXPECT_EQ(x.contains(chunk), a.contains(chunk));
        }
    }
}

TEST(ChunkSetTest, CRoaringReadsWhatItWritesAndTheOtherWayRound) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 60; ++round) {
        const Naive naive = draw(random, round % 3 == 0 ? 5000 : 400'000);
        const ChunkSet set = set_of(naive);
        const std::vector<uint8_t> bytes = set.encode();
        roaring_bitmap_t* const theirs = roaring_bitmap_portable_deserialize_safe(
            reinterpret_cast<const char*>(bytes.data()), bytes.size());
        ASSERT_NE(theirs, nullptr);
        EXPECT_EQ(roaring_bitmap_get_cardinality(theirs), naive.size());
        std::vector<uint32_t> values(naive.size());
        roaring_bitmap_to_uint32_array(theirs, values.data());
        EXPECT_TRUE(std::equal(values.begin(), values.end(), naive.begin()));
        roaring_bitmap_free(theirs);
        roaring_bitmap_t* const own = roaring_bitmap_of_ptr(values.size(), values.data());
        for (const bool with_runs : {false, true}) {
            with_runs ? static_cast<void>(roaring_bitmap_run_optimize(own)) : void();
            std::vector<uint8_t> written(roaring_bitmap_portable_size_in_bytes(own));
            roaring_bitmap_portable_serialize(own, reinterpret_cast<char*>(written.data()));
            const auto read = ChunkSet::decode(written);
            ASSERT_TRUE(read);
            EXPECT_EQ(*read, set);
            EXPECT_LE(bytes.size(), written.size() + 32);  // where few containers are there, runs save their offsets
        }
        roaring_bitmap_free(own);
    }
}

TEST(ChunkSetTest, AllChunksOfTheLargestDisk) {
    ChunkSet all;
    all.append(0, UINT32_MAX);
    EXPECT_EQ(all.count(), uint64_t{1} << 32);
    EXPECT_EQ(ChunkSet::decode(all.encode()), all);
    EXPECT_TRUE((all - all).empty());
    EXPECT_EQ(all & all, all);
}

TEST(ChunkSetTest, TheEmptyOne) {
    const std::vector<uint8_t> bytes = ChunkSet().encode();
    EXPECT_EQ(bytes.size(), 8u);
    const auto read = ChunkSet::decode(bytes);
    ASSERT_TRUE(read);
    EXPECT_TRUE(read->empty());
    EXPECT_FALSE(ChunkSet::decode({}));
}

// Whatever is changed in the bytes: nothing, or a set that keeps its promises.
TEST(ChunkSetTest, WhatIsNoBitmapIsRefused) {
    std::mt19937_64 random(3);
    uint64_t refused = 0;
    for (int round = 0; round < 600; ++round) {
        std::vector<uint8_t> bytes = set_of(draw(random, 200'000)).encode();
        for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
            bytes[random() % std::min<size_t>(bytes.size(), 64)] ^= static_cast<uint8_t>(1 << random() % 8);
        }
        if (random() % 4 == 0) {
            bytes.resize(random() % bytes.size());
        }
        const auto read = ChunkSet::decode(bytes);
        refused += !read;
        for (size_t i = 1; read && i < read->runs().size(); ++i) {
            ASSERT_GT(read->runs()[i].first, uint64_t{read->runs()[i - 1].last} + 1);
        }
    }
    EXPECT_GT(refused, 300u);
}

TEST(ChunkSetTest, TooManyRunsAreRefused) {
    ChunkSet set;
    for (uint32_t chunk = 0; chunk < 20'000; chunk += 2) {
        set.append(chunk, chunk);
    }
    EXPECT_EQ(ChunkSet::decode(set.encode(), 10'000), set);
    EXPECT_FALSE(ChunkSet::decode(set.encode(), 9'999));
}

}  // namespace
}  // namespace predsnap::test
