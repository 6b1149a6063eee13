// SPDX-License-Identifier: GPL-2.0-or-later
//
// A new disk begins with the models of the one that is most like it, and these win on its own data before they serve.
#include "tools/predsnapd/cold_start.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

namespace predsnap::predict::test {
namespace {

const Target kTarget{Op::kWrite, 60 * kSecond};

Forecaster::Options options() {
    Forecaster::Options options;
    options.targets = {kTarget};
    options.booster.rounds = 20;
    return options;
}

// Chunks that are written every `period` seconds, each at a moment of its own: what was written last comes last.
void run(Forecaster& forecaster, int64_t from_s, int64_t to_s, int64_t period, uint32_t seed) {
    std::mt19937 random(seed);
    for (int64_t second = from_s; second < to_s; ++second) {
        if (second % 60 == 0) {
            forecaster.advance(second * kSecond);
            forecaster.forecast(second * kSecond);
        }
        const auto chunk = static_cast<uint64_t>(second % period);
        forecaster.observe({second * kSecond, (chunk * 5 + seed) * kChunkSize, 4096, Op::kWrite});
        if (random() % 4 == 0) {
            forecaster.observe({second * kSecond, (50000 + random() % 500) * kChunkSize, 8192, Op::kRead});
        }
    }
}

// Large reads in order, and a hot spot.
void run_another_kind(Forecaster& forecaster, int64_t to_s) {
    for (int64_t second = 0; second < to_s; ++second) {
        if (second % 60 == 0) {
            forecaster.advance(second * kSecond);
            forecaster.forecast(second * kSecond);
        }
        forecaster.observe({second * kSecond, static_cast<uint64_t>(second) * 4 * kChunkSize, 4 * kChunkSize, Op::kRead});
        forecaster.observe({second * kSecond, static_cast<uint64_t>(second * second % 200) * kChunkSize, 65536, Op::kWrite});
    }
}

class ColdStart : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_NE(mkdtemp(folder_), nullptr);
        store_ = ModelStore::open(folder_).take();
    }
    void TearDown() override { EXPECT_EQ(std::system((std::string("rm -r ") + folder_).c_str()), 0); }
    void keep(const char* disk, Forecaster& forecaster) {
        ASSERT_TRUE(forecaster.train().ok());
        ASSERT_NE(forecaster.model(0), nullptr);
        ASSERT_TRUE(keep_models(*store_, disk, forecaster).ok());
    }

    char folder_[32] = "/tmp/predsnap-cold-XXXXXX";
    std::optional<ModelStore> store_;
    std::vector<std::string> messages_;
};

TEST_F(ColdStart, TheMostSimilarDiskLendsItsModelWhichWinsBeforeItServes) {
    Forecaster alike(options()), other(options()), fresh(options());
    run(alike, 0, 3600, 420, 1);
    ASSERT_TRUE(alike.train().ok());
    run(alike, 3600, 5400, 420, 1);
    keep("alike", alike);
    run_another_kind(other, 3600);
    ASSERT_TRUE(other.train().ok());
    run_another_kind(other, 3600);
    keep("other", other);

    run(fresh, 0, 100, 400, 3);
    EXPECT_FALSE(wants_models(fresh));
    run(fresh, 100, 1200, 400, 3);
    ASSERT_TRUE(wants_models(fresh));
    const auto lender = borrow_models(*store_, "fresh", fresh, messages_);
    ASSERT_TRUE(lender.ok());
    EXPECT_EQ(lender.value(), "alike");
    EXPECT_FALSE(wants_models(fresh));
    EXPECT_NE(fresh.contest(0).champion(), kModelMethod);
    EXPECT_LT(fresh.contest(0).standing(kModelMethod), 0);  // no word of it is believed yet
    run(fresh, 1200, 3000, 400, 3);
    const Contest& contest = fresh.contest(0);
    EXPECT_GT(contest.standing(kModelMethod), 1.2 * contest.standing(contest.best_rule()));
    EXPECT_GE(contest.champion(), kModelMethod);
}

TEST_F(ColdStart, NobodyLendsWhatDidNotWin) {
    Forecaster forecaster(options()), fresh(options());
    run(forecaster, 0, 1800, 420, 1);
    keep("d", forecaster);
    run(fresh, 0, 300, 420, 3);
    const auto own = borrow_models(*store_, "d", fresh, messages_);
    ASSERT_TRUE(own.ok());
    EXPECT_EQ(own.value(), "");  // it is no other
    ASSERT_TRUE(store_->save("d", kTarget, *forecaster.model(0), {.standing = 0.1, .best_other = 0.2, .serves = false}).ok());
    const auto loser = borrow_models(*store_, "fresh", fresh, messages_);
    ASSERT_TRUE(loser.ok());
    EXPECT_EQ(loser.value(), "");
    EXPECT_EQ(fresh.model(0), nullptr);
}

TEST(Profile, IsFarFromWhatIsOfAnotherKind) {
    Forecaster one(options()), two(options()), other(options());
    run(one, 0, 1200, 420, 1);
    run(two, 0, 1200, 400, 2);
    run_another_kind(other, 1200);
    const Profile a = one.samples().profile(), b = two.samples().profile(), c = other.samples().profile();
    EXPECT_EQ(distance(a, a), 0);
    EXPECT_LT(distance(a, b), distance(a, c));
    EXPECT_EQ(distance(a, c), distance(c, a));
    EXPECT_LE(distance(a, c), 1);
    EXPECT_EQ(distance(a, Profile()), 1);
    const auto back = Profile::parse(a.bytes());
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(distance(a, back.value()), 0);
    EXPECT_FALSE(Profile::parse("abc").ok());
    EXPECT_FALSE(Profile::parse(std::string(a.bytes().size(), '\xff')).ok());
}

}  // namespace
}  // namespace predsnap::predict::test
