// SPDX-License-Identifier: GPL-2.0-or-later
//
// Snapshots, rollback and views.
#include "image_test.h"

namespace predsnap::test {
namespace {

class SnapshotsTest : public ImageTest {
  protected:
    Result<void> write_vm_state(uint64_t position, uint8_t value) {
        std::vector<uint8_t> data(4096, value);
        const iovec buffer{data.data(), data.size()};
        return engine->write_vm_state(position, {&buffer, 1});
    }
    template <typename Source>
    int vm_state_byte(Source& source, uint64_t position) {
        std::vector<uint8_t> data(4096, 0xff);
        const iovec buffer{data.data(), data.size()};
        EXPECT_TRUE(source.read_vm_state(position, {&buffer, 1}).ok());
        return data[100];
    }
    void must_go_to(const Moment& moment, const Stamps& content) {
        const auto gone = engine->rollback(moment);
        ASSERT_TRUE(gone.ok()) << gone.error().message;
        now = content;
        EXPECT_EQ(this->content(), now);
    }
};

TEST_F(SnapshotsTest, ASnapshotNamesTheStateItWasMadeIn) {
    must_write(0, 8);
    const Stamps then = now;
    const SnapshotInfo made = snapshot("a");
    must_write(0, 8);
    EXPECT_EQ(content_at(at("a")), then);
    EXPECT_EQ(made.sequence, Sequence(1));
    EXPECT_EQ(made.disk_size, kTestSectors * kSectorSize);
}

TEST_F(SnapshotsTest, ASnapshotIsDurable) {
    must_write(0, 8);
    snapshot("a");
    lose_power_and_open();
    EXPECT_EQ(content_at(at("a")), now);
}

TEST_F(SnapshotsTest, ASnapshotIsOneSmallBatch) {
    must_write(0, 8);
    const uint64_t before = engine->stats().batch_bytes;
    snapshot("a");
    EXPECT_EQ(engine->stats().batch_bytes - before, kBlockSize);
}

TEST_F(SnapshotsTest, NamesAreUniqueAndNotEmpty) {
    snapshot("a");
    SnapshotInfo info;
    info.name = "a";
    EXPECT_EQ(engine->snapshot_create(info).error().code, EEXIST);
    info.name = "";
    EXPECT_EQ(engine->snapshot_create(info).error().code, EINVAL);
    info.name = std::string(256, 'n');
    EXPECT_EQ(engine->snapshot_create(info).error().code, EINVAL);
}

TEST_F(SnapshotsTest, ADeletedSnapshotIsForgotten) {
    snapshot("a");
    snapshot("b");
    ASSERT_TRUE(engine->snapshot_delete("a").ok());
    EXPECT_EQ(engine->snapshot_delete("a").error().code, ENOENT);
    kill_and_open();
    ASSERT_EQ(engine->snapshots().size(), 1u);
    EXPECT_EQ(engine->snapshots()[0].name, "b");
}

TEST_F(SnapshotsTest, IdsAreNotUsedAgain) {
    const uint64_t first = snapshot("a").id;
    ASSERT_TRUE(engine->snapshot_delete("a").ok());
    kill_and_open();
    EXPECT_GT(snapshot("a").id, first);
}

TEST_F(SnapshotsTest, UnknownSnapshotsAreNamedInTheError) {
    const auto view = engine->open_view(at("nightly"));
    ASSERT_FALSE(view.ok());
    EXPECT_EQ(view.error().code, ENOENT);
    EXPECT_NE(view.error().message.find("nightly"), std::string::npos);
    EXPECT_EQ(engine->rollback(at("nightly")).error().code, ENOENT);
}

TEST_F(SnapshotsTest, AMomentIsNamedInOneWay) {
    Moment two;
    two.sequence = Sequence(0);
    two.snapshot = "a";
    EXPECT_EQ(engine->resolve(two).error().code, EINVAL);
    EXPECT_EQ(engine->resolve(Moment()).error().code, EINVAL);
}

TEST_F(SnapshotsTest, SequencesPastTheEndAreUnknown) {
    must_write(0, 8);
    EXPECT_EQ(engine->open_view(at(Sequence(2))).error().code, ENOENT);
}

TEST_F(SnapshotsTest, EveryStateCanBeViewed) {
    std::vector<Stamps> states{now};
    for (uint64_t i = 0; i < 60; ++i) {
        if (i % 7 == 3) {
            ASSERT_TRUE(zero(i * 23 % 2000, 30).ok());
        } else {
            must_write(i * 37 % 2000, 1 + i * 11 % 40);
        }
        states.push_back(now);
    }
    for (size_t state = 0; state < states.size(); ++state) {
        EXPECT_EQ(content_at(at(Sequence(state))), states[state]) << state;
    }
}

TEST_F(SnapshotsTest, ViewsStayWhatTheyAreWhileTheDiskIsWritten) {
    must_write(0, 100);
    const Stamps then = now;
    auto view = engine->open_view(at(sequence())).take();
    must_write(50, 100);
    ASSERT_TRUE(zero(0, 10).ok());
    EXPECT_EQ(content(*view), then);
    EXPECT_EQ(content(), now);
}

TEST_F(SnapshotsTest, ViewsStayWhatTheyAreOverARollback) {
    must_write(0, 100);
    const Stamps first = now;
    snapshot("a");
    must_write(50, 100);
    const Stamps second = now;
    auto old_view = engine->open_view(at("a")).take();
    auto new_view = engine->open_view(at(sequence())).take();
    must_go_to(at("a"), first);
    must_write(70, 4);
    EXPECT_EQ(content(*old_view), first);
    EXPECT_EQ(content(*new_view), second);
}

TEST_F(SnapshotsTest, AViewEndsWhereItsDiskEnded) {
    snapshot("a");
    ASSERT_TRUE(engine->resize(kTestSectors * kSectorSize / 2).ok());
    auto view = engine->open_view(at("a")).take();
    EXPECT_EQ(view->size(), kTestSectors * kSectorSize);
    uint8_t data[kSectorSize];
    const iovec buffer{data, sizeof(data)};
    EXPECT_TRUE(view->read((kTestSectors - 1) * kSectorSize, {&buffer, 1}).ok());
    EXPECT_EQ(view->read(kTestSectors * kSectorSize, {&buffer, 1}).error().code, EINVAL);
}

TEST_F(SnapshotsTest, RollbackBringsTheOldContentBack) {
    must_write(0, 100);
    const Stamps then = now;
    snapshot("a");
    must_write(50, 100);
    ASSERT_TRUE(zero(0, 20).ok());
    must_go_to(at("a"), then);
}

TEST_F(SnapshotsTest, RollbackIsDurable) {
    must_write(0, 100);
    const Stamps then = now;
    snapshot("a");
    must_write(50, 100);
    must_go_to(at("a"), then);
    lose_power_and_open();
    EXPECT_EQ(content(), then);
}

TEST_F(SnapshotsTest, ARollbackCanBeUndone) {
    must_write(0, 100);
    const Stamps then = now;
    const Sequence target = sequence();
    must_write(50, 100);
    const Stamps left = now;
    const auto gone = engine->rollback(at(target));
    ASSERT_TRUE(gone.ok());
    EXPECT_EQ(content(), then);
    must_go_to(at(gone.value().from), left);
}

TEST_F(SnapshotsTest, RollbackToTheEmptyDisk) {
    must_write(0, 100);
    must_go_to(at(Sequence(0)), Stamps(kTestSectors, 0));
}

TEST_F(SnapshotsTest, RollbacksToAndFroLeadToTheRightStates) {
    std::vector<std::pair<Sequence, Stamps>> states;
    for (uint64_t round = 0; round < 30; ++round) {
        for (uint64_t i = 0; i < 4; ++i) {
            must_write((round * 131 + i * 977) % 1900, 1 + (round + i) * 13 % 90);
        }
        states.emplace_back(sequence(), now);
        const auto& [target, stamps] = states[round * 7 % states.size()];
        must_go_to(at(target), stamps);
        states.emplace_back(sequence(), now);
        if (round % 10 == 9) {
            flush();
            work_in_background();
            kill_and_open();
            ASSERT_EQ(content(), now);
        }
    }
    for (const auto& [state, stamps] : states) {
        ASSERT_EQ(content_at(at(state)), stamps) << state.value;
    }
}

TEST_F(SnapshotsTest, RollbackBeginsABranch) {
    must_write(0, 8);
    must_write(8, 8);
    const auto gone = engine->rollback(at(Sequence(1)));
    ASSERT_TRUE(gone.ok());
    EXPECT_EQ(gone.value().from, Sequence(2));
    EXPECT_EQ(gone.value().to, Sequence(1));
    EXPECT_EQ(gone.value().branch, 1u);
    const EngineInfo info = engine->info();
    ASSERT_EQ(info.branches.size(), 2u);
    EXPECT_EQ(info.branches[0].last, Sequence(2));
    EXPECT_EQ(info.branches[1].first, Sequence(3));
    EXPECT_EQ(info.branches[1].parent, Sequence(1));
}

TEST_F(SnapshotsTest, SnapshotsAreKeptOverARollbackToBeforeThem) {
    must_write(0, 8);
    must_write(0, 8);
    const Stamps then = now;
    snapshot("later");
    ASSERT_TRUE(engine->rollback(at(Sequence(1))).ok());
    EXPECT_EQ(content_at(at("later")), then);
}

TEST_F(SnapshotsTest, VmStateGoesWithTheSnapshot) {
    ASSERT_TRUE(write_vm_state(0, 7).ok());
    ASSERT_TRUE(write_vm_state(1 << 20, 8).ok());
    SnapshotInfo info;
    info.name = "vm";
    info.vm_state_size = (1 << 20) + 4096;
    ASSERT_TRUE(engine->snapshot_create(info).ok());
    EXPECT_EQ(vm_state_byte(*engine, 0), 0);  // no longer part of the disk
    auto view = engine->open_view(at("vm")).take();
    EXPECT_EQ(vm_state_byte(*view, 0), 7);
    EXPECT_EQ(vm_state_byte(*view, 1 << 20), 8);
}

TEST_F(SnapshotsTest, VmStateComesBackWithARollback) {
    ASSERT_TRUE(write_vm_state(0, 7).ok());
    SnapshotInfo info;
    info.name = "vm";
    info.vm_state_size = 4096;
    ASSERT_TRUE(engine->snapshot_create(info).ok());
    ASSERT_TRUE(engine->rollback(at("vm")).ok());
    kill_and_open();
    EXPECT_EQ(vm_state_byte(*engine, 0), 7);
}

TEST_F(SnapshotsTest, VmStateIsNoPartOfTheGuestsDisk) {
    ASSERT_TRUE(write_vm_state(0, 7).ok());
    EXPECT_EQ(content(), now);
}

TEST_F(SnapshotsTest, RequestsPastTheEndAreRefused) {
    uint8_t data[kSectorSize];
    const iovec buffer{data, sizeof(data)};
    for (const uint64_t offset : {kTestSectors * kSectorSize, kMaxSize, ~uint64_t{511}}) {
        EXPECT_EQ(engine->read(offset, {&buffer, 1}).error().code, EINVAL);
        EXPECT_EQ(engine->write(offset, {&buffer, 1}).error().code, EINVAL);
        EXPECT_EQ(engine->write_zeroes(offset, 512).error().code, EINVAL);
        EXPECT_EQ(engine->discard(offset, 512).error().code, EINVAL);
    }
    EXPECT_EQ(engine->write_zeroes(512, ~uint64_t{511}).error().code, EINVAL);
    EXPECT_EQ(engine->read(1, {&buffer, 1}).error().code, EINVAL);
}

TEST_F(SnapshotsTest, AReadOnlyImageIsNotChanged) {
    must_write(0, 8);
    close_and_open();
    ASSERT_TRUE(engine->close().ok());
    options.writable = false;
    open();
    EXPECT_EQ(write(0, 8).error().code, EROFS);
    EXPECT_EQ(engine->write_zeroes(0, 512).error().code, EROFS);
    EXPECT_EQ(engine->snapshot_create(SnapshotInfo()).error().code, EROFS);
    EXPECT_EQ(engine->rollback(at(Sequence(0))).error().code, EROFS);
    EXPECT_EQ(engine->resize(512).error().code, EROFS);
    EXPECT_EQ(engine->checkpoint().error().code, EROFS);
    EXPECT_EQ(content(), now);
}

}  // namespace
}  // namespace predsnap::test
