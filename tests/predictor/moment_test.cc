// SPDX-License-Identifier: GPL-2.0-or-later
//
// Rows against what a slow, naive computation over all requests says.
#include "tools/predsnapd/moment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "random_load.h"
#include "tools/predsnapd/heuristics.h"

namespace predsnap::predict::test {
namespace {

// All there is to know: for each chunk, when it was read and written.
struct Naive {
    std::map<ChunkId, std::array<std::vector<int64_t>, 2>> times;
    std::array<std::vector<int64_t>, 2> requests;

    explicit Naive(const std::vector<Access>& accesses) {
        for (const Access& access : accesses) {
            requests[index_of(access.op)].push_back(access.time_us);
            for (ChunkId id = chunk_of(access.offset); id <= chunk_of(access.offset + access.length - 1); ++id) {
                times[id][index_of(access.op)].push_back(access.time_us);
            }
        }
    }
    static double faded(const std::vector<int64_t>& times, int64_t now_us, double constant_s) {
        double sum = 0;
        for (const int64_t time_us : times) {
            sum += std::exp(-static_cast<double>(now_us - time_us) * 1e-6 / constant_s);
        }
        return sum;
    }
    static double age(const std::vector<int64_t>& times, int64_t now_us) {
        return times.empty() ? NAN : std::log2(1 + static_cast<double>(now_us - times.back()) * 1e-6);
    }
    // Requests within a second are one visit.
    static std::vector<double> gaps_s(const std::vector<int64_t>& times) {
        std::vector<double> gaps;
        for (size_t i = 1; i < times.size(); ++i) {
            if (times[i] - times[i - 1] >= kSecond) {
                gaps.push_back(static_cast<double>(times[i] - times[i - 1]) * 1e-6);
            }
        }
        return gaps;
    }
    static double hazard(const std::vector<int64_t>& times, int64_t now_us, double horizon_s) {
        std::vector<double> gaps = gaps_s(times);
        gaps.erase(gaps.begin(), gaps.end() - std::min<ptrdiff_t>(8, static_cast<ptrdiff_t>(gaps.size())));
        const double age_s = static_cast<double>(now_us - times.back()) * 1e-6;
        double longer = 0, ended = 0;
        for (const double gap : gaps) {
            longer += gap > age_s ? 1 : 0;
            ended += gap > age_s && gap <= age_s + horizon_s ? 1 : 0;
        }
        return gaps.empty() ? NAN : ended / (longer + 1);
    }
    // Whether gaps are told apart from the present one: they are kept as logarithms, in steps of 0.03%.
    static bool clear(const std::vector<int64_t>& times, int64_t now_us, double horizon_s) {
        const double age_s = static_cast<double>(now_us - times.back()) * 1e-6;
        const std::vector<double> gaps = gaps_s(times);
        return std::none_of(gaps.begin(), gaps.end(), [&](double gap) {
            return std::abs(gap / age_s - 1) < 1e-3 || std::abs(gap / (age_s + horizon_s) - 1) < 1e-3;
        });
    }
    static double windows(const std::vector<int64_t>& times, int64_t now_us, int64_t count) {
        std::set<int64_t> found;
        for (const int64_t time_us : times) {
            if (now_us / kWindow - time_us / kWindow < count) {
                found.insert(time_us / kWindow);
            }
        }
        return static_cast<double>(found.size());
    }
    double region(ChunkId id, uint32_t shift, Op op, int64_t now_us, double constant_s) const {
        double sum = 0;
        for (const auto& [chunk, of_chunk] : times) {
            sum += chunk >> shift == id >> shift ? faded(of_chunk[index_of(op)], now_us, constant_s) : 0;
        }
        return sum;
    }
    bool lately(ChunkId id, int64_t now_us) const {
        const auto found = times.find(id);
        return found != times.end() && !found->second[1].empty() && found->second[1].back() > now_us - 60 * kSecond;
    }
};

class MomentTest : public testing::Test {
  protected:
    MomentTest() : accesses_(random_load(1, 500)), naive_(accesses_) {
        for (const Access& access : accesses_) {
            activity_.observe(access);
        }
    }
    double value(const Moment& moment, size_t candidate, std::string_view name) const {
        const auto names = feature_names();
        std::vector<float> row(names.size());
        moment.features(candidate, row);
        return row[static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin())];
    }
    void expect(const Moment& moment, size_t candidate, const std::string& name, double expected) {
        const double found = value(moment, candidate, name);
        if (std::isnan(expected) || std::isnan(found)) {
            EXPECT_EQ(std::isnan(expected), std::isnan(found)) << name;
            return;
        }
        EXPECT_NEAR(found, expected, 2e-3 * std::max(1.0, std::abs(expected)))
            << name << " of chunk " << moment.candidates()[candidate].id;
    }

