// SPDX-License-Identifier: GPL-2.0-or-later
//
// Numbers in 16 and in 24 bits, where many are kept for long: within 0.1%, and 0.002%, of what they were, in the same order.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "squeezed.h"

namespace predsnap::predict {

// A sign, 6 bits of exponent, 9 of fraction: 0, what is between 2^-30 and 2^33 on both sides of it, and "not known" (NaN).
// What is nearer to 0 is 0, what is further off is as far as can be.
class Packed {
  public:
    Packed() = default;
    Packed(float value) : bits_(pack(value)) {}
    operator float() const {
        if (bits_ == kUnknown) {
            return std::numeric_limits<float>::quiet_NaN();
        }
        const uint32_t size = bits_ & kSize, sign = (bits_ & 0x8000u) << 16;
        return std::bit_cast<float>(size == 0 ? sign : sign | ((size << kDropped) + kOffset));
    }

  private:
    static constexpr uint32_t kDropped = 14;                            // bits of a float's fraction
    static constexpr uint32_t kOffset = (127u - 31u) << 23;             // what the exponents differ by
    static constexpr uint16_t kSize = 0x7fff, kUnknown = 0xffff, kLargest = 0x7ffe;
    static uint16_t pack(float value) {
        if (std::isnan(value)) {
            return kUnknown;
        }
        const auto whole = std::bit_cast<uint32_t>(value);
        const auto sign = static_cast<uint16_t>(whole >> 16 & 0x8000);
        const uint32_t rounded = (whole & 0x7fffffff) + (1u << (kDropped - 1));
        if (rounded < kOffset + (1u << 23)) {
            return 0;
        }
        const uint32_t size = (rounded - kOffset) >> kDropped;
        return static_cast<uint16_t>(sign | (size > kLargest ? kLargest : size));
    }
    uint16_t bits_ = 0;
};
static_assert(sizeof(Packed) == 2);

// A float without the last 8 bits of its fraction. Of features: ages are told as logarithms, where 0.1% of 3,600 s would be
// half a minute, and on cloudphysics, whose bursts are an hour apart, cost a tenth of what a model is worth.
class Packed24 {
  public:
    Packed24() = default;
    Packed24(float value) {
        uint32_t whole = std::bit_cast<uint32_t>(std::isnan(value) ? std::numeric_limits<float>::quiet_NaN() : value);
        whole += std::isfinite(value) && (whole & 0x7f800000) != 0x7f000000 ? 0x80 : 0;
        for (uint8_t& byte : bytes_) {
            whole >>= 8;
            byte = static_cast<uint8_t>(whole);
        }
    }
    operator float() const {
        return std::bit_cast<float>(uint32_t{bytes_[0]} << 8 | uint32_t{bytes_[1]} << 16 | uint32_t{bytes_[2]} << 24);
    }

  private:
    uint8_t bytes_[3] = {};
};
static_assert(sizeof(Packed24) == 3);

// What a method made of each candidate of a moment.
class PackedScores {
  public:
    PackedScores() = default;
    // Probabilities are kept as logits: near 1 as exact as near 0.
    PackedScores(std::span<const float> scores, bool probabilities) : probabilities_(probabilities) {
        values_.reserve(scores.size());
        for (const float score : scores) {
            values_.push_back(probabilities ? logit_of(score) : score);
        }
    }
    PackedScores(const Squeezed& squeezed, bool probabilities)
        : values_(squeezed.values<Packed>()), probabilities_(probabilities) {}
    // For as long as nobody asks.
    Squeezed squeezed() const { return {std::span<const Packed>(values_), sizeof(Packed)}; }
    bool empty() const { return values_.empty(); }
    size_t size() const { return values_.size(); }
    float operator[](size_t i) const { return probabilities_ ? probability_of(values_[i]) : float{values_[i]}; }
    // Of these candidates only.
    PackedScores of(std::span<const uint32_t> candidates) const {
        PackedScores some;
        some.probabilities_ = probabilities_;
        some.values_.reserve(candidates.size());
        for (size_t i = 0; i < candidates.size() && !values_.empty(); ++i) {
            some.values_.push_back(values_[candidates[i]]);
        }
        return some;
    }

  private:
    static constexpr float kLogitMax = 16;
    static float logit_of(float p) {
        return std::fmax(-kLogitMax, std::fmin(kLogitMax, std::log(p / (1 - p))));
    }
    static float probability_of(float logit) { return 1 / (1 + std::exp(-logit)); }

    std::vector<Packed> values_;
    bool probabilities_ = false;
};

}  // namespace predsnap::predict
