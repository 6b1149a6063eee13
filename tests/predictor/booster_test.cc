// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/booster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace predsnap::predict::test {
namespace {

constexpr size_t kCount = 3000, kColumns = 5;

struct Lesson {
    Rows rows{kColumns, {}};
    std::vector<float> labels, weights;
};

// Whether the first value and half of the second are more than one, with values that there are few of.
Lesson lesson() {
    Lesson lesson;
    std::mt19937 random(1);
    for (size_t i = 0; i < kCount; ++i) {
        for (size_t column = 0; column < kColumns; ++column) {
            lesson.rows.values.push_back(static_cast<float>(random() % 30) / 20);
        }
        const float* row = lesson.rows.values.data() + i * kColumns;
        lesson.labels.push_back(row[0] + row[1] / 2 > 1 ? 1.f : 0.f);
        lesson.weights.push_back(static_cast<float>(1 + i % 3));
    }
    return lesson;
}

// So many of them at once.
Result<TrainingRows> in_portions(const Lesson& lesson, size_t portion) {
    size_t at = 0;
    return TrainingRows::create({[&] { at = 0; },
                                 [&](Rows& rows) {
                                     const size_t end = std::min(at + portion, kCount);
                                     const auto first = lesson.rows.values.begin();
                                     rows.values.assign(first + static_cast<ptrdiff_t>(at * kColumns),
                                                        first + static_cast<ptrdiff_t>(end * kColumns));
                                     at = end;
                                     return rows.count() > 0;
                                 }},
                                kColumns, lesson.weights, 1);
}

TEST(Booster, PortionsOfRowsAreAsGoodAsAllAtOnce) {
    const Lesson whole = lesson();
    const auto expected = train_trees(whole.rows, whole.labels, whole.weights, {.rounds = 10});
    ASSERT_TRUE(expected.ok()) << expected.error().message;
    for (const size_t portion : {7u, 1000u, 1001u}) {
        const auto rows = in_portions(whole, portion);
        ASSERT_TRUE(rows.ok()) << rows.error().message;
        EXPECT_EQ(rows.value().count(), kCount);
        const auto trees = rows.value().train(whole.labels, whole.weights, {.rounds = 10});
        ASSERT_TRUE(trees.ok()) << trees.error().message;
        EXPECT_EQ(trees.value().bytes(), expected.value().bytes()) << portion;
    }
}

TEST(Booster, RowsAreLearntFromAgain) {
    const Lesson whole = lesson();
    const TrainingRows rows = in_portions(whole, 500).take();
    std::vector<float> opposite;
    for (const float label : whole.labels) {
        opposite.push_back(1 - label);
    }
    const std::string first = rows.train(whole.labels, whole.weights, {.rounds = 10}).take().bytes();
    const Trees other = rows.train(opposite, whole.weights, {.rounds = 10}).take();
    EXPECT_NE(other.bytes(), first);
    EXPECT_EQ(rows.train(whole.labels, whole.weights, {.rounds = 10}).take().bytes(), first);
    const std::vector<float> said = other.predict(whole.rows);
    size_t right = 0;
    for (size_t i = 0; i < kCount; ++i) {
        right += (said[i] > 0.5f) == (opposite[i] > 0.5f) ? 1 : 0;
    }
    EXPECT_GT(right, kCount * 9 / 10);
}

TEST(Booster, OfRowsWithoutWeightNothingIsLearnt) {
    const Lesson whole = lesson();
    const TrainingRows rows = in_portions(whole, 500).take();
    std::vector<float> some = whole.weights, labels = whole.labels;
    for (size_t i = kCount / 2; i < kCount; ++i) {
        some[i] = 0;
    }
    const std::string expected = rows.train(labels, some, {.rounds = 10}).take().bytes();
    for (size_t i = kCount / 2; i < kCount; ++i) {
        labels[i] = 1 - labels[i];
    }
    EXPECT_EQ(rows.train(labels, some, {.rounds = 10}).take().bytes(), expected);
    EXPECT_NE(rows.train(labels, whole.weights, {.rounds = 10}).take().bytes(), expected);
}

// What is not known says as much as a value does; learnt from it, and asked of it.
TEST(Booster, WhatIsNotKnownCounts) {
    Lesson gaps = lesson();
    for (size_t i = 0; i < kCount; ++i) {
        float& value = gaps.rows.values[i * kColumns + 3];
        value = i % 4 == 0 ? std::nanf("") : value;
        gaps.labels[i] = (std::isnan(value) || value > 1) ? 1.f : 0.f;  // at both ends
    }
    const Rows before = gaps.rows;
    const Trees trees = train_trees(gaps.rows, gaps.labels, gaps.weights, {.rounds = 20}).take();
    EXPECT_TRUE(std::equal(before.values.begin(), before.values.end(), gaps.rows.values.begin(),
                           [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }));
    const std::vector<float> said = trees.predict(gaps.rows);
    for (size_t i = 0; i < kCount; ++i) {
        ASSERT_EQ(said[i] > 0.5f, gaps.labels[i] > 0.5f) << i;
    }
}

}  // namespace
}  // namespace predsnap::predict::test
