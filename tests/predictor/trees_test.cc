// SPDX-License-Identifier: GPL-2.0-or-later
//
// Trees beside XGBoost's own evaluation of the same model.
#include "tools/predsnapd/trees.h"

#include <gtest/gtest.h>
#include <xgboost/c_api.h>

#include <cmath>
#include <random>

#include "tools/predsnapd/booster.h"

namespace predsnap::predict::test {
namespace {

constexpr size_t kColumns = 12;

// Values of several kinds, with gaps: fractions, counts, what is mostly not known.
Rows random_rows(size_t count, uint32_t seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-3, 3);
    Rows rows{kColumns, {}};
    for (size_t i = 0; i < count * kColumns; ++i) {
        const size_t column = i % kColumns;
        const bool unknown = random() % 8 < column % 4 * 2;
        rows.values.push_back(unknown ? std::nanf("") : column % 3 == 0 ? std::floor(uniform(random)) : uniform(random));
    }
    return rows;
}

std::vector<float> labels_of(const Rows& rows) {
    std::vector<float> labels;
    for (size_t i = 0; i < rows.count(); ++i) {
        const float* row = rows.values.data() + i * kColumns;
        const float sum = row[0] + (std::isnan(row[1]) ? 0.7f : row[1] * row[4]) + (std::isnan(row[3]) ? -1.f : row[3]);
        labels.push_back(sum > 0 ? 1.f : 0.f);
    }
    return labels;
}

class XGBoost {
  public:
    XGBoost(const Rows& rows, int depth, int rounds) {
        const std::vector<float> labels = labels_of(rows);
        DMatrixHandle matrix = nullptr;
        EXPECT_EQ(XGDMatrixCreateFromMat(rows.values.data(), rows.count(), kColumns, std::nanf(""), &matrix), 0);
        EXPECT_EQ(XGDMatrixSetFloatInfo(matrix, "label", labels.data(), labels.size()), 0);
        EXPECT_EQ(XGBoosterCreate(&matrix, 1, &booster_), 0);
        const std::pair<const char*, std::string> options[] = {
            {"objective", "binary:logistic"}, {"max_depth", std::to_string(depth)}, {"nthread", "1"}, {"verbosity", "0"},
            {"base_score", "0.3"}, {"tree_method", "hist"}};
        for (const auto& [name, value] : options) {
            EXPECT_EQ(XGBoosterSetParam(booster_, name, value.c_str()), 0);
        }
        for (int i = 0; i < rounds; ++i) {
            EXPECT_EQ(XGBoosterUpdateOneIter(booster_, i, matrix), 0);
        }
        XGDMatrixFree(matrix);
    }
    ~XGBoost() { XGBoosterFree(booster_); }
    XGBoost(const XGBoost&) = delete;
    XGBoost& operator=(const XGBoost&) = delete;

    std::string json() const {
        bst_ulong length = 0;
        const char* bytes = nullptr;
        EXPECT_EQ(XGBoosterSaveModelToBuffer(booster_, R"({"format": "json"})", &length, &bytes), 0);
        return {bytes, length};
    }
    std::vector<float> predict(const Rows& rows) const {
        DMatrixHandle matrix = nullptr;
        EXPECT_EQ(XGDMatrixCreateFromMat(rows.values.data(), rows.count(), kColumns, std::nanf(""), &matrix), 0);
        bst_ulong length = 0;
        const float* values = nullptr;
        EXPECT_EQ(XGBoosterPredict(booster_, matrix, 0, 0, 0, &length, &values), 0);
        std::vector<float> result(values, values + length);
        XGDMatrixFree(matrix);
        return result;
    }

  private:
    BoosterHandle booster_ = nullptr;
};

TEST(Trees, SayWhatXGBoostSaysToTheLastBit) {
    const Rows learnt = random_rows(3000, 1), asked = random_rows(5001, 2);
    for (const int depth : {1, 3, 6, 8}) {
        const XGBoost model(learnt, depth, 40);
        const auto trees = Trees::of_xgboost(model.json());
        ASSERT_TRUE(trees.ok()) << trees.error().message;
        EXPECT_EQ(trees.value().predict(asked), model.predict(asked)) << "depth " << depth;
    }
}

// What was trained on is on the thresholds itself more often than by chance.
TEST(Trees, ValuesOnThresholdsGoTheSameWay) {
    Rows rows{kColumns, {}};
    std::mt19937 random(3);
    for (size_t i = 0; i < 2000 * kColumns; ++i) {
        rows.values.push_back(static_cast<float>(random() % 4));
    }
    const XGBoost model(rows, 6, 20);
    const auto trees = Trees::of_xgboost(model.json());
    ASSERT_TRUE(trees.ok()) << trees.error().message;
    EXPECT_EQ(trees.value().predict(rows), model.predict(rows));
}

TEST(Trees, AnyNumberOfRows) {
    const XGBoost model(random_rows(500, 4), 4, 5);
    const Trees trees = Trees::of_xgboost(model.json()).take();
    for (size_t count = 0; count < 70; ++count) {
        const Rows rows = random_rows(count, 5);
        EXPECT_EQ(trees.predict(rows), count == 0 ? std::vector<float>() : model.predict(rows));
    }
}

TEST(Trees, ComeBackFromTheirBytes) {
    const Rows rows = random_rows(1000, 6);
    const std::vector<float> labels = labels_of(rows), weights(1000, 1.f);
    const auto trained = train_trees(rows, labels, weights, {.rounds = 10});
    ASSERT_TRUE(trained.ok()) << trained.error().message;
    const auto back = Trees::parse(trained.value().bytes());
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_EQ(back.value().predict(rows), trained.value().predict(rows));
    EXPECT_EQ(back.value().bytes(), trained.value().bytes());
}

TEST(Trees, HostileBytesAreRefusedOrHarmless) {
    const Rows rows = random_rows(300, 7);
    const std::vector<float> labels = labels_of(rows), weights(300, 1.f);
    const std::string good = train_trees(rows, labels, weights, {.rounds = 3, .depth = 3}).take().bytes();
    EXPECT_FALSE(Trees::parse("").ok());
    size_t refused = 0;
    for (size_t length = 0; length < good.size(); ++length) {
        refused += Trees::parse(std::string_view(good).substr(0, length)).ok() ? 0 : 1;
    }
    EXPECT_EQ(refused, good.size());
    std::mt19937 random(8);
    for (int i = 0; i < 20000; ++i) {
        std::string bad = good;
        for (uint32_t k = random() % 4 + 1; k > 0; --k) {
            bad[random() % (i % 2 == 0 ? 16 : bad.size())] = static_cast<char>(random());
        }
        const auto parsed = Trees::parse(bad);
        if (parsed.ok() && parsed.value().columns() == kColumns) {
            EXPECT_EQ(parsed.value().predict(rows).size(), rows.count());
        }
    }
}

TEST(Trees, OtherModelsAreNotUnderstood) {
    EXPECT_FALSE(Trees::of_xgboost("").ok());
    EXPECT_FALSE(Trees::of_xgboost("{}").ok());
    EXPECT_FALSE(Trees::of_xgboost(R"({"learner": {"objective": {"name": "reg:squarederror"}}})").ok());
}

}  // namespace
}  // namespace predsnap::predict::test
