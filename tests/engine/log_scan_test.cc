// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/log_scan.h"

#include <optional>

#include "block/engine/checksum.h"
#include "block/engine/core.h"
#include "block/engine/superblock.h"
#include "image_test.h"

namespace predsnap::test {
namespace {

// Segment 0 of an image with three batches of one block each, at 1, 3 and 5 blocks.
class LogScanTest : public ImageTest {
  protected:
    void SetUp() override {
        ImageTest::SetUp();
        must_write(0, 8);
        must_write(8, 8);
        must_write(16, 8);
        kill();
        core.emplace(host, file);
        core->geometry.segment_size = kTestSegment;
        core->seed = image_seed(read_superblock(file).take().uuid);
    }
    ScannedSegment scan() { return ScannedSegment::read(*core, SegmentId(0)).take(); }
    std::vector<ScannedBatch> chain() { return scan().chain_from(kBlockSize, Sequence(1), core->seed).take(); }
    format::BatchHeader& header(uint32_t block) {
        return *reinterpret_cast<format::BatchHeader*>(&file.bytes[image_offset(0, block * kBlockSize)]);
    }
    // Makes the checksum of a changed batch right, as a hostile writer would.
    void forge(uint32_t block) {
        format::BatchHeader& batch = header(block);
        batch.checksum = self_hash(core->seed, batch, batch.header_bytes - sizeof(batch));
    }

