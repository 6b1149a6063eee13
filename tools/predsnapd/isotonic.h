// SPDX-License-Identifier: GPL-2.0-or-later
//
// From scores to probabilities: the monotone function that fits best what came true (pool adjacent
// violators), with straight lines between its steps, so that the order of scores is kept.
#pragma once

#include <span>
#include <vector>

namespace predsnap::predict {

struct Outcome {
    float score = 0;
    bool came = false;
    float weight = 1;  // stands for so many
};

class Isotonic {
  public:
    Isotonic() = default;  // knows nothing: what it is given, within 0 and 1
    // Nothing to learn from without both kinds of outcome: then it is as if it knew nothing.
    explicit Isotonic(std::vector<Outcome> outcomes);

    float operator()(float score) const;
    bool fitted() const { return !knots_.empty(); }

    struct Knot {
        float score = 0, probability = 0;
    };
    explicit Isotonic(std::span<const Knot> knots) : knots_(knots.begin(), knots.end()) {}
    std::span<const Knot> knots() const { return knots_; }

  private:
    std::vector<Knot> knots_;  // both rise
};

}  // namespace predsnap::predict
