// SPDX-License-Identifier: GPL-2.0-or-later
//
// Champion and challengers: methods that rank the same candidates are judged by what came afterwards,
// on the newest moments, none of which a model had seen when it ranked them. So many moments are kept as it
// takes for enough to come. What serves is a blend of all methods, weighted by the same outcomes, unless one of
// them alone was clearly better; without enough outcomes, the best of the rules.
#pragma once

#include <deque>
#include <random>
#include <span>
#include <vector>

#include "blend.h"
#include "isotonic.h"
#include "packed.h"

namespace predsnap::predict {

// The candidates of one moment: what each method made of them, and what came.
struct Judged {
    int64_t time_us = 0;
    std::vector<PackedScores> scores;  // by method; empty: the method was not there yet
    std::vector<bool> came;
};

class Contest {
  public:
    // Methods: rules, after them a model, and last what blended() says.
    explicit Contest(size_t rules) : rules_(rules), standings_(rules + 2, -1), calibrators_(rules) {}

    // Keeps some of the candidates, within bounds: of those that came, and of the others.
    void judge(const Judged& judged);
    // Forgets the moments from that time on.
    void forget_from(int64_t time_us);
    // Whether what was judged since the last choice makes another one worth its time.
    bool due() const;
    // Judges all methods anew by the moments kept, the same ones for all: those that the model ranked, if
    // enough came of them.
    void choose();

    // Lets a method serve until it is judged.
    void trust(size_t method) { champion_ = method; }
    // The method that serves.
    size_t champion() const { return champion_; }
    // What rules and model say together, as probabilities, of their scores. Empty while too little is known of
    // them, and where the model says nothing, though it counts.
    std::vector<float> blended(std::span<const std::vector<float>> scores) const;
    // The rule that was best when they were judged last.
    size_t best_rule() const;
    // Whether enough came for the rule's scores to have become probabilities.
    bool calibrated(size_t rule) const { return calibrators_[rule].fitted(); }
    // Rises with the score.
    float probability(size_t method, float score) const;
    // Average precision on the moments it was judged by; below 0: not judged.
    double standing(size_t method) const { return standings_[method]; }

  private:
    struct Kept {
        int64_t time_us = 0;
        std::vector<Squeezed> scores;  // PackedScores, by method
        std::vector<bool> came;
        size_t came_count = 0;   // of those kept
        float came_weight = 1;   // each that came stands for so many
        float other_weight = 1;  // and each that did not
        float weight(size_t i) const { return came[i] ? came_weight : other_weight; }
    };
    // Which moments count: those that the model ranked, those that the blend did.
    struct Filter {
        bool with_model = false, with_blend = false;
    };
    size_t model() const { return rules_; }
    size_t blend() const { return rules_ + 1; }
    std::vector<uint32_t> some_of(std::span<const uint32_t> candidates, size_t room);
    void forget();
    bool counts(const Kept& kept, Filter filter) const;
    size_t came(Filter filter) const;
    PackedScores scores_of(const Kept& kept, size_t method) const;
    std::vector<Outcome> outcomes(size_t method, Filter filter) const;
    void fit_blend(Filter filter);
    size_t winner() const;

    size_t rules_;
    std::deque<Kept> kept_;
    size_t judged_ = 0;  // moments, since the beginning
    size_t kept_came_ = 0, kept_outcomes_ = 0;
    std::minstd_rand random_{1};
    std::vector<double> standings_;
    std::vector<Isotonic> calibrators_;  // of the rules
    Blend blend_;
    size_t champion_ = 0;
};

}  // namespace predsnap::predict
