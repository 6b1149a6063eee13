// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/samples.h"

#include <gtest/gtest.h>

#include <numeric>

#include "random_load.h"

namespace predsnap::predict::test {
namespace {

const Target kTarget{Op::kWrite, 60 * kSecond};

// Samples every 20 seconds of a long load that ends: most chunks are idle in the end.
Samples sampled(size_t rows_max) {
    Activity activity;
    Samples samples({.rows_max = rows_max, .moment_rows_max = 400});
    std::vector<Access> accesses = random_load(3, 1500);
    for (int64_t second = 1500; second < 12000; second += 50) {
        accesses.push_back({second * kSecond, static_cast<uint64_t>(second % 7) * kChunkSize, 4096, Op::kWrite});
    }
    int64_t next_us = 20 * kSecond;
    for (const Access& access : accesses) {
        for (; next_us < access.time_us; next_us += 20 * kSecond) {
            samples.take(Moment(activity, next_us));
            EXPECT_LE(samples.row_count(), rows_max);
        }
        activity.observe(access);
        for (ChunkId id = chunk_of(access.offset); id <= last_chunk_of(access); ++id) {
            samples.happened(id, access.op, access.time_us);
        }
    }
    return samples;
}

double weight_of(const Outcomes& outcomes, bool came) {
    double sum = 0;
    for (size_t i = 0; i < outcomes.labels.size(); ++i) {
        sum += (outcomes.labels[i] > 0.5f) == came ? static_cast<double>(outcomes.weights[i]) : 0;
    }
    return sum;
}

TEST(Samples, ThinnedOutTheyKeepWhatHappened) {
    const int64_t now_us = 12000 * kSecond;
    const Outcomes all = sampled(10'000'000).outcomes(kTarget, now_us);
    const Outcomes some = sampled(30000).outcomes(kTarget, now_us);
    ASSERT_GT(all.known, 100000u);
    EXPECT_LE(some.labels.size(), 30000u);
    EXPECT_EQ(some.labels.size(), some.weights.size());
    // What happened stays, and counts as before; of what did not, old rows become ever fewer.
    EXPECT_NEAR(weight_of(some, true) / weight_of(all, true), 1, 0.1);
    EXPECT_LE(weight_of(some, false), 1.1 * weight_of(all, false));
    EXPECT_GT(static_cast<double>(some.positives), 0.5 * static_cast<double>(all.positives));
}

TEST(Samples, OutcomesThatAreNotKnownYetWeighNothing) {
    const Samples samples = sampled(30000);
    const Target target{Op::kWrite, 600 * kSecond};
    const Outcomes late = samples.outcomes(target, 12000 * kSecond), early = samples.outcomes(target, 11000 * kSecond);
    ASSERT_EQ(early.weights.size(), samples.row_count());
    EXPECT_LT(early.known, late.known);
    for (size_t i = early.known; i < early.weights.size(); ++i) {
        ASSERT_EQ(early.weights[i], 0);
        ASSERT_EQ(early.labels[i], 0);
    }
    for (size_t i = 0; i < early.known; ++i) {
        ASSERT_GT(early.weights[i], 0);
        ASSERT_EQ(early.labels[i], late.labels[i]);
    }
    const Result<TrainingRows> rows = samples.rows(1);
    ASSERT_TRUE(rows.ok());
    EXPECT_EQ(rows.value().count(), samples.row_count());
}

// What happened to a chunk is known to the microsecond, whether its moment is settled by now or not.
TEST(Samples, WhatIsSettledSaysTheSame) {
    Activity activity;
    Samples samples;
    activity.observe({1 * kSecond, 0, 4096, Op::kWrite});
    samples.take(Moment(activity, 20 * kSecond));
    samples.happened(0, Op::kWrite, 80 * kSecond);
    const auto came = [&](int64_t horizon_us, Op op) {
        return samples.outcomes({op, horizon_us}, 10000 * kSecond).labels.front() > 0;
    };
    for (const bool settled : {false, true}) {
        EXPECT_TRUE(came(60 * kSecond, Op::kWrite));
        EXPECT_FALSE(came(60 * kSecond - 1, Op::kWrite));
        EXPECT_FALSE(came(600 * kSecond, Op::kRead));
        if (!settled) {
            samples.take(Moment(activity, 5000 * kSecond));
            samples.happened(0, Op::kRead, 5001 * kSecond);
        }
    }
}

TEST(Samples, RowsTakeNoMoreRoomThanTheyNeed) {
    for (const size_t rows_max : {30000u, 100000u}) {
        const Samples samples = sampled(rows_max);
        ASSERT_GT(samples.row_count(), rows_max / 2);
        EXPECT_LT(samples.memory_bytes(), samples.row_count() * 100) << rows_max;
    }
}

}  // namespace
}  // namespace predsnap::predict::test
