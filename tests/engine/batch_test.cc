// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/batch.h"

#include <gtest/gtest.h>

#include <numeric>

#include "block/engine/checksum.h"

namespace predsnap {
namespace {

constexpr uint32_t kSegment = 1 << 20;

class BatchTest : public ::testing::Test {
  protected:
    Batch::Slot add(uint64_t start, uint64_t sectors) {
        const Batch::Slot slot = batch.add_data(Sector(start), sectors);
        std::memset(batch.payload() + slot.gap, 0, slot.begin - slot.gap);
        std::memset(batch.payload() + slot.begin, static_cast<int>(start), slot.end - slot.begin);
        return slot;
    }
    // All of it as it goes to the device.
    std::vector<uint8_t> sealed() {
        Batch::Seal seal{};
        seal.sequence = Sequence(7);
        seal.time = Time(99);
        seal.previous_hash = 0xabc;
        seal.durable = Sequence(5);
        seal.session = 1;
        seal.seed = 42;
        seal.segment = SegmentId(1);
        seal.offset = 8192;
        batch.seal(seal);
        std::vector<uint8_t> bytes;
        for (const iovec& part : batch.buffers()) {
            const auto* data = static_cast<const uint8_t*>(part.iov_base);
            bytes.insert(bytes.end(), data, data + part.iov_len);
        }
        return bytes;
    }

