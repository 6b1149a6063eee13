// SPDX-License-Identifier: GPL-2.0-or-later
//
// When a chunk was visited: the gaps between visits, and the windows of ten seconds that had any.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "access.h"

namespace predsnap::predict {

// Requests closer than that are one visit.
constexpr int64_t kVisitGap = kSecond;
constexpr int64_t kWindow = 10 * kSecond;

class Rhythm {
  public:
    void visit(int64_t now_us) {
        if (visits_ == 0 || now_us - last_us_ >= kVisitGap) {
            if (visits_ != 0) {
                gaps_[gap_next_++ % kGaps] = encode(now_us - last_us_);
            }
            ++visits_;
        }
        windows_ = shifted(now_us) | 1;
        last_us_ = now_us;
    }
    int64_t last_us() const { return last_us_; }
    uint32_t visits() const { return visits_; }
    // Bit i: visited in the window of ten seconds, on the clock, i before the one of now.
    uint64_t windows(int64_t now_us) const { return shifted(now_us); }

    // Of the gaps that were longer than the present one, the share that ended within so long a time
    // from now; leaning on `prior` while there are few.
    float hazard(int64_t now_us, int64_t horizon_us, float prior) const;
    // Mean and mean square of log2(seconds) of the last gaps; 0 without any.
    float gap_mean() const;
    float gap_spread() const;
    float last_gap() const { return gap_next_ == 0 ? 0 : log2_of(gaps_[(gap_next_ - 1) % kGaps]); }
    uint32_t gap_count() const { return std::min<uint32_t>(gap_next_, kGaps); }

  private:
    static constexpr uint32_t kGaps = 8;
    // Gaps are kept as log2(seconds) in steps of 1/2048, from 2^-4 on: 0.03% apart, up to 136 years.
    static uint16_t encode(int64_t gap_us) {
        const float steps = (std::log2(std::max(seconds(gap_us), 0.0625f)) + 4) * 2048;
        return static_cast<uint16_t>(std::min(steps, 65535.f));
    }
    static float log2_of(uint16_t gap) { return static_cast<float>(gap) / 2048 - 4; }
    uint64_t shifted(int64_t now_us) const {
        const int64_t passed = now_us / kWindow - last_us_ / kWindow;
        return visits_ == 0 || passed > 63 ? 0 : passed <= 0 ? windows_ : windows_ << passed;
    }

    int64_t last_us_ = kNever;
    uint64_t windows_ = 0;
    std::array<uint16_t, kGaps> gaps_{};
    uint32_t gap_next_ = 0;
    uint32_t visits_ = 0;
};

inline float Rhythm::hazard(int64_t now_us, int64_t horizon_us, float prior) const {
    const uint16_t from = encode(now_us - last_us_), to = encode(now_us - last_us_ + horizon_us);
    float longer = 0, ended = 0;
    for (uint32_t i = 0; i < gap_count(); ++i) {
        longer += gaps_[i] > from ? 1.f : 0.f;
        ended += gaps_[i] > from && gaps_[i] <= to ? 1.f : 0.f;
    }
    return (ended + prior) / (longer + 1);
}

inline float Rhythm::gap_mean() const {
    float sum = 0;
    for (uint32_t i = 0; i < gap_count(); ++i) {
        sum += log2_of(gaps_[i]);
    }
    return gap_count() == 0 ? 0 : sum / static_cast<float>(gap_count());
}

inline float Rhythm::gap_spread() const {
    const float mean = gap_mean();
    float sum = 0;
    for (uint32_t i = 0; i < gap_count(); ++i) {
        sum += std::abs(log2_of(gaps_[i]) - mean);
    }
    return gap_count() == 0 ? 0 : sum / static_cast<float>(gap_count());
}

}  // namespace predsnap::predict
