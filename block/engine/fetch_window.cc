// SPDX-License-Identifier: GPL-2.0-or-later
#include "fetch_window.h"

#include <algorithm>

namespace predsnap {

namespace {

// The shortest times are measured anew so often, beginning with one request alone.
constexpr int64_t kForgetUs = 10'000'000;
// Nobody notices less.
constexpr int64_t kNoticeableUs = 2000;
// Requests that may wait in the tier's queue: with none it would be idle at times.
constexpr double kManyWaiting = 1;
// What one request more must bring to be worth it, in requests that do not wait.
constexpr double kLeastGain = 0.3;
// After a queue was seen, one more at once is tried so often: a tier may let a burst pass.
constexpr int64_t kTryAgainUs = 200'000;

}  // namespace

void FetchWindow::begin_again(int64_t now) {
    since_us_ = now;
    shortest_us_ = {};
    useful_at_ = {};
    doubling_ = true;
    change(1);
}

void FetchWindow::change(size_t limit) {
    limit_ = std::clamp<size_t>(limit, 1, kMost);
    ++round_;
    answers_ = 0;
    useful_ = at_once_ = 0;
}

void FetchWindow::answered(const Request& request, const Answer& answer, int64_t now) {
    if (now - since_us_ >= kForgetUs) {
        begin_again(now);
    }
    const int64_t took = std::max<int64_t>((now - request.begun_us) / static_cast<int64_t>(answer.parts), 1);
    int64_t& shortest = shortest_us_[static_cast<size_t>(answer.tier)][answer.size - 1];
    shortest = shortest == 0 ? took : std::min(shortest, took);
    if (request.round != round_) {
        return;
    }
    const double at_once = static_cast<double>(request.beside);
    useful_ += took - shortest < kNoticeableUs
                   ? at_once
                   : at_once * static_cast<double>(shortest) / static_cast<double>(took);
    at_once_ += at_once;
    if (++answers_ >= limit_) {
        decide(now);
    }
}

// By all that began and ended in the round: single ones are late for many reasons.
void FetchWindow::decide(int64_t now) {
    const double answers = static_cast<double>(answers_);
    const double at_once = at_once_ / answers, useful = useful_ / answers;
    const double gain = note_useful(useful);
    if (at_once - useful > kManyWaiting && gain < kLeastGain) {
        doubling_ = false;
        tried_us_ = now;
        change(static_cast<size_t>(useful) + 1);
    } else if (limit_ < kMost && (doubling_ || now - tried_us_ >= kTryAgainUs)) {
        tried_us_ = now;
        change(doubling_ ? 2 * limit_ : limit_ + 1);
    } else {
        change(limit_);
    }
}

// Returns how much each request more at once brings, against the next smaller limit that was tried.
double FetchWindow::note_useful(double useful) {
    double& known = useful_at_[limit_ - 1];
    known = known == 0 ? useful : (known + useful) / 2;
    for (size_t less = limit_ - 1; less > 0; --less) {
        if (useful_at_[less - 1] > 0) {
            return (known - useful_at_[less - 1]) / static_cast<double>(limit_ - less);
        }
    }
    return 1;
}

}  // namespace predsnap
