// SPDX-License-Identifier: GPL-2.0-or-later
//
// Gradient-boosted trees: XGBoost, through its C API. One thread at a time for each.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::predict {

// Rows of `columns` values each, one after the other. NaN: not known.
struct Rows {
    size_t columns = 0;
    std::vector<float> values;
    size_t count() const { return columns == 0 ? 0 : values.size() / columns; }
};

struct BoosterOptions {
    const char* objective = "binary:logistic";
    int rounds = 60;
    int depth = 6;
    float rate = 0.12f;
    float rows = 0.8f;     // share of rows that each tree sees
    float columns = 0.6f;  // share of columns that each level of a tree sees
    float leaf_weight_min = 4;
    int threads = 1;
};

class Booster {
  public:
    // `labels` and `weights`: one of each row.
    static Result<Booster> train(const Rows& rows, std::span<const float> labels, std::span<const float> weights,
                                 const BoosterOptions& options);
    static Result<Booster> load(std::span<const char> model);
    Result<std::string> save() const;
    // One value of each row: a probability, or what was regressed.
    Result<std::vector<float>> predict(const Rows& rows) const;

  private:
    struct Free {
        void operator()(void* handle) const;
    };
    explicit Booster(void* handle) : handle_(handle) {}
    std::unique_ptr<void, Free> handle_;
};

}  // namespace predsnap::predict
