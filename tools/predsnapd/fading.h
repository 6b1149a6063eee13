// SPDX-License-Identifier: GPL-2.0-or-later
//
// Counts that fade with time, at several rates at once.
#pragma once

#include <array>
#include <cmath>

#include "access.h"

namespace predsnap::predict {

// What is left of a count after so many seconds: 1/e.
inline constexpr std::array<float, 5> kTimeConstants = {10, 60, 600, 3600, 86400};
constexpr size_t kFades = kTimeConstants.size();
using FadeValues = std::array<float, kFades>;

// Factors by which counts fade within a time.
class Fade {
  public:
    explicit Fade(int64_t elapsed_us) {
        const float elapsed = seconds(elapsed_us);
        for (size_t i = 0; i < kFades; ++i) {
            factors_[i] = std::exp(-elapsed / kTimeConstants[i]);
        }
    }
    float operator[](size_t i) const { return factors_[i]; }

  private:
    FadeValues factors_;
};

class FadingCount {
  public:
    void add(int64_t now_us, float amount) {
        if (now_us > last_us_) {
            const Fade fade(now_us - last_us_);
            for (size_t i = 0; i < kFades; ++i) {
                values_[i] *= fade[i];
            }
            last_us_ = now_us;
        }
        for (float& value : values_) {
            value += amount;
        }
    }
    // Of the last add(), or kNever.
    int64_t last_us() const { return last_us_; }
    FadeValues at(int64_t now_us) const {
        FadeValues values = values_;
        if (now_us > last_us_) {
            const Fade fade(now_us - last_us_);
            for (size_t i = 0; i < kFades; ++i) {
                values[i] *= fade[i];
            }
        }
        return values;
    }

  private:
    int64_t last_us_ = kNever;
    FadeValues values_{};
};

}  // namespace predsnap::predict
