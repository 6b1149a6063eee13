// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/history.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

namespace predsnap {
namespace {

template <typename T>
std::vector<uint8_t> record(format::RecordType type, const T& payload) {
    std::vector<uint8_t> bytes;
    put_record(bytes, type, &payload, sizeof(payload));
    return bytes;
}
std::vector<uint8_t> rollback_to(uint64_t target) {
    return record(format::RecordType::rollback, format::RollbackRecord{target});
}
std::vector<uint8_t> resize_to(uint64_t size) {
    return record(format::RecordType::resize, format::ResizeRecord{size});
}
std::vector<uint8_t> create(const std::string& name, uint64_t id) {
    SnapshotInfo info;
    info.name = name;
    info.id = id;
    std::vector<uint8_t> bytes;
    put_snapshot(bytes, info);
    return bytes;
}

// What each state is, kept whole: the batches that made it, oldest first, and its size. A rollback's
// state is its target's.
struct NaiveState {
    std::vector<uint64_t> batches;
    uint64_t size = 0;
};

// Follows the steps of a path from a state, checking that each undoes or redoes what is there.
std::vector<uint64_t> walk(std::vector<uint64_t> batches, const std::vector<PathStep>& steps,
                           const std::map<uint64_t, uint64_t>& rollbacks) {
    for (const PathStep& step : steps) {
        for (uint64_t n = 0; n <= step.last - step.first; ++n) {
            const uint64_t sequence = step.undo ? step.last.value - n : step.first.value + n;
            if (rollbacks.contains(sequence)) {
                continue;  // a rollback changes nothing by itself
            }
            if (step.undo) {
                EXPECT_FALSE(batches.empty());
                EXPECT_EQ(batches.back(), sequence);
                batches.pop_back();
            } else {
                batches.push_back(sequence);
            }
        }
    }
    return batches;
}

class RandomHistory : public ::testing::TestWithParam<int> {
  protected:
    void SetUp() override {
        std::mt19937 random(static_cast<unsigned>(GetParam()));
        history.initial_size = 4096;
        states.push_back({{}, 4096});
        const int kStates = 120;
        for (uint64_t sequence = 1; sequence <= kStates; ++sequence) {
            NaiveState state = states.back();
            std::vector<uint8_t> records;
            const unsigned what = random() % 10;
            if (what < 2) {
                const uint64_t target = random() % sequence;
                state = states[target];
                records = rollback_to(target);
                rollbacks[sequence] = target;
            } else {
                state.batches.push_back(sequence);
            }
            if (what == 3) {
                state.size = (1 + random() % 100) * 512;
                records = resize_to(state.size);
            }
            ASSERT_TRUE(history.apply(Sequence(sequence), Time(1), records).ok());
            states.push_back(state);
        }
    }

