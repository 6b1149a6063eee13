// SPDX-License-Identifier: GPL-2.0-or-later
//
// The forecaster over time: it learns what can be learnt, and nothing of the future.
#include "tools/predsnapd/evaluate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "random_load.h"
#include "tools/predsnapd/evaluate_text.h"
#include "trace_on_disk.h"

namespace predsnap::predict::test {
namespace {

constexpr int64_t kTrainAt = 600 * kSecond;
const Target kTarget{Op::kWrite, 60 * kSecond};

// All forecasts of a run over the accesses: one a minute, one training.
std::vector<Forecast> forecasts(const std::vector<Access>& accesses) {
    Forecaster::Options options;
    options.targets = {kTarget};
    options.booster.rounds = 15;
    Forecaster forecaster(options);
    std::vector<Forecast> made;
    int64_t next_us = 60 * kSecond;
    for (const Access& access : accesses) {
        for (; next_us < access.time_us; next_us += 60 * kSecond) {
            forecaster.advance(next_us);
            if (next_us == kTrainAt) {
                EXPECT_TRUE(forecaster.train().ok());
            }
            made.push_back(std::move(forecaster.forecast(next_us)[0]));
        }
        forecaster.observe(access);
    }
    return made;
}

TEST(Leakage, ShufflingTheFutureChangesNoPredictionOfThePast) {
    const std::vector<Access> accesses = random_load(5, 1200);
    constexpr int64_t kNow = 900 * kSecond;
    std::vector<Access> shuffled = accesses;
    const auto future = std::find_if(shuffled.begin(), shuffled.end(), [](const Access& a) { return a.time_us > kNow; });
    std::vector<Access> others(future, shuffled.end());
    std::shuffle(others.begin(), others.end(), std::mt19937(6));
    for (auto at = future; at != shuffled.end(); ++at) {  // the times stay, what was done then is another
        const Access& other = others[static_cast<size_t>(at - future)];
        at->offset = other.offset;
        at->length = other.length;
        at->op = other.op;
    }
    const std::vector<Forecast> one = forecasts(accesses), two = forecasts(shuffled);
    ASSERT_EQ(one.size(), two.size());
    size_t same = 0, with_model = 0;
    bool differs_later = false;
    for (size_t i = 0; i < one.size(); ++i) {
        if (one[i].time_us > kNow) {
            differs_later |= one[i].served != two[i].served;
            continue;
        }
        EXPECT_EQ(one[i].chunks, two[i].chunks);
        EXPECT_EQ(one[i].scores, two[i].scores) << "at " << one[i].time_us;
        EXPECT_EQ(one[i].served, two[i].served);
        with_model += one[i].scores[kModelMethod].empty() ? 0 : 1;
        ++same;
    }
    EXPECT_EQ(same, 15u);
    EXPECT_GE(with_model, 5u);
    EXPECT_TRUE(differs_later);  // else nothing was tested
}

TEST(Evaluate, LearnsARhythmThatNoHeuristicKnows) {
    // Each chunk is written every 7 minutes, at a moment of its own: what was written last comes last.
    std::vector<Access> accesses;
    for (int64_t second = 0; second < 3600; ++second) {
        const auto chunk = static_cast<uint64_t>(second % 420);
        accesses.push_back({second * kSecond, chunk * 5 * kChunkSize, 4096, Op::kWrite});
    }
    const TraceOnDisk trace(accesses);
    EvaluateOptions options;
    options.targets = {kTarget};
    const auto report = evaluate(trace.path(), options);
    ASSERT_TRUE(report.ok()) << report.error().message;
    const TargetReport& target = report.value().targets[0];
    EXPECT_GT(target.quality[kServed].average_precision, 0.9);
    EXPECT_GT(target.ratio(kServed), 2);
    EXPECT_LT(target.quality[kServed].calibration.error(), 0.03);
    EXPECT_NEAR(target.base_rate, 60.0 / 420, 0.01);
    EXPECT_EQ(target.missed, 0u);
}

TEST(Evaluate, WhereNothingCanBeLearntTheModelDoesNoHarm) {
    std::mt19937 random(8);
    std::vector<Access> accesses;
    for (int64_t i = 0; i < 3600 * 2; ++i) {
        accesses.push_back({i * kSecond / 2, random() % 1000 * kChunkSize, 4096, Op::kWrite});
    }
    const TraceOnDisk trace(accesses);
    EvaluateOptions options;
    options.targets = {kTarget};
    const auto report = evaluate(trace.path(), options);
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_GT(report.value().targets[0].ratio(kServed), 0.93);
}

TEST(Evaluate, ReportsAreWritten) {
    const TraceOnDisk trace(random_load(9, 1500));
    EvaluateOptions options;
    options.targets = {kTarget, {Op::kRead, 10 * kSecond}};
    options.map = true;
    const auto report = evaluate(trace.path(), options);
    ASSERT_TRUE(report.ok()) << report.error().message;
    const std::string json = to_json({report.value()});
    for (const char* name : {"average-precision", "base-rate", "recall-at-5", "calibration", "oracle", "successor", "model"}) {
        EXPECT_NE(json.find(name), std::string::npos) << name;
    }
    char folder[] = "/tmp/predsnap-plot-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    ASSERT_TRUE(plot(report.value(), folder).ok());
    const std::string command = std::string("test $(cat ") + folder + "/*.svg | grep -c '</svg>') = 6 && rm -r " + folder;
    EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST(Evaluate, SaysWhatIsWrongWithATrace) {
    const auto report = evaluate("/nonexistent", {});
    ASSERT_FALSE(report.ok());
    EXPECT_NE(report.error().message.find("/nonexistent"), std::string::npos);
}

}  // namespace
}  // namespace predsnap::predict::test
