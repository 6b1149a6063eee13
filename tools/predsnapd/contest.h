// SPDX-License-Identifier: GPL-2.0-or-later
//
// Champion and challengers: methods that rank the same candidates are judged by what came afterwards,
// on the newest moments, none of which a model had seen when it ranked them. The best of them serves,
// with probabilities that are calibrated by the same outcomes.
#pragma once

#include <deque>
#include <vector>

#include "isotonic.h"

namespace predsnap::predict {

// The candidates of one moment: what each method made of them, and what came.
struct Judged {
    std::vector<std::vector<float>> scores;  // by method; empty: the method was not there yet
    std::vector<bool> came;
};

class Contest {
  public:
    explicit Contest(size_t methods) : standings_(methods), calibrators_(methods) {}

    void judge(Judged judged);
    // Judges all methods anew by the moments kept.
    void choose();

    // The method that serves.
    size_t champion() const { return champion_; }
    float probability(size_t method, float score) const { return calibrators_[method](score); }
    bool calibrated(size_t method) const { return calibrators_[method].fitted(); }
    // Average precision on the moments kept; below 0: not judged.
    double standing(size_t method) const { return standings_[method]; }

  private:
    static constexpr size_t kMomentsMax = 40;
    static constexpr size_t kRankedMax = 200000;
    std::vector<Outcome> outcomes(size_t method) const;

    std::deque<Judged> kept_;
    size_t ranked_ = 0;  // candidates in kept_
    std::vector<double> standings_;
    std::vector<Isotonic> calibrators_;
    size_t champion_ = 0;
};

}  // namespace predsnap::predict
