// SPDX-License-Identifier: GPL-2.0-or-later
//
// Checkpoints, and the work in the background.
#include "block/engine/checksum.h"
#include "block/engine/index_stream.h"
#include "block/engine/superblock.h"
#include "image_test.h"

namespace predsnap::test {
namespace {

using Op = MemoryDevice::Op;

class CheckpointTest : public ImageTest {
  protected:
    void checkpoint() {
        const Result<void> made = engine->checkpoint();
        ASSERT_TRUE(made.ok()) << made.error().message;
    }
    // A map of many extents, snapshots, branches, sizes: something of everything.
    void fill() {
        for (uint64_t i = 0; i < 300; ++i) {
            must_write(i * 613 % 2000, 1 + i % 9);
            if (i % 40 == 0) {
                snapshot("s" + std::to_string(i));
                states.emplace_back("s" + std::to_string(i), now);
            }
        }
        ASSERT_TRUE(engine->rollback(at("s120")).ok());
        now = states[3].second;
        must_write(0, 50);
    }
    format::Superblock superblock() { return read_superblock(file).take(); }
    std::string open_error() {
        const Result<void> opened = try_open();
        EXPECT_FALSE(opened.ok());
        return opened.ok() ? std::string() : opened.error().message;
    }
    uint64_t page(uint32_t number) {
        return image_offset(superblock().checkpoint_segment,
                            kBlockSize + uint64_t{number} * format::kPageSize);
    }

