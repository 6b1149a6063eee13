// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/prediction_table.h"

#include <gtest/gtest.h>

#include <random>

namespace predsnap {
namespace {

constexpr uint64_t kDisk = uint64_t{1} << 40;

Prediction chunks(uint64_t first, uint64_t count, double write, double read, std::optional<double> change = {}) {
    return {first * kChunkBytes, count * kChunkBytes, write, read, change};
}

TEST(PredictionTable, TheDocumentedExample) {
    const std::vector<uint8_t> packed = {1, 0, 0, 90, 20, 5, 0x8f, 0x02, 3, 10, 80, 255};
    EXPECT_EQ(pack_predictions(std::vector{chunks(0, 1, 0.9, 0.2, 0.05), chunks(272, 4, 0.1, 0.8)}), packed);
}

TEST(PredictionTable, WhatIsPackedComesBack) {
    std::mt19937_64 random(1);
    std::vector<Prediction> predictions;
    uint64_t at = 0;
    for (int i = 0; i < 5000; ++i) {
        at += random() % 3 == 0 ? 0 : random() % 3000;
        const uint64_t count = 1 + random() % (i % 7 == 0 ? 300 : 2);
        const auto share = [&] { return static_cast<double>(random() % 101) / 100; };
        predictions.push_back(chunks(at, count, share(), share(), i % 2 == 0 ? std::optional(share()) : std::nullopt));
        at += count;
    }
    const std::vector<uint8_t> packed = pack_predictions(predictions);
    EXPECT_LT(packed.size(), predictions.size() * 7);
    const auto back = unpack_predictions(packed, kDisk);
    ASSERT_TRUE(back.ok()) << back.error().message;
    ASSERT_EQ(back.value().size(), predictions.size());
    for (size_t i = 0; i < predictions.size(); ++i) {
        const Prediction &one = back.value()[i], &other = predictions[i];
        EXPECT_EQ(one.offset, other.offset);
        EXPECT_EQ(one.length, other.length);
        EXPECT_DOUBLE_EQ(one.write, other.write);
        EXPECT_DOUBLE_EQ(one.read, other.read);
        EXPECT_EQ(one.change.has_value(), other.change.has_value());
    }
}

TEST(PredictionTable, NothingIsTheVersionAlone) {
    EXPECT_EQ(pack_predictions({}), std::vector<uint8_t>{1});
    const std::vector<uint8_t> packed = {1};
    EXPECT_TRUE(unpack_predictions(packed, kDisk).value().empty());
}

TEST(PredictionTable, WhatIsBeyondTheDiskIsLeftOut) {
    const std::vector<uint8_t> packed = pack_predictions(std::vector{chunks(0, 10, 1, 0), chunks(20, 1, 1, 0)});
    const auto found = unpack_predictions(packed, 4 * kChunkBytes + 512);
    ASSERT_TRUE(found.ok());
    ASSERT_EQ(found.value().size(), 1u);
    EXPECT_EQ(found.value()[0].length, 4 * kChunkBytes + 512);
}

TEST(PredictionTable, NonsenseIsRefused) {
    const auto refused = [](const std::vector<uint8_t>& packed, const char* why) {
        const auto found = unpack_predictions(packed, kDisk);
        ASSERT_FALSE(found.ok()) << why;
        EXPECT_EQ(found.error().code, EINVAL);
        EXPECT_NE(found.error().message.find(why), std::string::npos) << found.error().message;
    };
    refused({}, "cut off");
    refused({2, 0, 0, 1, 1, 1}, "version");
    for (const size_t length : {1, 2, 3, 4}) {
        const std::vector<uint8_t> whole = {0, 0, 1, 1, 1};
        std::vector<uint8_t> some = {1};
        some.insert(some.end(), whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));
        refused(some, "cut off");
    }
    refused({1, 0, 0, 101, 0, 255}, "hundredths");
    refused({1, 0, 0, 0, 255, 255}, "hundredths");
    refused({1, 0, 0, 0, 0, 101}, "hundredths");
    refused({1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 0, 0, 0, 0}, "7 bytes");
    refused({1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0}, "beyond");
    refused({1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0}, "beyond");
}

TEST(PredictionTable, TooManyAreRefused) {
    std::vector<uint8_t> packed = {1};
    for (size_t i = 0; i <= kMaxPredictions; ++i) {
        packed.insert(packed.end(), {0, 0, 1, 1, 255});
    }
    const auto found = unpack_predictions(packed, kDisk);
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.error().code, E2BIG);
    packed.resize(packed.size() - 5);
    EXPECT_TRUE(unpack_predictions(packed, kDisk).ok());
}

}  // namespace
}  // namespace predsnap