    Batch batch{Batch::Limits(kSegment)};
};

TEST_F(BatchTest, BeginsEmpty) {
    EXPECT_TRUE(batch.empty());
    batch.add_mapping(ExtentKind::zero, Sector(0), 1);
    EXPECT_FALSE(batch.empty());
}

TEST_F(BatchTest, BlocksBeginAtBlockBoundaries) {
    EXPECT_EQ(add(0, 8).begin, 0u);
    EXPECT_EQ(add(100, 1).begin, kBlockSize);
    EXPECT_EQ(add(200, 8).begin, 2 * kBlockSize);
    EXPECT_EQ(add(300, 20).begin, 3 * kBlockSize);
}

TEST_F(BatchTest, SmallWritesArePackedButNotAcrossABlock) {
    EXPECT_EQ(add(0, 3).begin, 0u);
    EXPECT_EQ(add(10, 3).begin, 3 * kSectorSize);
    EXPECT_EQ(add(20, 3).begin, kBlockSize);  // two sectors are left of the first block
    EXPECT_EQ(add(30, 2).begin, kBlockSize + 3 * kSectorSize);
}

TEST_F(BatchTest, GapsOfPackingAreNamedSoThatTheyCanBeZeroed) {
    add(0, 3);
    const Batch::Slot slot = add(10, 8);
    EXPECT_EQ(slot.gap, 3 * kSectorSize);
    EXPECT_EQ(slot.begin, kBlockSize);
}

TEST_F(BatchTest, IsAWholeNumberOfBlocks) {
    add(0, 1);
    const std::vector<uint8_t> bytes = sealed();
    EXPECT_EQ(bytes.size(), 2 * kBlockSize);
    EXPECT_EQ(bytes.size(), batch.total_bytes());
}

TEST_F(BatchTest, WithoutPayloadIsOneBlock) {
    batch.add_mapping(ExtentKind::zero, Sector(8), 8);
    EXPECT_EQ(sealed().size(), kBlockSize);
}

TEST_F(BatchTest, TheHeaderSaysWhatItHolds) {
    add(0, 8);
    batch.add_mapping(ExtentKind::zero, Sector(50), 100);
    const uint8_t record[] = {2, 0, 0, 0};
    batch.add_records(record);
    const std::vector<uint8_t> bytes = sealed();
    format::BatchHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    EXPECT_EQ(header.sequence, 7u);
    EXPECT_EQ(header.time, 99);
    EXPECT_EQ(header.previous_hash, 0xabcu);
    EXPECT_EQ(header.durable_sequence, 5u);
    EXPECT_EQ(header.entry_count, 2u);
    EXPECT_EQ(header.sum_count, 1u);
    EXPECT_EQ(header.record_bytes, 4u);
    EXPECT_EQ(header.header_bytes, sizeof(header) + 2 * sizeof(format::Entry) + 4 + 4);
    EXPECT_EQ(header.total_bytes, bytes.size());
}

TEST_F(BatchTest, TheChecksumCoversTheHeaderAndItsSeed) {
    add(0, 8);
    std::vector<uint8_t> bytes = sealed();
    const auto* header = reinterpret_cast<const format::BatchHeader*>(bytes.data());
    const size_t tail = header->header_bytes - sizeof(*header);
    EXPECT_EQ(header->checksum, batch.hash());
    EXPECT_EQ(header->checksum, self_hash(42, *header, tail));
    EXPECT_NE(header->checksum, self_hash(43, *header, tail));
    bytes[sizeof(*header)] ^= 1;  // in the first entry
    EXPECT_NE(header->checksum, self_hash(42, *header, tail));
}

TEST_F(BatchTest, PlacesCountFromTheSegmentsStartOnceSealed) {
    add(0, 8);
    batch.add_mapping(ExtentKind::zero, Sector(50), 100);
    add(100, 2);
    sealed();
    const uint32_t payload = (8192 + kBlockSize) / kSectorSize;
    EXPECT_EQ(batch.entries()[0].place, payload);
    EXPECT_EQ(batch.entries()[1].place, payload + 8);  // where the payload before it ends
    EXPECT_EQ(batch.entries()[2].place, payload + 8);
}

TEST_F(BatchTest, OnlyWholeBlocksOrLessAreUnits) {
    add(0, 8);
    add(100, 9);
    EXPECT_EQ(batch.entries()[0].kind, static_cast<uint8_t>(ExtentKind::unit));
    EXPECT_EQ(batch.entries()[1].kind, static_cast<uint8_t>(ExtentKind::run));
    EXPECT_EQ(batch.entries()[1].first_sum, 1u);
    EXPECT_EQ(batch.sums().size(), 1 + unit_count(Sector(100), 9));
}

TEST_F(BatchTest, AFullOneTakesNoMore) {
    int joined = 0;
    while (batch.fits({.sectors = 8, .entries = 1})) {
        add(static_cast<uint64_t>(joined) * 8, 8);
        ++joined;
    }
    EXPECT_GT(joined, 100);
    EXPECT_LE(sealed().size(), Batch::Limits(kSegment).total_bytes);
}

TEST_F(BatchTest, AClosedOneTakesNoMore) {
    EXPECT_TRUE(batch.fits({.sectors = 1, .entries = 1}));
    batch.closed = true;
    EXPECT_FALSE(batch.fits({.sectors = 1, .entries = 1}));
}

TEST_F(BatchTest, EntriesAreBounded) {
    size_t count = 0;
    while (batch.fits({.entries = 1})) {
        batch.add_mapping(ExtentKind::zero, Sector(count++), 1);
        ASSERT_LT(count, 100'000u);
    }
    EXPECT_LE(batch.total_bytes(), Batch::Limits(kSegment).total_bytes);
}

TEST(BatchLimits, TheLargestRequestFitsInASegmentOfAnySize) {
    for (uint32_t size = format::kMinSegmentSize; size <= format::kMaxSegmentSize; size *= 2) {
        const Batch::Limits limits(size);
        const Batch batch(limits);
        EXPECT_GT(limits.payload_bytes, 0u);
        EXPECT_LE(limits.payload_bytes / kSectorSize, kMaxDataSectors);
        EXPECT_TRUE(batch.fits({.sectors = limits.payload_bytes / kSectorSize, .entries = 1, .record_bytes = 400})) << size;
        EXPECT_LE(limits.total_bytes + kBlockSize, size);
    }
}

}  // namespace
}  // namespace predsnap