    const std::vector<Access> accesses_;
    const Naive naive_;
    Activity activity_;
    const int64_t now_us_ = 507 * kSecond + 123456;
};

TEST_F(MomentTest, HistoriesAreThoseOfASlowComputation) {
    const Moment moment(activity_, now_us_);
    size_t seen = 0, clear = 0;
    for (size_t i = 0; i < moment.candidates().size(); ++i) {
        if (!moment.candidates()[i].seen()) {
            continue;
        }
        ++seen;
        for (const Op op : kOps) {
            const std::string prefix = op == Op::kRead ? "read-" : "write-";
            const std::vector<int64_t>& times = naive_.times.at(moment.candidates()[i].id)[index_of(op)];
            expect(moment, i, prefix + "age", Naive::age(times, now_us_));
            expect(moment, i, prefix + "count-10", Naive::faded(times, now_us_, 10));
            expect(moment, i, prefix + "count-600", Naive::faded(times, now_us_, 600));
            expect(moment, i, prefix + "count-86400", Naive::faded(times, now_us_, 86400));
            expect(moment, i, prefix + "windows-6", Naive::windows(times, now_us_, 7));
            expect(moment, i, prefix + "windows-60", Naive::windows(times, now_us_, 61));
            const std::vector<double> gaps = times.empty() ? std::vector<double>() : Naive::gaps_s(times);
            expect(moment, i, prefix + "visits",
                   times.empty() ? 0 : std::min<double>(32, static_cast<double>(gaps.size() + 1)));
            expect(moment, i, prefix + "gap-last", gaps.empty() ? NAN : std::log2(gaps.back()));
            if (times.empty() || Naive::clear(times, now_us_, 60)) {
                expect(moment, i, prefix + "hazard-60", gaps.empty() ? NAN : Naive::hazard(times, now_us_, 60));
                ++clear;
            }
        }
    }
    EXPECT_EQ(seen, naive_.times.size());
    EXPECT_GT(clear, seen);  // nearly all of both kinds
}

TEST_F(MomentTest, SurroundingsAreThoseOfASlowComputation) {
    const Moment moment(activity_, now_us_);
    for (size_t i = 0; i < moment.candidates().size(); ++i) {
        const ChunkId id = moment.candidates()[i].id;
        const auto left = naive_.times.find(id - 1);
        expect(moment, i, "left-write-age", left == naive_.times.end() ? NAN : Naive::age(left->second[1], now_us_));
        expect(moment, i, "region16-write-600", naive_.region(id, 4, Op::kWrite, now_us_, 600));
        expect(moment, i, "region256-read-60", naive_.region(id, 8, Op::kRead, now_us_, 60));
        expect(moment, i, "disk-write-60", Naive::faded(naive_.requests[1], now_us_, 60));
        ChunkId below = 1;
        while (below < 1024 && below <= id && !naive_.lately(id - below, now_us_)) {
            ++below;
        }
        expect(moment, i, "below-distance", below > id ? 1024.0 : static_cast<double>(below));
    }
}

TEST_F(MomentTest, ChunksAheadOfAStreamAreCandidatesBeforeTheyWereEverSeen) {
    const Moment moment(activity_, now_us_);
    const ChunkId last = naive_.times.rbegin()->first;  // the stream's
    const auto ahead = std::count_if(moment.candidates().begin(), moment.candidates().end(),
                                     [&](const Candidate& candidate) { return !candidate.seen() && candidate.id > last; });
    EXPECT_GE(ahead, 15);
    EXPECT_TRUE(std::is_sorted(moment.candidates().begin(), moment.candidates().end(),
                               [](const Candidate& a, const Candidate& b) { return a.id < b.id; }));
}

TEST_F(MomentTest, SuccessorsAreExpectedWhereWhatCameBeforeThemCame) {
    Activity activity;
    for (int round = 0; round < 20; ++round) {  // 3 is always followed by 9
        for (const ChunkId id : {ChunkId{1}, ChunkId{3}, ChunkId{9}}) {
            activity.observe({round * 100 * kSecond + static_cast<int64_t>(id) * kSecond, id * kChunkSize, 4096, Op::kWrite});
        }
    }
    activity.observe({5000 * kSecond, 3 * kChunkSize, 4096, Op::kWrite});
    const Moment moment(activity, 5001 * kSecond);
    for (size_t i = 0; i < moment.candidates().size(); ++i) {
        EXPECT_NEAR(moment.expected_next(Op::kWrite)[i], moment.candidates()[i].id == 9 ? 1 : 0, 0.01);
    }
}

// Of 100 chunks written once, and 10 that come back every 20 seconds, ten are likely to come within a minute.
TEST(Heuristics, BeforeAnythingWasJudgedAsMuchIsExpectedAsCameBack) {
    Activity activity;
    for (int64_t second = 0; second < 400; ++second) {
        if (second % 4 == 0) {
            activity.observe({second * kSecond, static_cast<uint64_t>(1000 + second) * kChunkSize, 4096, Op::kWrite});
        }
        if (second % 2 == 0) {
            activity.observe({second * kSecond, static_cast<uint64_t>(second / 2 % 10) * 3 * kChunkSize, 4096, Op::kWrite});
        }
    }
    const Moment moment(activity, 400 * kSecond);
    const Target target{Op::kWrite, 60 * kSecond};
    const std::vector<float> said = unjudged_probabilities(moment, target);
    const std::vector<float> recency = scores(Heuristic::kRecency, moment, target);
    EXPECT_NEAR(std::accumulate(said.begin(), said.end(), 0.0), 10, 2);
    for (size_t i = 0; i < said.size(); ++i) {
        for (size_t k = 0; k < i; ++k) {
            EXPECT_EQ(recency[i] > recency[k], said[i] > said[k]);
        }
    }
}

}  // namespace
}  // namespace predsnap::predict::test
