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

double weight_of(const TrainingSet& set, bool came) {
    double sum = 0;
    for (size_t i = 0; i < set.labels.size(); ++i) {
        sum += (set.labels[i] > 0.5f) == came ? static_cast<double>(set.weights[i]) : 0;
    }
    return sum;
}

TEST(Samples, ThinnedOutTheyKeepWhatHappened) {
    const int64_t now_us = 12000 * kSecond;
    const TrainingSet all = sampled(10'000'000).outcomes(kTarget, now_us);
    const TrainingSet some = sampled(30000).outcomes(kTarget, now_us);
    ASSERT_GT(all.rows.count(), 100000u);
    EXPECT_LE(some.rows.count(), 30000u);
    EXPECT_EQ(some.rows.count(), some.labels.size());
    EXPECT_EQ(some.rows.count(), some.weights.size());
    // What happened stays, and counts as before; of what did not, old rows become ever fewer.
    EXPECT_NEAR(weight_of(some, true) / weight_of(all, true), 1, 0.1);
    EXPECT_LE(weight_of(some, false), 1.1 * weight_of(all, false));
    EXPECT_GT(static_cast<double>(some.positives), 0.5 * static_cast<double>(all.positives));
}

}  // namespace
}  // namespace predsnap::predict::test
