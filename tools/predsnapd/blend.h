// SPDX-License-Identifier: GPL-2.0-or-later
//
// One probability made of several that are about the same: logistic regression over their logits, held to their
// plain mean where little is known. One thread.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "isotonic.h"

namespace predsnap::predict {

class Blend {
  public:
    static constexpr size_t kInputsMax = 7;

    Blend() = default;  // knows nothing
    // `probabilities`: of each outcome in turn, as many as there are inputs. The outcomes' scores do not matter.
    Blend(size_t inputs, std::span<const float> probabilities, std::span<const Outcome> outcomes);

    bool fitted() const { return inputs_ > 0; }
    size_t inputs() const { return inputs_; }
    float operator()(std::span<const float> probabilities) const;
    double weight(size_t input) const { return weights_[input]; }

  private:
    static constexpr size_t kSize = kInputsMax + 1;  // the last that counts is a constant
    using Vector = std::array<double, kSize>;
    bool step(std::span<const float> logits, std::span<const Outcome> outcomes);

    size_t inputs_ = 0;
    Vector weights_{};
};

}  // namespace predsnap::predict
