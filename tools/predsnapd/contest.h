// SPDX-License-Identifier: GPL-2.0-or-later
//
// Champion and challengers: methods that rank the same candidates are judged by what came afterwards,
// on the newest moments, none of which a model had seen when it ranked them. The best of them serves,
// with probabilities that are calibrated by the same outcomes.
#pragma once

#include <deque>
#include <random>
#include <vector>

#include "isotonic.h"

namespace predsnap::predict {

// The candidates of one moment: what each method made of them, and what came.
struct Judged {
    int64_t time_us = 0;
    std::vector<std::vector<float>> scores;  // by method; empty: the method was not there yet
    std::vector<bool> came;
};

class Contest {
  public:
    // The last method is the one that has to win its place: the model.
    explicit Contest(size_t methods) : standings_(methods, -1), calibrators_(methods - 1) {}

    // Keeps some of the candidates: all that came, a share of the others.
    void judge(const Judged& judged);
    // Judges all methods anew by the moments kept, the same ones for all: those that the model ranked, if
    // enough came of them.
    void choose();

    // Lets a method serve until it is judged.
    void trust(size_t method) { champion_ = method; }
    // The method that serves.
    size_t champion() const { return champion_; }
    // Rises with the score.
    float probability(size_t method, float score) const;
    // Average precision on the moments it was judged by; below 0: not judged.
    double standing(size_t method) const { return standings_[method]; }

  private:
    static constexpr size_t kMomentsMax = 40;
    static constexpr size_t kOthersMax = 2000;  // of a moment, that did not come
    struct Kept {
        std::vector<std::vector<float>> scores;
        std::vector<bool> came;
        float other_weight = 1;  // each that did not come stands for so many
    };
    bool model_is_known(const Kept& kept) const { return !kept.scores.back().empty(); }
    std::vector<Outcome> outcomes(size_t method, bool with_model) const;

    std::deque<Kept> kept_;
    std::minstd_rand random_{1};
    std::vector<double> standings_;
    std::vector<Isotonic> calibrators_;  // of the heuristics
    size_t champion_ = 0;
};

}  // namespace predsnap::predict
