// SPDX-License-Identifier: GPL-2.0-or-later
//
// A forest of trees as arrays: what XGBoost learnt, evaluated without it. The same sums in the same order, so the same
// values to the last bit (tests/predictor/trees_test.cc), at a sixth of the time and a hundredth of the memory. Never
// changes once it is made: any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::predict {

// Rows of `columns` values each, one after the other. NaN: not known.
struct Rows {
    size_t columns = 0;
    std::vector<float> values;
    size_t count() const { return columns == 0 ? 0 : values.size() / columns; }
};

class Trees {
  public:
    // Deeper trees, and more columns, there are not.
    static constexpr uint32_t kDepthMax = 8, kColumnsMax = 1024, kTreesMax = 4096;

    // What the model knew of values that are not known: each node has a way for them, or they are below all others.
    enum class Unknown : uint8_t { kHasItsWay, kIsLowest };
    // Of XGBoost's own description of a model: binary:logistic, numbers only. Errors: EINVAL, with what is not understood.
    static Result<Trees> of_xgboost(const std::string& json, Unknown unknown = Unknown::kHasItsWay);
    // Of bytes(). Whatever these are, nothing but an error (EINVAL) comes of those that are no forest.
    static Result<Trees> parse(std::string_view bytes);
    std::string bytes() const;

    // A probability for each row; these have as many columns as what it was trained on.
    std::vector<float> predict(const Rows& rows) const;
    // The same, of so many rows, into as many values.
    void predict(const float* rows, size_t count, float* values) const;
    uint32_t columns() const { return columns_; }
    size_t memory_bytes() const;

  private:
    struct Node {
        float threshold = 0;  // below it: to the left
        uint16_t input = 0;   // of the row, which has each column twice; see widen()
    };
    struct Grower;  // of a tree of XGBoost's
    size_t inner() const { return (size_t{1} << depth_) - 1; }
    size_t leaves() const { return size_t{1} << depth_; }
    void widen(const float* row, float* wide) const;
    void add_tree(size_t tree, const float* wide, size_t rows, float* sums) const;
    Result<void> check() const;

    uint32_t columns_ = 0, depth_ = 0;
    float base_ = 0;  // each sum begins with it
    // All trees are as deep: a leaf further up is there several times.
    std::vector<Node> nodes_;     // inner() of each tree, children of i at 2i + 1 and 2i + 2
    std::vector<float> values_;   // leaves() of each
};

}  // namespace predsnap::predict
