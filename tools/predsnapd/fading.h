// SPDX-License-Identifier: GPL-2.0-or-later
//
// Counts that fade with time, at several rates at once.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "access.h"

namespace predsnap::predict {

// What is left of a count after so many seconds: 1/e.
inline constexpr std::array<float, 5> kTimeConstants = {10, 60, 600, 3600, 86400};  // Fade knows them, too
constexpr size_t kFades = kTimeConstants.size();
using FadeValues = std::array<float, kFades>;

// Factors by which counts fade within a time.
class Fade {
  public:
    explicit Fade(int64_t elapsed_us) {
        // One exponential; the others are powers of it, which take no time.
        const double day = std::exp(-static_cast<double>(elapsed_us) / (86400.0 * kSecond));
        const double hour = power<24>(day), ten_minutes = power<6>(hour), minute = power<10>(ten_minutes);
        const double factors[] = {power<6>(minute), minute, ten_minutes, hour, day};
        std::copy_n(factors, kFades, factors_.begin());
    }
    float operator[](size_t i) const { return factors_[i]; }

  private:
    template <int exponent>
    static constexpr double power(double base) {
        if constexpr (exponent == 1) {
            return base;
        } else if constexpr (exponent % 2 == 0) {
            return power<exponent / 2>(base * base);
        } else {
            return base * power<exponent - 1>(base);
        }
    }
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
        if (now_us > last_us_ && last_us_ != kNever) {
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