    History history;
    std::vector<NaiveState> states;
    std::map<uint64_t, uint64_t> rollbacks;
};

TEST_P(RandomHistory, APathLeadsFromEveryStateToEveryOther) {
    for (uint64_t from = 0; from < states.size(); ++from) {
        for (uint64_t to = 0; to < states.size(); ++to) {
            const auto steps = history.path(Sequence(from), Sequence(to));
            ASSERT_EQ(walk(states[from].batches, steps, rollbacks), states[to].batches)
                << "from " << from << " to " << to;
        }
    }
}

TEST_P(RandomHistory, APathToTheSameStateIsEmpty) {
    for (uint64_t state = 0; state < states.size(); ++state) {
        EXPECT_TRUE(history.path(Sequence(state), Sequence(state)).empty());
    }
}

TEST_P(RandomHistory, EveryStateHasItsSize) {
    for (uint64_t state = 0; state < states.size(); ++state) {
        EXPECT_EQ(history.size_at(Sequence(state)), states[state].size) << state;
    }
}

TEST_P(RandomHistory, BranchesShareOutAllStates) {
    const auto branches = history.branches(Sequence(states.size() - 1));
    ASSERT_EQ(branches.size(), rollbacks.size() + 1);
    for (uint64_t state = 0; state < states.size(); ++state) {
        const BranchInfo& branch = branches[history.branch_of(Sequence(state))];
        EXPECT_GE(Sequence(state), branch.first);
        EXPECT_LE(Sequence(state), branch.last);
    }
    EXPECT_TRUE(branches.back().current);
    for (size_t i = 1; i < branches.size(); ++i) {
        EXPECT_EQ(branches[i].parent.value, rollbacks.at(branches[i].first.value));
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomHistory, ::testing::Range(0, 12));

TEST(HistoryTest, WithoutRollbacksAPathIsOneStep) {
    const History history;
    const auto forth = history.path(Sequence(3), Sequence(9));
    ASSERT_EQ(forth.size(), 1u);
    EXPECT_EQ(forth[0].first, Sequence(4));
    EXPECT_EQ(forth[0].last, Sequence(9));
    EXPECT_FALSE(forth[0].undo);
    EXPECT_TRUE(history.path(Sequence(9), Sequence(3))[0].undo);
}

TEST(HistoryTest, ASnapshotIsOfTheStateBeforeItsBatch) {
    History history;
    ASSERT_TRUE(history.apply(Sequence(5), Time(70), create("a", 1)).ok());
    ASSERT_NE(history.find("a"), nullptr);
    EXPECT_EQ(history.find("a")->sequence, Sequence(4));
    EXPECT_EQ(history.find("a")->time, Time(70));
    EXPECT_EQ(history.next_snapshot_id, 2u);
}

TEST(HistoryTest, ADeletedSnapshotIsGoneAndItsIdIsNotUsedAgain) {
    History history;
    ASSERT_TRUE(history.apply(Sequence(5), Time(70), create("a", 1)).ok());
    ASSERT_TRUE(history.apply(Sequence(6), Time(71),
                              record(format::RecordType::snapshot_delete,
                                     format::SnapshotDeleteRecord{1})).ok());
    EXPECT_EQ(history.find("a"), nullptr);
    EXPECT_EQ(history.next_snapshot_id, 2u);
}

TEST(HistoryTest, APointIsRemembered) {
    History history;
    ASSERT_TRUE(history.apply(Sequence(5), Time(70),
                              record(format::RecordType::point, format::PointRecord{4, 60, 1})).ok());
    EXPECT_EQ(history.last_point, Sequence(4));
    EXPECT_EQ(history.last_point_time, Time(60));
}

TEST(HistoryTest, WhatLiesInTheFutureIsRefused) {
    History history;
    EXPECT_FALSE(history.apply(Sequence(5), Time(), rollback_to(5)).ok());
    EXPECT_FALSE(history.apply(Sequence(5), Time(),
                               record(format::RecordType::point, format::PointRecord{5, 60, 1})).ok());
}

TEST(HistoryTest, ImpossibleSizesAreRefused) {
    History history;
    EXPECT_FALSE(history.apply(Sequence(5), Time(), resize_to(513)).ok());
    EXPECT_FALSE(history.apply(Sequence(5), Time(), resize_to(kMaxSize + 512)).ok());
}

TEST(HistoryTest, UnknownRecordsAreRefused) {
    History history;
    EXPECT_FALSE(history.apply(Sequence(5), Time(), record(static_cast<format::RecordType>(99), 1)).ok());
}

TEST(HistoryTest, RecordsOfAWrongLengthAreRefused) {
    History history;
    EXPECT_FALSE(history.apply(Sequence(5), Time(), record(format::RecordType::resize, 'x')).ok());
    EXPECT_FALSE(history.apply(Sequence(5), Time(), record(format::RecordType::point, 'x')).ok());
    EXPECT_FALSE(history.apply(Sequence(5), Time(), create("", 1)).ok());
    EXPECT_FALSE(history.apply(Sequence(5), Time(), create(std::string(256, 'n'), 1)).ok());
    EXPECT_TRUE(history.apply(Sequence(5), Time(), create(std::string(255, 'n'), 1)).ok());
}

TEST(HistoryTest, RecordsCutShortAreRefused) {
    const std::vector<uint8_t> bytes = create("name", 1);
    for (size_t length = 1; length < bytes.size(); ++length) {
        History history;
        EXPECT_FALSE(history.apply(Sequence(5), Time(), std::span(bytes).first(length)).ok()) << length;
    }
}

TEST(HistoryTest, ASnapshotRecordKeepsAllItHolds) {
    SnapshotInfo info;
    info.id = 3;
    info.name = "before upgrade";
    info.sequence = Sequence(8);
    info.time = Time(-5);
    info.disk_size = 1 << 30;
    info.vm_state_size = 12345;
    info.vm_clock_ns = 99;
    info.icount = 7;
    info.horizon_s = 3600;
    std::vector<uint8_t> bytes;
    put_snapshot(bytes, info);
    RecordReader reader(bytes);
    const auto read = reader.next();
    ASSERT_TRUE(read.ok() && read.value());
    const SnapshotInfo parsed = parse_snapshot(read.value()->payload).take();
    EXPECT_EQ(parsed.id, info.id);
    EXPECT_EQ(parsed.name, info.name);
    EXPECT_EQ(parsed.sequence, info.sequence);
    EXPECT_EQ(parsed.time, info.time);
    EXPECT_EQ(parsed.disk_size, info.disk_size);
    EXPECT_EQ(parsed.vm_state_size, info.vm_state_size);
    EXPECT_EQ(parsed.vm_clock_ns, info.vm_clock_ns);
    EXPECT_EQ(parsed.icount, info.icount);
    EXPECT_EQ(parsed.horizon_s, info.horizon_s);
}

}  // namespace
}  // namespace predsnap
