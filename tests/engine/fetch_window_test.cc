// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/fetch_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

namespace predsnap::test {
namespace {

// A tier that answers each request some time after it has sent it, one after the other at its rate; and who keeps as many
// requests under way as the window lets him.
class FetchWindowTest : public ::testing::Test {
  protected:
    struct Sent {
        FetchWindow::Request request;
        int64_t answered_us;
    };

    // Until then; returns requests answered a second.
    double run_until(int64_t end_us) {
        const int64_t begin_us = now_;
        size_t answered = 0;
        while (now_ < end_us) {
            while (under_way_.size() < window_.limit(0)) {
                const int64_t begins = std::max(now_, idle_at_);
                idle_at_ = begins + each_us_;
                const int64_t late = jitter_us_ == 0 ? 0 : static_cast<int64_t>(random_() % static_cast<uint64_t>(jitter_us_));
                const Sent sent{window_.begin(now_, under_way_.size() + 1), idle_at_ + delay_us_ + late};
                const auto before = [](const Sent& a, const Sent& b) { return a.answered_us < b.answered_us; };
                under_way_.insert(std::upper_bound(under_way_.begin(), under_way_.end(), sent, before), sent);
            }
            const Sent next = under_way_.front();
            under_way_.pop_front();
            now_ = std::max(now_, next.answered_us);
            window_.answered(next.request, {FetchWindow::Tier::capacity, 4, 1}, now_);
            ++answered;
            limits_ += window_.limit(0);
            ++samples_;
        }
        return static_cast<double>(answered) * 1e6 / static_cast<double>(now_ - begin_us);
    }
    double mean_limit() {
        const double mean = static_cast<double>(limits_) / static_cast<double>(samples_);
        limits_ = samples_ = 0;
        return mean;
    }

    FetchWindow window_;
    int64_t delay_us_ = 5000, each_us_ = 0, jitter_us_ = 0;

  private:
    std::mt19937_64 random_{1};
    int64_t now_ = 0, idle_at_ = 0;
    std::deque<Sent> under_way_;
    size_t limits_ = 0, samples_ = 0;
};

TEST_F(FetchWindowTest, ADelayIsNoReasonForLessAtOnce) {
    EXPECT_EQ(window_.limit(0), 1u);
    run_until(50'000);
    EXPECT_EQ(window_.limit(0), 8u);
    run_until(9'000'000);
    EXPECT_EQ(window_.limit(0), 8u);
    EXPECT_EQ(window_.limit(3), 8u);
}

TEST_F(FetchWindowTest, NorIsOneThatVaries) {
    jitter_us_ = 4000;
    run_until(100'000);
    mean_limit();
    run_until(60'000'000);
    EXPECT_GT(mean_limit(), 6);
}

// 262,144 bytes at 100 MB/s.
TEST_F(FetchWindowTest, ARateIsUsedWithoutALongQueue) {
    each_us_ = 2621;
    run_until(100'000);
    mean_limit();
    const double answers = run_until(60'000'000);
    EXPECT_GT(answers, 0.95 * 1e6 / 2621);
    const double mean = mean_limit();  // 7600 us for each that does not wait: 2.9 at once
    EXPECT_GE(mean, 2.5);
    EXPECT_LE(mean, 4.5);
}

TEST_F(FetchWindowTest, WhatTheGuestReadsTakesItsShareOfARate) {
    each_us_ = 2621;
    run_until(5'000'000);
    const size_t alone = window_.limit(0);
    EXPECT_LE(window_.limit(1), (alone + 1) / 2);
    EXPECT_EQ(window_.limit(100), 1u);
}

TEST_F(FetchWindowTest, ATierThatBecomesAnotherOneIsSeen) {
    each_us_ = 2621;
    run_until(5'000'000);
    EXPECT_LT(window_.limit(0), 6u);
    each_us_ = 0;
    run_until(19'000'000);
    EXPECT_EQ(window_.limit(0), 8u);
    each_us_ = 2621;
    delay_us_ = 20'000;
    mean_limit();
    run_until(45'000'000);
    EXPECT_GT(mean_limit(), 6);  // 22,600 us for each that does not wait: 8.6 at once
    delay_us_ = 0;
    run_until(60'000'000);
    mean_limit();
    run_until(80'000'000);
    EXPECT_LT(mean_limit(), 4);
}

}  // namespace
}  // namespace predsnap::test
