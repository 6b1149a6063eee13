// SPDX-License-Identifier: GPL-2.0-or-later
//
// What share of its bytes the next write to a chunk will change, which decides how it is logged. Champion and challengers:
// as much as lately on average, as much as the last time, and trees; judged by the newest writes, which the trees had not
// seen. Only of disks whose log tells of it. In bounded memory. One thread.
#pragma once

#include <optional>
#include <random>
#include <unordered_map>
#include <vector>

#include "booster.h"
#include "moment.h"
#include "packed.h"

namespace predsnap::predict {

enum class ChangeMethod : uint8_t { kMean, kLast, kTrees };
inline constexpr size_t kChangeMethods = 3;
std::string_view name_of(ChangeMethod method);

class ChangeForecast {
  public:
    static constexpr size_t kRowsMax = 1024, kMomentRowsMax = 64;

    // Keeps rows of some chunks of which it is known how much was changed, to see what is changed of them next.
    void take(const Moment& moment);
    // A write, after all moments taken, of which it is known how much it changed.
    void happened(ChunkId id, float changed);
    // Judges all methods by the newest quarter of what came, and learns anew from all of it. Nothing while that is too little.
    Result<void> train(const BoosterOptions& options);

    // Of each candidate, as the champion says; below 0: not known.
    std::vector<float> shares(const Moment& moment) const;
    ChangeMethod champion() const { return champion_; }
    // Mean squared error when it was judged last; below 0: not yet.
    double error(ChangeMethod method) const { return errors_[static_cast<size_t>(method)]; }
    // Rows whose outcome is known.
    size_t row_count() const { return outcomes_.size(); }

  private:
    using Row = std::vector<Packed24>;
    struct Outcome {
        Row row;
        float changed;
    };
    static void write_row(const Moment& moment, size_t candidate, std::span<float> row);
    Result<Trees> fit(size_t count, const BoosterOptions& options) const;
    void judge(const Trees& trees, size_t from);

    std::unordered_map<ChunkId, Row> waiting_;
    std::vector<Outcome> outcomes_;  // in order of time
    std::optional<Trees> trees_;
    ChangeMethod champion_ = ChangeMethod::kMean;
    std::array<double, kChangeMethods> errors_ = {-1, -1, -1};
    std::minstd_rand random_{1};
};

}  // namespace predsnap::predict