    std::vector<std::pair<std::string, Stamps>> states;
};

TEST_F(CheckpointTest, BringsEverythingBack) {
    fill();
    checkpoint();
    kill_and_open();
    EXPECT_EQ(engine->stats().recovered_batches, 0u);
    EXPECT_EQ(content(), now);
    for (const auto& [name, stamps] : states) {
        EXPECT_EQ(content_at(at(name)), stamps) << name;
    }
    EXPECT_EQ(engine->info().branches.size(), 2u);
}

TEST_F(CheckpointTest, WritesAfterItAreReplayed) {
    fill();
    checkpoint();
    must_write(77, 20);
    fill_segments(3);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, BlobsAfterItAreReplayed) {
    fill();
    checkpoint();
    fill_segments(3);
    flush();
    work_in_background();
    fill_segments(1);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, OneAfterTheOtherTheLastCounts) {
    for (uint64_t i = 0; i < 5; ++i) {
        must_write(i * 30, 40);
        checkpoint();
    }
    kill_and_open();
    EXPECT_EQ(content(), now);
    EXPECT_EQ(superblock().checkpoint_id, 5u);
}

TEST_F(CheckpointTest, TheOnesBeforeItDoNotPileUp) {
    must_write(0, 8);
    checkpoint();
    const EngineInfo before = engine->info();
    for (uint64_t i = 0; i < 20; ++i) {
        must_write(0, 1);
        checkpoint();
    }
    EXPECT_LE(engine->info().segments_total, before.segments_total + 6);
    EXPECT_EQ(engine->info().segments_checkpoint, 2 * before.segments_checkpoint);  // one is kept beside it
}

TEST_F(CheckpointTest, OfNothingNewIsNotWritten) {
    checkpoint();
    EXPECT_EQ(engine->stats().checkpoints, 0u);
    must_write(0, 8);
    checkpoint();
    checkpoint();
    EXPECT_EQ(engine->stats().checkpoints, 1u);
}

TEST_F(CheckpointTest, IsTheStateOfOneMomentThoughWritesGoOn) {
    fill();
    uint64_t i = 0;
    // A write whenever the checkpoint is at the device.
    file.before = [&](const MemoryDevice::Call& call) {
        if (call.op == Op::write && call.length != kBlockSize && i < 40) {
            const uint64_t at = ++i * 97 % 1900;
            host.spawn([this, at] { EXPECT_TRUE(write(at, 5).ok()); });
            host.yield();
        }
    };
    checkpoint();
    file.before = nullptr;
    host.run_ready();
    EXPECT_GT(i, 0u);
    EXPECT_LT(superblock().checkpoint_sequence, sequence().value);
    kill_and_open();
    EXPECT_EQ(content(), now);
    for (const auto& [name, stamps] : states) {
        EXPECT_EQ(content_at(at(name)), stamps) << name;
    }
}

TEST_F(CheckpointTest, WhileTheNewestSegmentHasItsBlobAlready) {
    fill_segments(1);
    flush();
    // The next write opens a segment; while it is on its way, the blob of the one before is written and
    // a checkpoint made.
    bool once = true;
    file.before = [&](const MemoryDevice::Call& call) {
        if (call.op == Op::write && call.length > 4 * kBlockSize && std::exchange(once, false)) {
            engine->resume_background();
            for (int i = 0; i < 20; ++i) {
                host.yield();
            }
            EXPECT_TRUE(engine->checkpoint().ok());
            engine->pause_background();
        }
    };
    must_write(0, 40);
    must_write(40, 40);
    file.before = nullptr;
    EXPECT_FALSE(once);
    kill_and_open();
    EXPECT_EQ(content(), now);
    must_write(80, 40);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, WhenTheDeviceIsFullTheOldOneStays) {
    fill();
    checkpoint();
    must_write(0, 3);
    file.fail = [](const MemoryDevice::Call& call) {
        return call.op == Op::write && call.length >= format::kPageSize ? ENOSPC : 0;
    };
    EXPECT_EQ(engine->checkpoint().error().code, ENOSPC);
    const uint64_t segments = engine->info().segments_total;
    EXPECT_EQ(engine->checkpoint().error().code, ENOSPC);
    EXPECT_EQ(engine->info().segments_total, segments);  // those taken went back
    file.fail = nullptr;
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, OneThatIsNotDurableYetIsNotUsed) {
    fill();
    flush();
    checkpoint();
    const uint64_t id = superblock().checkpoint_id;
    must_write(0, 3);
    flush();
    file.fail = [&](const MemoryDevice::Call& call) {
        return call.op == Op::write && call.offset < format::kSuperblockArea ? EIO : 0;
    };
    EXPECT_EQ(engine->checkpoint().error().code, EIO);
    file.fail = nullptr;
    lose_power_and_open();
    EXPECT_EQ(superblock().checkpoint_id, id);
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, DamageOfAnyPageIsAnErrorThatNamesIt) {
    fill();
    checkpoint();
    kill();
    const std::vector<uint8_t> whole = file.bytes;
    for (uint32_t number = 0; number < 3; ++number) {
        flip(page(number) + 40);
        const std::string error = open_error();
        const std::string place = "offset " + std::to_string(kBlockSize + number * format::kPageSize);
        EXPECT_NE(error.find("checkpoint 1"), std::string::npos) << error;
        EXPECT_NE(error.find(place), std::string::npos) << error;
        file.bytes = whole;
    }
    open();
}

TEST_F(CheckpointTest, RepairMakesANewOneFromTheLog) {
    fill();
    const size_t snapshots = engine->snapshots().size();
    checkpoint();
    must_write(3, 40);
    flush();
    kill();
    flip(page(0) + 40);
    const std::string error = open_error();
    EXPECT_NE(error.find("check -r all"), std::string::npos) << error;
    ASSERT_TRUE(try_open(true).ok());
    EXPECT_EQ(content(), now);
    EXPECT_EQ(engine->snapshots().size(), snapshots);
    EXPECT_EQ(superblock().checkpoint_id, 2u);
    kill_and_open();
    EXPECT_EQ(content(), now);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u);
}

// The process dies between writing the superblock and flushing it; the next one uses the old checkpoint's segments;
// then the power fails, and of all that was written since the last flush only the superblock is lost.
TEST_F(CheckpointTest, AnOpeningMakesDurableWhatItBuildsOn) {
    fill();
    ASSERT_TRUE(engine->checkpoint().ok());
    fill_segments(2);
    flush();
    bool named = false;
    file.fail = [&](const MemoryDevice::Call& call) {
        named = named || (call.op == Op::write && call.offset < format::kSuperblockArea);
        return named && call.op == Op::flush ? EIO : 0;
    };
    EXPECT_FALSE(engine->checkpoint().ok());
    EXPECT_TRUE(named);
    file.fail = nullptr;
    kill_and_open();
    for (uint64_t i = 0; i < 40; ++i) {
        must_write(i * 32 % 1900, 32);
    }
    kill();
    std::copy_n(file.durable.begin(), format::kSuperblockArea, file.bytes.begin());
    open();
    ASSERT_TRUE(engine);
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, PagesOfAnotherCheckpointAreRefused) {
    fill();
    checkpoint();
    kill();
    auto* header = reinterpret_cast<format::PageHeader*>(&file.bytes[page(0)]);
    ++header->checkpoint_id;
    header->checksum = self_hash(image_seed(superblock().uuid), *header, header->bytes);
    EXPECT_NE(open_error().find("page is damaged"), std::string::npos);
}

TEST_F(CheckpointTest, ADamagedSegmentHeaderIsAnError) {
    fill();
    checkpoint();
    kill();
    flip(image_offset(superblock().checkpoint_segment, 20));
    EXPECT_NE(open_error().find("segment header"), std::string::npos);
}

TEST_F(CheckpointTest, ATruncatedOneIsAnError) {
    fill();
    checkpoint();
    kill();
    file.bytes.resize(page(0));
    EXPECT_FALSE(open_error().empty());
}

TEST_F(CheckpointTest, ACheckpointSegmentOutsideTheImageIsAnError) {
    fill();
    checkpoint();
    kill();
    for (uint32_t slot = 0; slot < 2; ++slot) {
        auto* block = reinterpret_cast<format::Superblock*>(&file.bytes[slot * kBlockSize]);
        block->checkpoint_segment = 0xfffffff0;
        block->checksum = self_hash(0, *block);
    }
    EXPECT_FALSE(open_error().empty());
}

TEST_F(CheckpointTest, AnImpossibleDiskSizeInItIsAnError) {
    must_write(0, 8);
    checkpoint();
    kill();
    auto* page = reinterpret_cast<format::PageHeader*>(&file.bytes[this->page(1)]);
    ASSERT_EQ(page->kind, static_cast<uint8_t>(format::PageKind::state));
    auto* state = reinterpret_cast<format::CheckpointState*>(page + 1);
    for (const uint64_t size : {uint64_t{513}, kMaxSize + 512, ~uint64_t{511}}) {
        state->initial_size = size;
        page->checksum = self_hash(image_seed(superblock().uuid), *page, page->bytes);
        EXPECT_NE(open_error().find("size"), std::string::npos);
    }
}

TEST_F(CheckpointTest, ABlobThatKnowsLessThanItIsNotTaken) {
    fill_segments(1);
    must_write(0, 8);
    must_write(8, 8);
    checkpoint();
    // A blob of the newest segment that ends before the checkpoint does, as a hostile writer might make.
    SegmentIndex index;
    index.segment = SegmentId(0);
    index.next = SegmentId(2);
    index.ordinal = 0;
    index.first = index.last = Sequence(1);
    index.end_offset = 3 * kBlockSize;
    index.rows = {{1, 1, 0, 0, 0, 0}};
    kill();
    Core core(host, file);
    core.geometry.segment_size = kTestSegment;
    core.seed = image_seed(superblock().uuid);
    SegmentTable segments;
    IndexStream stream(core, segments);
    stream.start({{1, kBlockSize, 0}, 0, core.seed});
    ASSERT_TRUE(stream.append(index.encode()).ok());
    open();
    EXPECT_EQ(content(), now);
    must_write(16, 8);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, ManySegmentsLongOnesAreReadWhole) {
    CreateOptions image;
    image.size = 64 << 20;
    image.segment_size = kTestSegment;
    kill();
    create(image);
    open();
    // Some thousands of extents fill several segments of pages.
    for (uint64_t i = 0; i < 9000; ++i) {
        host.spawn([this, i] { EXPECT_TRUE(write(i * 14, 1).ok()); });
        if (i % 64 == 0) {
            host.run_ready();
        }
    }
    host.run_ready();
    checkpoint();
    EXPECT_GT(engine->info().segments_checkpoint, 2u);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, ClosingGivesBackWhatThePoolTookAhead) {
    options.pool_max = 8 * kTestSegment;
    kill_and_open();
    fill_segments(6);
    host.time += 1'000'000;
    flush();  // so much was written in a second: the pool follows
    work_in_background();
    EXPECT_GT(engine->info().segments_ready, 3u);
    close_and_open();
    EXPECT_LE(engine->info().segments_ready, 1u);
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, APredictionRaisesThePoolAndNeverLowersIt) {
    options.pool_max = 16 * kTestSegment;
    kill_and_open();
    const auto predict = [&](double bytes_per_second) {
        PredictionSet set;
        set.model = "test";
        set.base = engine->info().sequence;
        set.horizon_us = 600'000'000;
        set.write_rate = bytes_per_second;
        const Result<void> taken = engine->set_predictions(std::move(set));
        ASSERT_TRUE(taken.ok()) << taken.error().message;
    };
    predict(1);  // but then comes a burst
    fill_segments(6);
    host.time += 1'000'000;
    flush();
    work_in_background();
    const uint64_t ready = engine->info().segments_ready;
    EXPECT_GT(ready, 3u);
    host.time += 1'000'000;
    predict(1e9);
    must_write(0, 8);
    flush();
    work_in_background();
    EXPECT_GE(engine->info().segments_ready, ready);
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, ThePoolIsFilledAheadAndUsed) {
    options.pool_min = options.pool_max = 8 * kTestSegment;
    kill_and_open();
    must_write(0, 8);
    work_in_background();
    const uint64_t length = file.bytes.size();
    EXPECT_GE(engine->info().segments_ready, 8u);
    fill_segments(4);
    EXPECT_EQ(file.bytes.size(), length);
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, SegmentsWithoutAFlushAreFlushedByTheEngineBeforeTheyPileUp) {
    engine->resume_background();
    fill_segments(20);
    host.run_ready();
    EXPECT_GT(engine->info().durable.value, 0u);
    EXPECT_GE(engine->info().segments_index, 1u);
    engine->pause_background();
}

TEST_F(CheckpointTest, WorkInTheBackgroundThatFailsIsTriedAgainLater) {
    fill_segments(3);
    flush();
    file.fail = [](const MemoryDevice::Call& call) { return call.op == Op::write ? ENOSPC : 0; };
    work_in_background();
    EXPECT_EQ(engine->info().segments_index, 0u);
    file.fail = nullptr;
    fill_segments(1);
    flush();
    work_in_background();
    EXPECT_EQ(engine->info().segments_index, 1u);
    kill_and_open();
    EXPECT_EQ(content(), now);
}

TEST_F(CheckpointTest, PausedBackgroundWorkDoesNothing) {
    fill_segments(3);
    flush();
    const size_t writes = file.count(Op::write);
    host.run_ready();
    EXPECT_EQ(file.count(Op::write), writes);
}

}  // namespace
}  // namespace predsnap::test
