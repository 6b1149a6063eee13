// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/segment_index.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace predsnap {
namespace {

constexpr Geometry kGeometry{1 << 20, 1000};

format::Entry entry(ExtentKind kind, uint64_t start, uint64_t count, uint32_t place, uint32_t sum = 0) {
    format::Entry e{};
    e.start = start;
    e.count = count;
    e.place = place;
    e.first_sum = sum;
    e.kind = static_cast<uint8_t>(kind);
    return e;
}

// Two batches: a unit and a zero range; a run of 20 sectors from sector 5 on.
SegmentIndex sample() {
    SegmentIndex index;
    index.segment = SegmentId(3);
    index.next = SegmentId(4);
    index.ordinal = 2;
    index.first = Sequence(10);
    index.last = Sequence(11);
    index.last_hash = 0x1234;
    index.end_offset = 8 * kBlockSize;
    index.entries = {entry(ExtentKind::unit, 100, 8, 16, 0), entry(ExtentKind::zero, 0, 1000, 24, 1),
                     entry(ExtentKind::run, 5, 20, 40, 1)};
    index.sums = {11, 21, 22, 23, 24};
    index.records = {1, 0, 2, 0, 9, 9};
    Extent old;
    old.start = Sector(5);
    old.count = 20;
    index.undo = {format::pack(old)};
    index.rows = {{10, 1000, 2, 6, 0, 0}, {11, 2000, 1, 0, 1, 0}};
    return index;
}

Result<SegmentIndex> decode_changed(const std::function<void(format::IndexHeader&)>& change) {
    std::vector<uint8_t> bytes = sample().encode();
    format::IndexHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    change(header);
    std::memcpy(bytes.data(), &header, sizeof(header));
    return SegmentIndex::decode(kGeometry, bytes);
}

TEST(Units, AShortEntryIsOneUnitWhereverItBegins) {
    EXPECT_EQ(unit_count(Sector(0), 1), 1u);
    EXPECT_EQ(unit_count(Sector(5), 8), 1u);
    EXPECT_EQ(unit_range(Sector(5), 8, 0).end, 8u);
}

TEST(Units, ALongEntryIsCutAtGuestBlocks) {
    EXPECT_EQ(unit_count(Sector(8), 16), 2u);
    EXPECT_EQ(unit_count(Sector(5), 9), 2u);   // 5..7, 8..13
    EXPECT_EQ(unit_count(Sector(7), 10), 3u);  // 7, 8..15, 16
    EXPECT_EQ(unit_range(Sector(7), 10, 0).end, 1u);
    EXPECT_EQ(unit_range(Sector(7), 10, 1).begin, 1u);
    EXPECT_EQ(unit_range(Sector(7), 10, 1).end, 9u);
    EXPECT_EQ(unit_range(Sector(7), 10, 2).end, 10u);
}

TEST(Units, CoverTheirEntryWithoutGapOrOverlap) {
    for (uint64_t start = 0; start < 20; ++start) {
        for (uint64_t count = 1; count < 60; ++count) {
            uint64_t at = 0;
            for (uint64_t i = 0; i < unit_count(Sector(start), count); ++i) {
                const UnitRange range = unit_range(Sector(start), count, i);
                ASSERT_EQ(range.begin, at) << start << "+" << count;
                ASSERT_GT(range.end, range.begin);
                ASSERT_LE(range.end - range.begin, kSectorsPerBlock);
                at = range.end;
            }
            ASSERT_EQ(at, count);
        }
    }
}

TEST(SegmentIndexTest, WhatIsEncodedIsDecoded) {
    const SegmentIndex index = sample();
    const std::vector<uint8_t> bytes = index.encode();
    const Result<SegmentIndex> decoded = SegmentIndex::decode(kGeometry, bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(decoded.value().encode(), bytes);
    EXPECT_EQ(decoded.value().segment, index.segment);
    EXPECT_EQ(decoded.value().next, index.next);
    EXPECT_EQ(decoded.value().last, index.last);
    EXPECT_EQ(decoded.value().sums, index.sums);
    EXPECT_EQ(decoded.value().records, index.records);
}

TEST(SegmentIndexTest, AnEmptyOneIsDecodedToo) {
    SegmentIndex index;
    index.segment = index.next = SegmentId(0);
    index.first = Sequence(5);
    index.last = Sequence(4);
    EXPECT_TRUE(SegmentIndex::decode(kGeometry, index.encode()).ok());
}

TEST(SegmentIndexTest, ASumIsFoundByPlace) {
    const SegmentIndex index = sample();
    const Place base = kGeometry.place(index.segment);
    EXPECT_EQ(index.find_sum(kGeometry, base + 16), 0);
    EXPECT_EQ(index.find_sum(kGeometry, base + 23), 0);
    EXPECT_EQ(index.find_sum(kGeometry, base + 40), 1);       // sector 5
    EXPECT_EQ(index.find_sum(kGeometry, base + 42), 1);       // sector 7
    EXPECT_EQ(index.find_sum(kGeometry, base + 43), 2);       // sector 8
    EXPECT_EQ(index.find_sum(kGeometry, base + 40 + 19), 4);  // sector 24
}

TEST(SegmentIndexTest, NoSumIsFoundWhereNoDataLies) {
    const SegmentIndex index = sample();
    const Place base = kGeometry.place(index.segment);
    EXPECT_EQ(index.find_sum(kGeometry, base + 0), -1);
    EXPECT_EQ(index.find_sum(kGeometry, base + 24), -1);
    EXPECT_EQ(index.find_sum(kGeometry, base + 60), -1);
}

TEST(SegmentIndexTest, ACutBlobIsRefusedWhereverItIsCut) {
    const std::vector<uint8_t> bytes = sample().encode();
    for (size_t length = 0; length < bytes.size(); ++length) {
        EXPECT_FALSE(SegmentIndex::decode(kGeometry, std::span(bytes).first(length)).ok()) << length;
    }
}

TEST(SegmentIndexTest, CountsThatOverflowAreRefused) {
    EXPECT_FALSE(decode_changed([](auto& h) { h.entry_count = UINT64_MAX; }).ok());
    EXPECT_FALSE(decode_changed([](auto& h) { h.sum_count = uint64_t{1} << 62; }).ok());
    EXPECT_FALSE(decode_changed([](auto& h) { h.undo_count = UINT64_MAX / 20; }).ok());
    EXPECT_FALSE(decode_changed([](auto& h) { h.record_bytes = UINT64_MAX - 5; }).ok());
    EXPECT_FALSE(decode_changed([](auto& h) { h.row_count = UINT32_MAX; }).ok());
}

TEST(SegmentIndexTest, CountsThatDoNotFitTheRowsAreRefused) {
    // Same bytes in all, differently shared out: 8 sums make an entry.
    EXPECT_FALSE(decode_changed([](auto& h) {
                     h.entry_count -= 1;
                     h.sum_count += 8;
                 }).ok());
    EXPECT_FALSE(decode_changed([](auto& h) { h.last_sequence += 1; }).ok());
    EXPECT_FALSE(decode_changed([](auto& h) { h.first_sequence += 1; }).ok());
}

TEST(SegmentIndexTest, PlacesOutsideTheImageAreRefused) {
    EXPECT_FALSE(decode_changed([](auto& h) { h.segment = 1000; }).ok());
    EXPECT_FALSE(decode_changed([](auto& h) { h.end_offset = kGeometry.segment_size + 1; }).ok());
}

class BadEntry : public ::testing::TestWithParam<format::Entry> {};

TEST_P(BadEntry, IsRefused) {
    SegmentIndex index = sample();
    index.entries[2] = GetParam();
    EXPECT_FALSE(SegmentIndex::decode(kGeometry, index.encode()).ok());
}

INSTANTIATE_TEST_SUITE_P(
    Hostile, BadEntry,
    ::testing::Values(entry(ExtentKind::run, 5, 0, 40, 1),                  // empty
                      entry(ExtentKind::run, 5, 20, 40, 2),                 // one sum too few
                      entry(ExtentKind::run, 5, 20, 40, UINT32_MAX),        // no such sum
                      entry(ExtentKind::run, 5, 8, 40, 1),                  // a run that is a unit
                      entry(ExtentKind::unit, 5, 9, 40, 1),                 // a unit that is a run
                      entry(ExtentKind::run, 5, kMaxDataSectors + 1, 40),   // too long
                      entry(ExtentKind::run, kSectorLimit.value - 1, 20, 40, 1),
                      entry(ExtentKind::zero, UINT64_MAX, UINT64_MAX, 40),
                      entry(ExtentKind::unit, 5, 8, 2048, 1),               // past the segment's end
                      entry(ExtentKind::unit, 5, 8, UINT32_MAX, 1),
                      entry(ExtentKind::unit, 5, 8, 20, 1),                 // inside the entry before
                      entry(static_cast<ExtentKind>(4), 5, 8, 40, 1)));     // unknown kind

class BadUndo : public ::testing::TestWithParam<Extent> {};

TEST_P(BadUndo, IsRefused) {
    SegmentIndex index = sample();
    index.undo[0] = format::pack(GetParam());
    EXPECT_FALSE(SegmentIndex::decode(kGeometry, index.encode()).ok());
}

Extent extent(ExtentKind kind, uint64_t start, uint64_t count, uint64_t place, uint8_t head = 0,
              uint8_t tail = 0) {
    Extent e;
    e.kind = kind;
    e.start = Sector(start);
    e.count = count;
    e.place = Place(place);
    e.head = head;
    e.tail = tail;
    return e;
}

INSTANTIATE_TEST_SUITE_P(
    Hostile, BadUndo,
    ::testing::Values(extent(ExtentKind::hole, 0, 0, 0),                      // empty
                      extent(ExtentKind::unit, 0, 8, 5),                      // in the superblock area
                      extent(ExtentKind::unit, 0, 8, 200, 1),                 // longer than a block
                      extent(ExtentKind::unit, 0, 8, (uint64_t{1} << 40) - 8),
                      extent(ExtentKind::run, 0, 9, 200, 3),                  // head before sector 0
                      extent(ExtentKind::run, 8, 9, 200, 1),                  // head in another block
                      extent(ExtentKind::run, 8, 8, 200, 0, 1),               // tail in another block
                      extent(ExtentKind::run, 8, kMaxDataSectors + 1, 200)));

TEST(PackedExtents, KeepWhatTheyHold) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 10'000; ++i) {
        Extent e;
        e.start = Sector(random() % kSectorLimit.value);
        e.kind = static_cast<ExtentKind>(random() % 4);
        if (e.is_data()) {
            e.count = 1 + random() % kMaxDataSectors;
            e.place = Place(random() % kPlaceLimit.value);
            e.head = random() % 8;
            e.tail = random() % 8;
            e.checksum = static_cast<uint32_t>(random());
        } else {
            e.count = 1 + random() % (kSectorLimit.value - 1);
        }
        ASSERT_EQ(format::unpack(format::pack(e)), e);
    }
}

}  // namespace
}  // namespace predsnap
