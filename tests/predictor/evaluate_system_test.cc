// SPDX-License-Identifier: GPL-2.0-or-later
//
// Policies beside each other on the engine, where what they are worth is known.
#include "tools/predsnapd/evaluate_system.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tools/replay/ideal_cache.h"
#include "trace_on_disk.h"

namespace predsnap::predict::test {
namespace {

constexpr uint64_t kPage = 4096;

// Twenty minutes of a guest: each 30 seconds, at a moment of its own, a page of each of 20 chunks is rewritten, and one of
// each of 20 others is read; in between 6 pages a second are read or written once, and never again.
std::vector<Access> load() {
    std::mt19937 random(1);
    std::vector<Access> accesses;
    uint64_t fresh = 1000;
    for (int64_t second = 0; second < 1300; ++second) {
        const int64_t now_us = second * kSecond;
        for (uint64_t chunk = 0; chunk < 40; ++chunk) {
            if ((second + static_cast<int64_t>(chunk)) % 30 == 0) {
                accesses.push_back({now_us + static_cast<int64_t>(chunk), chunk * kChunkSize, kPage, chunk % 2 == 0 ? Op::kWrite : Op::kRead});
            }
        }
        for (int i = 1; i <= 6; ++i) {
            const Op op = random() % 2 == 0 ? Op::kRead : Op::kWrite;
            accesses.push_back({now_us + i * 100000, fresh * kChunkSize + random() % 16 * kPage, kPage, op});
            fresh += 1 + random() % 2;
        }
    }
    return accesses;
}

const SystemFigures& of(const SystemReport& report, Policy policy) {
    return *std::find_if(report.policies.begin(), report.policies.end(),
                         [&](const SystemFigures& figures) { return figures.policy == policy; });
}

TEST(EvaluateSystem, ThePoliciesDoWhatTheyAreSaidTo) {
    const TraceOnDisk trace(load());
    SystemOptions options;
    options.staging_bytes = 512 << 10;  // 128 pages: what is read and written in between fills it within 22 seconds
    const auto found = evaluate_system(trace.path(), options);
    ASSERT_TRUE(found.ok()) << found.error().message;
    const SystemReport& report = found.value();
    ASSERT_EQ(report.policies.size(), kPolicies.size());
    const SystemFigures &none = of(report, Policy::kNone), &lru = of(report, Policy::kLru),
                        &model = of(report, Policy::kModel), &oracle = of(report, Policy::kOracle);
    // Exact: a cache that is not there finds nothing, and nothing finds more than what knows each block's future.
    EXPECT_EQ(none.read_hits, 0);
    EXPECT_EQ(none.rewrite_hits, 0);
    EXPECT_EQ(none.ranges, 0u);
    EXPECT_GE(report.ideal.best.both_share(), report.ideal.least_recent.both_share());
    const double reads = static_cast<double>(report.ideal.best.read_blocks), writes = static_cast<double>(report.ideal.best.written_blocks);
    for (const SystemFigures& figures : report.policies) {
        const double hits = figures.read_hits * reads + figures.rewrite_hits * writes;
        EXPECT_LE(hits, report.ideal.best.both_share() * (reads + writes) + 0.5) << name_of(figures.policy);
        EXPECT_GT(figures.written_bytes, 1) << name_of(figures.policy);
        EXPECT_GT(figures.restore_s, 0) << name_of(figures.policy);
        EXPECT_LE(figures.image_reads, none.image_reads * 11 / 10) << name_of(figures.policy);
    }
    // The least recently used page is gone before it comes again. Who knows the future keeps the 40, or has learnt to.
    EXPECT_EQ(report.ideal.least_recent.both_share(), 0);
    EXPECT_GT(report.ideal.best.both_share(), 0.15);
    // The engine's own "lru" lets what was read only once go first, so it keeps what is rewritten here.
    EXPECT_GT(oracle.rewrite_hits, 0.1);
    EXPECT_GE(oracle.rewrite_hits, lru.rewrite_hits);
    EXPECT_GT(model.rewrite_hits, 0.9 * oracle.rewrite_hits);
    EXPECT_LE(model.log_bytes, none.log_bytes);
}

TEST(IdealCaches, FindWhatABookSays) {
    // Three pages in turn, in a cache of two: the least recently used is always the one that comes next.
    std::vector<Access> accesses;
    for (int64_t i = 0; i < 30; ++i) {
        accesses.push_back({i * kSecond, static_cast<uint64_t>(i % 3) * kPage, kPage, i % 2 == 0 ? Op::kRead : Op::kWrite});
    }
    const TraceOnDisk trace(accesses);
    replay::SourceOptions source;
    source.trace = trace.path();
    const auto found = replay::ideal_caches(source, 2 * kPage);
    ASSERT_TRUE(found.ok()) << found.error().message;
    EXPECT_EQ(found.value().least_recent.both_share(), 0);
    EXPECT_EQ(found.value().best.reads + found.value().best.writes, 18u);  // two of three, but for the first ones
    const auto all = replay::ideal_caches(source, 3 * kPage);
    ASSERT_TRUE(all.ok());
    EXPECT_EQ(all.value().least_recent.reads + all.value().least_recent.writes, 27u);
    EXPECT_EQ(all.value().best.reads + all.value().best.writes, 27u);
    const auto nothing = replay::ideal_caches(source, 0);
    ASSERT_TRUE(nothing.ok());
    EXPECT_EQ(nothing.value().best.both_share() + nothing.value().least_recent.both_share(), 0);
}

}  // namespace
}  // namespace predsnap::predict::test
