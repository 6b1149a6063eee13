// SPDX-License-Identifier: GPL-2.0-or-later
//
// The model must accept what a correct engine may do and refuse what none may.
#include "model.h"

#include <gtest/gtest.h>

namespace predsnap::sim {
namespace {

using Values = std::vector<Value>;

class ModelTest : public testing::Test {
  protected:
    ModelTest() : model(16, 4, [](uint64_t sector) { return sector >= 8; }) { model.reset(16); }

    // A write of one sector that ran by itself and became batch `sequence`.
    OpId write(uint64_t slot, Value value, uint64_t sequence) {
        const OpId op = begin(slot, value, sequence - 1);
        model.end(op, sequence, true);
        return op;
    }
    OpId begin(uint64_t slot, Value value, uint64_t newest) {
        const OpId op = model.begin(newest);
        model.put(op, slot, 1, value);
        return op;
    }
    bool reads(uint64_t slot, Value value) { return model.may_read(slot, model.tick(), value); }
    bool recovers(uint64_t sequence, uint64_t slot, Value value) {
        return !model.recover(sequence, false) && model.check_recovered(slot, value);
    }

    Model model;
};

TEST_F(ModelTest, NewImageShowsTheBackingDisk) {
    EXPECT_TRUE(reads(0, kZero));
    EXPECT_FALSE(reads(0, 100));
    EXPECT_TRUE(reads(9, kHole));
    EXPECT_FALSE(reads(9, kZero));
}

TEST_F(ModelTest, ReadMustSeeTheLastWrite) {
    write(0, 100, 1);
    write(0, 101, 2);
    EXPECT_TRUE(reads(0, 101));
    EXPECT_FALSE(reads(0, 100));
    EXPECT_FALSE(reads(0, kZero));
    EXPECT_FALSE(reads(1, 101));
}

TEST_F(ModelTest, ReadDuringAWriteSeesOldOrNew) {
    write(0, 100, 1);
    begin(0, 101, 1);
    EXPECT_TRUE(reads(0, 100));
    EXPECT_TRUE(reads(0, 101));
    EXPECT_FALSE(reads(0, kZero));
}

TEST_F(ModelTest, ConcurrentWritesEndInEitherOrderAndStaySo) {
    const OpId a = begin(0, 100, 0);
    const OpId b = begin(0, 101, 0);
    model.end(a, 1, true);
    model.end(b, 2, true);
    EXPECT_TRUE(reads(0, 100));
    EXPECT_TRUE(reads(0, 101));
    model.remember(0, model.tick(), 100);
    EXPECT_TRUE(reads(0, 100));
    EXPECT_FALSE(reads(0, 101));
    EXPECT_EQ(model.at(0, 2), Values{100});
}

TEST_F(ModelTest, ReadThatOverlapsIsNotRemembered) {
    const OpId a = begin(0, 100, 0);
    const uint64_t since = model.tick();
    const OpId b = begin(0, 101, 0);
    model.end(a, 1, true);
    model.remember(0, since, 100);
    model.end(b, 2, true);
    EXPECT_TRUE(reads(0, 101));
}

TEST_F(ModelTest, StatesOfTheHistoryAreKnown) {
    write(0, 100, 1);
    write(0, 101, 2);
    EXPECT_EQ(model.at(0, 0), Values{kHole});
    EXPECT_EQ(model.at(0, 1), Values{100});
    EXPECT_EQ(model.at(0, 2), Values{101});
    EXPECT_EQ(model.at(0, 9), Values{101});
}

TEST_F(ModelTest, FailedWriteMayHaveHappened) {
    write(0, 100, 1);
    const OpId op = begin(0, 101, 1);
    model.end(op, 1, false);
    EXPECT_TRUE(reads(0, 100));
    EXPECT_TRUE(reads(0, 101));
    model.remember(0, model.tick(), 100);
    EXPECT_FALSE(reads(0, 101));
    write(0, 102, 2);
    EXPECT_FALSE(reads(0, 101));
}

TEST_F(ModelTest, FailedWriteMayComeBackAfterACrash) {
    write(0, 100, 1);
    const OpId op = begin(0, 101, 1);
    model.end(op, 1, false);
    model.remember(0, model.tick(), 100);
    EXPECT_TRUE(recovers(2, 0, 101));
}

TEST_F(ModelTest, FailedWriteStaysAwayOnceALaterOneIsDurable) {
    write(0, 100, 1);
    const OpId op = begin(0, 101, 1);
    model.end(op, 1, false);
    model.remember(0, model.tick(), 100);
    write(1, 102, 2);
    model.make_durable(model.tick());
    EXPECT_FALSE(recovers(2, 0, 101));
}

TEST_F(ModelTest, RecoveryIsAPrefix) {
    write(0, 100, 1);
    write(1, 101, 2);
    write(0, 102, 3);
    EXPECT_TRUE(recovers(2, 0, 100));
    EXPECT_TRUE(recovers(2, 1, 101));
    EXPECT_FALSE(recovers(2, 0, 102));    // too new
    EXPECT_FALSE(recovers(2, 1, kZero));  // missing, though a later one could be there
}

TEST_F(ModelTest, FlushedWritesMustSurvive) {
    write(0, 100, 1);
    model.make_durable(model.tick());
    write(1, 101, 2);
    EXPECT_TRUE(model.recover(0, false).has_value());
    EXPECT_TRUE(recovers(1, 0, 100));
    EXPECT_FALSE(recovers(1, 0, kZero));
    EXPECT_TRUE(recovers(1, 1, kZero));
}

TEST_F(ModelTest, FlushDoesNotCoverWritesThatReturnedLater) {
    const OpId op = begin(0, 100, 0);
    const uint64_t flush = model.tick();
    model.end(op, 1, true);
    model.make_durable(flush);
    EXPECT_TRUE(recovers(0, 0, kZero));
}

TEST_F(ModelTest, WriteInFlightAtACrashMaySurvive) {
    write(0, 100, 1);
    begin(0, 101, 1);
    EXPECT_TRUE(recovers(2, 0, 100));
    EXPECT_TRUE(recovers(2, 0, 101));
    EXPECT_FALSE(recovers(1, 0, 101));
}

TEST_F(ModelTest, KilledProcessKeepsWhatReturnedOnce) {
    write(0, 100, 1);
    EXPECT_TRUE(model.recover(0, true).has_value());
    ASSERT_FALSE(model.recover(1, true).has_value());
    EXPECT_FALSE(model.check_recovered(0, kZero));
    model.settle(Values{100});
    EXPECT_FALSE(model.recover(0, false).has_value());  // a power loss later may still take it
}

TEST_F(ModelTest, WhatACrashTookDoesNotComeBack) {
    write(0, 100, 1);
    begin(0, 101, 1);
    ASSERT_FALSE(model.recover(2, false).has_value());
    model.settle(Values{100});
    EXPECT_TRUE(reads(0, 100));
    EXPECT_FALSE(reads(0, 101));
    EXPECT_EQ(model.at(0, 2), Values{100});
    // Numbers after the crash are used again.
    write(0, 102, 3);
    EXPECT_EQ(model.at(0, 3), Values{102});
}

TEST_F(ModelTest, LostWritesAreForgotten) {
    write(0, 100, 1);
    write(0, 101, 2);
    ASSERT_FALSE(model.recover(1, false).has_value());
    model.settle(Values{100});
    EXPECT_EQ(model.at(0, 2), Values{100});
    EXPECT_FALSE(reads(0, 101));
}

TEST_F(ModelTest, RollbackBeginsABranchAndKeepsTheOld) {
    write(0, 100, 1);
    write(0, 101, 2);
    model.rolled_back(3, 1);
    EXPECT_TRUE(reads(0, 100));
    EXPECT_FALSE(reads(0, 101));
    write(0, 102, 4);
    EXPECT_EQ(model.at(0, 2), Values{101});
    EXPECT_EQ(model.at(0, 3), Values{100});
    EXPECT_EQ(model.at(0, 4), Values{102});
    model.rolled_back(5, 2);  // undone
    EXPECT_TRUE(reads(0, 101));
}

TEST_F(ModelTest, CrashTakesAnUnflushedRollbackBack) {
    write(0, 100, 1);
    write(0, 101, 2);
    const OpId op = model.begin(2);
    model.end(op, 3, true);
    model.rolled_back(3, 1);
    EXPECT_TRUE(recovers(2, 0, 101));
    EXPECT_EQ(model.branch(), 0u);
}

TEST_F(ModelTest, ZerosCoverTheBackingDisk) {
    write(9, 100, 1);
    write(9, kZero, 2);
    EXPECT_TRUE(reads(9, kZero));
    EXPECT_FALSE(reads(9, kHole));
    EXPECT_FALSE(reads(9, 100));
    write(9, kHole, 3);
    EXPECT_TRUE(reads(9, kHole));
    EXPECT_FALSE(reads(9, kZero));
}

TEST_F(ModelTest, SizeIsPartOfTheState) {
    write(model.size_slot(), 12, 1);
    EXPECT_EQ(model.at(model.size_slot(), 0), Values{16});
    EXPECT_EQ(model.at(model.size_slot(), 1), Values{12});
}

// A lying disk: a flush that did nothing loses an acknowledged write. The model must notice.
TEST_F(ModelTest, LyingDiskIsCaught) {
    write(0, 100, 1);
    write(0, 101, 2);
    model.make_durable(model.tick());
    EXPECT_TRUE(model.recover(1, false).has_value());
    ASSERT_FALSE(model.recover(2, false).has_value());
    EXPECT_FALSE(model.check_recovered(0, 100));
}

// Batches applied in the wrong order: a view of a state shows what came later.
TEST_F(ModelTest, WrongOrderIsCaught) {
    const OpId a = begin(0, 100, 0);
    const OpId b = begin(0, 101, 0);
    model.end(a, 2, true);
    model.end(b, 2, true);
    model.remember(0, model.tick(), 100);
    EXPECT_FALSE(recovers(2, 0, 101));  // the live disk had shown 100
}

}  // namespace
}  // namespace predsnap::sim