    std::optional<Core> core;
};

TEST_F(LogScanTest, FindsTheChain) {
    const auto batches = chain();
    ASSERT_EQ(batches.size(), 3u);
    EXPECT_EQ(batches[2].header.sequence, 3u);
    EXPECT_EQ(batches[2].offset, 5 * kBlockSize);
    EXPECT_EQ(batches[1].entries.at(0).start, 8u);
    EXPECT_TRUE(batches[1].whole);
}

TEST_F(LogScanTest, TheSegmentHeaderIsOfThisImageAndSegment) {
    ASSERT_TRUE(scan().header());
    EXPECT_EQ(scan().header()->first_sequence, 1u);
    core->seed ^= 1;
    EXPECT_FALSE(scan().header());
    core->seed ^= 1;
    file.bytes[image_offset(0, 24)] ^= 1;  // self
    EXPECT_FALSE(scan().header());
}

TEST_F(LogScanTest, AWrongSequenceEndsTheChain) {
    EXPECT_TRUE(scan().chain_from(kBlockSize, Sequence(2), core->seed).take().empty());
}

TEST_F(LogScanTest, AWrongPreviousHashEndsTheChain) {
    EXPECT_TRUE(scan().chain_from(kBlockSize, Sequence(1), core->seed ^ 1).take().empty());
}

TEST_F(LogScanTest, ADamagedHeaderEndsTheChain) {
    header(3).time ^= 1;
    EXPECT_EQ(chain().size(), 1u);
}

TEST_F(LogScanTest, ADamagedPayloadIsTold) {
    file.bytes[image_offset(0, 4 * kBlockSize + 9)] ^= 1;
    const auto batches = chain();
    ASSERT_EQ(batches.size(), 3u);
    EXPECT_TRUE(batches[0].whole);
    EXPECT_FALSE(batches[1].whole);
    const auto bad = scan().bad_unit(batches[1], batches[1].entries[0]);
    ASSERT_TRUE(bad);
    EXPECT_EQ(bad->begin, 0u);
    EXPECT_EQ(bad->end, 8u);
}

TEST_F(LogScanTest, ABlockThatCannotBeReadCountsAsDamaged) {
    file.fail = [&](const MemoryDevice::Call& call) {
        const uint64_t bad = image_offset(0, 4 * kBlockSize);
        const bool hit = call.offset <= bad && bad < call.offset + call.length;
        return call.op == MemoryDevice::Op::read && hit ? EIO : 0;
    };
    const auto batches = chain();
    ASSERT_EQ(batches.size(), 3u);
    EXPECT_FALSE(batches[1].whole);
    EXPECT_TRUE(batches[2].whole);
    EXPECT_FALSE(scan().readable(4 * kBlockSize));
    EXPECT_TRUE(scan().readable(5 * kBlockSize));
}

TEST_F(LogScanTest, AHeaderThatCannotBeReadIsAnErrorNotAnEnd) {
    file.fail = [&](const MemoryDevice::Call& call) {
        const uint64_t bad = image_offset(0, 3 * kBlockSize);
        const bool hit = call.offset <= bad && bad < call.offset + call.length;
        return call.op == MemoryDevice::Op::read && hit ? EIO : 0;
    };
    EXPECT_FALSE(scan().chain_from(kBlockSize, Sequence(1), core->seed).ok());
}

TEST_F(LogScanTest, ForgedSizesAreNotFollowed) {
    const format::BatchHeader good = header(1);
    const auto rejected = [&](const std::function<void(format::BatchHeader&)>& change) {
        header(1) = good;
        change(header(1));
        if (header(1).header_bytes >= sizeof(good) && header(1).header_bytes < kTestSegment - kBlockSize) {
            forge(1);
        }
        return chain().empty();
    };
    EXPECT_TRUE(rejected([](auto& h) { h.header_bytes = 0; }));
    EXPECT_TRUE(rejected([](auto& h) { h.header_bytes = ~0u; }));
    EXPECT_TRUE(rejected([](auto& h) { h.header_bytes += 4; }));
    EXPECT_TRUE(rejected([](auto& h) { h.total_bytes = 0; }));
    EXPECT_TRUE(rejected([](auto& h) { h.total_bytes += 1; }));
    EXPECT_TRUE(rejected([](auto& h) { h.total_bytes = 0xfffff000; }));
    EXPECT_TRUE(rejected([](auto& h) { h.total_bytes = kTestSegment; }));
    EXPECT_TRUE(rejected([](auto& h) { h.entry_count = ~0u; }));
    EXPECT_TRUE(rejected([](auto& h) { h.sum_count = ~0u; }));
    EXPECT_TRUE(rejected([](auto& h) { h.record_bytes = ~0u; }));
    EXPECT_FALSE(rejected([](auto& h) { h.time += 1; }));
}

TEST_F(LogScanTest, ForgedEntriesAreNotFollowed) {
    auto* entry = reinterpret_cast<format::Entry*>(&header(1) + 1);
    const format::Entry good = *entry;
    const auto rejected = [&](const std::function<void(format::Entry&)>& change) {
        *entry = good;
        change(*entry);
        forge(1);
        return chain().empty();
    };
    EXPECT_TRUE(rejected([](auto& e) { e.place = 0; }));           // in the header
    EXPECT_TRUE(rejected([](auto& e) { e.place += 8; }));          // in the next batch
    EXPECT_TRUE(rejected([](auto& e) { e.place = ~0u; }));
    EXPECT_TRUE(rejected([](auto& e) { e.first_sum = 1; }));
    EXPECT_TRUE(rejected([](auto& e) { e.count = 0; }));
    EXPECT_TRUE(rejected([](auto& e) { e.count = ~uint64_t{0}; }));
    EXPECT_TRUE(rejected([](auto& e) { e.start = kSectorLimit.value; }));
    EXPECT_TRUE(rejected([](auto& e) { e.kind = 9; }));
    EXPECT_FALSE(rejected([](auto& e) { e.start += 1; }));
}

TEST_F(LogScanTest, LaterHistoryIsWhatWasSealedAfterSomethingDurable) {
    EXPECT_FALSE(scan().later_history(kBlockSize, Sequence(0)));
    header(5).durable_sequence = 2;
    forge(5);
    ASSERT_TRUE(scan().later_history(kBlockSize, Sequence(1)));
    EXPECT_EQ(*scan().later_history(kBlockSize, Sequence(1)), 5 * kBlockSize);
    EXPECT_FALSE(scan().later_history(kBlockSize, Sequence(2)));
    EXPECT_FALSE(scan().later_history(6 * kBlockSize, Sequence(1)));
}

TEST_F(LogScanTest, ASegmentPastTheEndIsEmpty) {
    const ScannedSegment past = ScannedSegment::read(*core, SegmentId(500)).take();
    EXPECT_FALSE(past.header());
    EXPECT_TRUE(past.chain_from(kBlockSize, Sequence(1), core->seed).take().empty());
}

TEST_F(LogScanTest, ASegmentCutByTheEndHasWhatIsLeft) {
    file.bytes.resize(image_offset(0, 4 * kBlockSize));
    EXPECT_EQ(chain().size(), 1u);
}

}  // namespace
}  // namespace predsnap::test
