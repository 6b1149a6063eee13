// SPDX-License-Identifier: GPL-2.0-or-later
//
// Gradient-boosted trees: learnt by XGBoost, through its C API; kept and evaluated without it (trees.h). One thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trees.h"

namespace predsnap::predict {

struct BoosterOptions {
    int rounds = 60;
    int depth = 6;         // at most Trees::kDepthMax
    float rate = 0.12f;
    float rows = 0.8f;     // share of rows that each tree sees
    float columns = 0.6f;  // share of columns that each level of a tree sees
    float leaf_weight_min = 4;
    int threads = 1;
};

// Rows as XGBoost learns from them: only the bins that values fall into, a byte each. Made once, and learnt from as often as
// there are outcomes.
class TrainingRows {
  public:
    // Some rows, the first ones or those after the ones before; false: there are no more. It is gone through several times,
    // and each time it gives the same ones. What it puts into `rows` counts until the next call; their columns are set.
    struct Source {
        std::function<void()> restart;
        std::function<bool(Rows& rows)> next;
    };
    // `weights`: of each row, by which bins are as wide as they are.
    static Result<TrainingRows> create(const Source& source, size_t columns, std::span<const float> weights, int threads);

    // Trees that say how probable it is that a row's label is 1. `labels` and `weights`: one of each row; of those with weight 0
    // nothing is learnt.
    Result<Trees> train(std::span<const float> labels, std::span<const float> weights, const BoosterOptions& options) const;
    size_t count() const { return count_; }

  private:
    struct FreeMatrix {
        void operator()(void* handle) const;
    };
    using Matrix = std::unique_ptr<void, FreeMatrix>;
    TrainingRows(Matrix matrix, size_t count) : matrix_(std::move(matrix)), count_(count) {}

    Matrix matrix_;
    size_t count_;
};

// The same of rows that are all there.
Result<Trees> train_trees(const Rows& rows, std::span<const float> labels, std::span<const float> weights,
                          const BoosterOptions& options);

}  // namespace predsnap::predict
