// SPDX-License-Identifier: GPL-2.0-or-later
//
// What models learn from: rows of past moments, and what happened to their chunks afterwards. In
// bounded memory. One thread.
#pragma once

#include <deque>
#include <random>
#include <span>
#include <unordered_map>
#include <vector>

#include "booster.h"
#include "heuristics.h"
#include "packed.h"
#include "profile.h"

namespace predsnap::predict {

struct SampleOptions {
    size_t rows_max = 250000;     // kept in all; see thin()
    size_t moment_rows_max = 1200;
};

// The outcomes of one target, of all rows.
struct Outcomes {
    std::vector<float> labels;
    std::vector<float> weights;  // a row stands for that many; 0: it is not known yet
    size_t known = 0, positives = 0;
};

class Samples {
  public:
    explicit Samples(SampleOptions options = {}) : options_(options) {}

    // Takes some of the candidates: all that are active, as many of the others as there is room for.
    void take(const Moment& moment);
    // A chunk was accessed, after all moments taken.
    void happened(ChunkId id, Op op, int64_t time_us);
    // As they are known by now.
    Outcomes outcomes(const Target& target, int64_t now_us) const;
    // All rows, to learn from; in the order of the outcomes, for as long as no others are taken.
    Result<TrainingRows> rows(int threads) const;
    size_t row_count() const { return row_count_; }
    size_t memory_bytes() const;
    // What all rows have in common.
    Profile profile() const;

  private:
    // A row's: how long after the moment its chunk was accessed first, by op.
    struct Fate {
        float weight = 1;
        std::array<uint32_t, 2> after_us{};
    };
    static constexpr uint32_t kNotWithin = UINT32_MAX;  // the longest horizon
    static_assert(kHorizonMax < kNotWithin);
    struct Sample {  // of which that is not known yet
        ChunkId id = 0;
        float weight = 1;
        std::array<int64_t, 2> next_us = {INT64_MAX, INT64_MAX};  // first access after the moment
        std::array<Sample*, 2> waiting = {nullptr, nullptr};      // earlier ones that wait for the same
    };
    struct Taken {
        int64_t time_us = 0;
        size_t rows = 0;
        Squeezed values;              // Packed24
        std::vector<Sample> samples;  // do not move, as others point to them; none once all is known
        Squeezed fates;               // then; of
        size_t came = 0;              // so many rows something happened
        bool settled() const { return samples.empty(); }
    };
    void wait_for(Taken& taken);
    void settle(Taken& taken);
    void stop_waiting(const Sample& sample);
    void thin();
    static void set_fates(Taken& taken, std::span<const Fate> fates);
    void halve(Taken& taken, bool spare_came);
    // Of each row, as far as it is known.
    static std::vector<Fate> fates_of(const Taken& taken);
    // Whether anything happened within the longest horizon.
    static bool came(const Fate& fate) { return std::min(fate.after_us[0], fate.after_us[1]) != kNotWithin; }
    size_t came_count() const;

    const SampleOptions options_;
    std::deque<Taken> taken_;
    std::unordered_map<ChunkId, std::array<Sample*, 2>> waiting_;
    std::minstd_rand random_{1};
    size_t row_count_ = 0;
};

}  // namespace predsnap::predict
