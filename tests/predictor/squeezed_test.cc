// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/squeezed.h"

#include <gtest/gtest.h>

#include <random>

#include "tools/predsnapd/packed.h"

namespace predsnap::predict::test {
namespace {

TEST(Squeezed, ComesOutAsItWentIn) {
    std::mt19937 random(7);
    for (const size_t columns : {1u, 2u, 7u, 78u}) {
        for (const size_t rows : {0u, 1u, 2u, 63u, 400u}) {
            std::vector<Packed24> values;
            for (size_t i = 0; i < rows * columns; ++i) {
                values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
            }
            const Squeezed squeezed(std::span<const Packed24>(values), columns * sizeof(Packed24));
            const std::vector<Packed24> again = squeezed.values<Packed24>();
            ASSERT_EQ(again.size(), values.size());
            EXPECT_TRUE(values.empty() || std::memcmp(again.data(), values.data(), values.size() * sizeof(Packed24)) == 0)
                << rows << " rows of " << columns;
        }
    }
}

TEST(Squeezed, WhatIsAlikeTakesLittle) {
    constexpr size_t kRows = 400, kColumns = 78;
    std::vector<Packed24> values;
    for (size_t row = 0; row < kRows; ++row) {
        for (size_t column = 0; column < kColumns; ++column) {
            values.push_back(column % 4 == 0 ? static_cast<float>(row) : static_cast<float>(column));
        }
    }
    const Squeezed squeezed(std::span<const Packed24>(values), kColumns * sizeof(Packed24));
    EXPECT_LT(squeezed.memory_bytes() * 4, values.size() * sizeof(Packed24));
}

TEST(Squeezed, OfScoresNothingIsLost) {
    std::vector<float> scores;
    for (int i = 0; i < 20000; ++i) {
        scores.push_back(1 / (1 + static_cast<float>(i % 997)));
    }
    for (const bool probabilities : {false, true}) {
        const PackedScores packed(scores, probabilities);
        const PackedScores again(packed.squeezed(), probabilities);
        ASSERT_EQ(again.size(), packed.size());
        for (size_t i = 0; i < packed.size(); ++i) {
            ASSERT_EQ(again[i], packed[i]) << i;
        }
    }
    EXPECT_TRUE(PackedScores(PackedScores().squeezed(), true).empty());
}

}  // namespace
}  // namespace predsnap::predict::test
