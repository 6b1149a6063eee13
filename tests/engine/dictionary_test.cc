// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/dictionary.h"

#include "block/engine/frame.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace predsnap::test {
namespace {

constexpr size_t kFrame = 16 << 10;
using Frames = std::vector<std::vector<uint8_t>>;

// Rows that are alike from frame to frame, but not within one.
Frames table(size_t count, unsigned seed) {
    std::mt19937_64 random(7);
    std::vector<std::string> rows;
    for (int i = 0; i < 400; ++i) {
        std::string row = "column_" + std::to_string(i) + "=";
        for (int k = 0; k < 40; ++k) {
            row += static_cast<char>('a' + random() % 26);
        }
        rows.push_back(row);
    }
    random.seed(seed);
    Frames frames(count);
    for (auto& frame : frames) {
        while (frame.size() < kFrame) {
            const std::string& row = rows[random() % rows.size()];
            frame.insert(frame.end(), row.begin(), row.end());
            for (int k = 0; k < 8; ++k) {
                frame.push_back(static_cast<uint8_t>(random()));
            }
        }
        frame.resize(kFrame);
    }
    return frames;
}

Frames noise(size_t count) {
    std::mt19937_64 random(3);
    Frames frames(count, std::vector<uint8_t>(kFrame));
    for (auto& frame : frames) {
        for (uint8_t& byte : frame) {
            byte = static_cast<uint8_t>(random());
        }
    }
    return frames;
}

TEST(DictionaryTest, OneThatPaysIsTrainedAndReadsWhatItPacked) {
    const DictionaryChoice choice = choose_dictionary(table(128, 1), 5000, 1, nullptr, true);
    ASSERT_NE(choice.dictionary, nullptr);
    EXPECT_TRUE(choice.trained);
    EXPECT_GT(choice.expected_saving, 0u);
    const auto loaded = Dictionary::load(choice.dictionary->bytes(), choice.dictionary->id());
    ASSERT_TRUE(loaded.ok());
    FramePacker packer;
    std::vector<uint8_t> packed, plain, read(kFrame);
    uint64_t saved = 0;
    for (const auto& frame : table(40, 2)) {  // others of the same kind
        packer.pack(frame, 1, choice.dictionary.get(), &packed);
        packer.pack(frame, 1, nullptr, &plain);
        ASSERT_FALSE(packed.empty());
        saved += plain.size() - std::min(plain.size(), packed.size());
        ASSERT_TRUE(unpack_frame(packed, loaded.value().get(), read));
        EXPECT_EQ(read, frame);
        EXPECT_FALSE(unpack_frame(packed, nullptr, read));
        ASSERT_TRUE(unpack_frame(plain, nullptr, read));
        EXPECT_EQ(read, frame);
    }
    EXPECT_GT(saved * 5000 / 40, choice.dictionary->bytes().size());
}

TEST(DictionaryTest, NoneIsTakenThatSavesLessThanItTakes) {
    const Frames sample = table(128, 1);
    EXPECT_EQ(choose_dictionary(sample, 2, 1, nullptr, true).dictionary, nullptr);
    const DictionaryChoice random = choose_dictionary(noise(64), 1'000'000, 1, nullptr, true);
    EXPECT_EQ(random.dictionary, nullptr);
    EXPECT_FALSE(random.trained);
    EXPECT_EQ(choose_dictionary({}, 1'000'000, 1, nullptr, true).dictionary, nullptr);
}

TEST(DictionaryTest, OneThatPaidBeforeIsTakenAgain) {
    const auto first = choose_dictionary(table(128, 1), 5000, 1, nullptr, true).dictionary;
    ASSERT_NE(first, nullptr);
    const DictionaryChoice again = choose_dictionary(table(32, 5), 5000, 1, first, true);
    EXPECT_EQ(again.dictionary, first);
    EXPECT_FALSE(again.trained);
    // At another level: the same, made for that.
    const DictionaryChoice level = choose_dictionary(table(32, 5), 5000, 7, first, false);
    ASSERT_NE(level.dictionary, nullptr);
    EXPECT_EQ(level.dictionary->bytes(), first->bytes());
    EXPECT_EQ(level.dictionary->level(), 7);
    // Of no use here.
    EXPECT_EQ(choose_dictionary(noise(32), 5000, 1, first, false).dictionary, nullptr);
}

TEST(DictionaryTest, WhatIsNoneIsRefused) {
    EXPECT_FALSE(Dictionary::load({}, 1).ok());
    EXPECT_FALSE(Dictionary::load(std::vector<uint8_t>(1000, 0x55), 5).ok());
    const auto good = choose_dictionary(table(128, 1), 5000, 1, nullptr, true).dictionary;
    EXPECT_FALSE(Dictionary::load(good->bytes(), good->id() + 1).ok());
    std::vector<uint8_t> cut = good->bytes();
    cut.resize(20);
    EXPECT_FALSE(Dictionary::load(cut, good->id()).ok());
}

}  // namespace
}  // namespace predsnap::test
