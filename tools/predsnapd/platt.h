// SPDX-License-Identifier: GPL-2.0-or-later
//
// Corrects probabilities that are too high or too low throughout, by a line over their log odds (Platt
// scaling). It leans on what it is given unless there is enough to say otherwise, and keeps the order.
#pragma once

#include <span>

#include "isotonic.h"

namespace predsnap::predict {

class Platt {
  public:
    Platt() = default;  // changes nothing
    explicit Platt(std::span<const Outcome> outcomes);  // whose scores are probabilities

    float operator()(float probability) const;

  private:
    double slope_ = 1, shift_ = 0;
};

}  // namespace predsnap::predict
