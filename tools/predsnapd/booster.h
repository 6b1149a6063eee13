// SPDX-License-Identifier: GPL-2.0-or-later
//
// Gradient-boosted trees: learnt by XGBoost, through its C API; kept and evaluated without it (trees.h).
#pragma once

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

// Trees that say how probable it is that a row's label is 1. `labels` and `weights`: one of each row. The rows are given up,
// as XGBoost has its own copy of them.
Result<Trees> train_trees(Rows rows, std::span<const float> labels, std::span<const float> weights,
                          const BoosterOptions& options);

}  // namespace predsnap::predict
