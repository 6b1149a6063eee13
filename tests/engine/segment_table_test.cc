// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/segment_table.h"

#include <gtest/gtest.h>

namespace predsnap {
namespace {

constexpr Geometry kGeometry{64 << 10, 100};

uint64_t bytes_of(uint32_t segments) { return kGeometry.image_bytes(segments); }

TEST(SegmentTableTest, AnEmptyImageGrowsByOneSegmentAtATime) {
    SegmentTable table;
    EXPECT_EQ(table.take(kGeometry).take(), SegmentId(0));
    EXPECT_EQ(table.take(kGeometry).take(), SegmentId(1));
    EXPECT_TRUE(table[SegmentId(0)].announced);
}

TEST(SegmentTableTest, SegmentsThatAreThereAlreadyAreTakenFirst) {
    SegmentTable table;
    table.ensure(SegmentId(1)).kind = format::SegmentKind::log;
    table.adopt_image(kGeometry, bytes_of(3));
    EXPECT_EQ(table.take(kGeometry).take(), SegmentId(0));
    EXPECT_EQ(table.take(kGeometry).take(), SegmentId(2));
    EXPECT_EQ(table.take(kGeometry).take(), SegmentId(3));
}

TEST(SegmentTableTest, APartOfASegmentAtTheEndDoesNotCount) {
    SegmentTable table;
    table.adopt_image(kGeometry, bytes_of(3) - 1);
    EXPECT_EQ(table.size(), 2u);
}

TEST(SegmentTableTest, AReleasedSegmentIsTakenNext) {
    SegmentTable table;
    table.adopt_image(kGeometry, bytes_of(4));
    const SegmentId taken = table.take(kGeometry).take();
    table.release(taken);
    EXPECT_FALSE(table[taken].in_use());
    EXPECT_EQ(table.take(kGeometry).take(), taken);
}

TEST(SegmentTableTest, AReservedSegmentIsNotTakenBeforeItIsReady) {
    SegmentTable table;
    const SegmentId reserved = table.reserve(kGeometry).take();
    EXPECT_NE(table.take(kGeometry).take(), reserved);
    table.add_ready(reserved);
    EXPECT_EQ(table.take(kGeometry).take(), reserved);
}

TEST(SegmentTableTest, AFullImageIsNoSpaceAndSaysWhatToDo) {
    SegmentTable table;
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(table.take(kGeometry).ok());
    }
    const auto none = table.take(kGeometry);
    ASSERT_FALSE(none.ok());
    EXPECT_EQ(none.error().code, ENOSPC);
    EXPECT_NE(none.error().message.find("segment-size"), std::string::npos);
}

TEST(SegmentTableTest, ReadySegmentsAtTheEndAreDroppedOthersNot) {
    SegmentTable table;
    table.ensure(SegmentId(2)).kind = format::SegmentKind::log;
    table.adopt_image(kGeometry, bytes_of(6));
    EXPECT_EQ(table.ready_count(), 5u);
    table.drop_trailing_ready(3);
    EXPECT_EQ(table.size(), 4u);
    table.drop_trailing_ready(0);
    EXPECT_EQ(table.size(), 3u);  // segment 2 is in use
    EXPECT_EQ(table.ready_count(), 2u);
}

TEST(SegmentTableTest, TheSegmentOfASequenceNumberIsFound) {
    SegmentTable table;
    uint64_t first = 1;
    for (uint32_t id = 0; id < 5; ++id) {
        Segment& segment = table.ensure(SegmentId(id));
        segment.first = Sequence(first);
        segment.last = Sequence(first + 9);
        first += 10;
        table.log().push_back(SegmentId(id));
    }
    EXPECT_EQ(table.log_position(Sequence(1)), 0u);
    EXPECT_EQ(table.log_position(Sequence(10)), 0u);
    EXPECT_EQ(table.log_position(Sequence(11)), 1u);
    EXPECT_EQ(table.log_position(Sequence(50)), 4u);
    EXPECT_EQ(table.log_position(Sequence(51)), 5u);
}

TEST(GeometryTest, PlacesBelongToTheirSegments) {
    EXPECT_EQ(to_bytes(kGeometry.place(SegmentId(0))), format::kSuperblockArea);
    EXPECT_EQ(kGeometry.segment_of(kGeometry.place(SegmentId(7))), SegmentId(7));
    EXPECT_EQ(kGeometry.segment_of(kGeometry.place(SegmentId(8)) - 1), SegmentId(7));
    EXPECT_EQ(kGeometry.segments_in(format::kSuperblockArea - 1), 0u);
}

TEST(GeometryTest, PlacesOfTheLastSegmentFitInFortyBits) {
    for (uint32_t size = format::kMinSegmentSize; size <= format::kMaxSegmentSize; size *= 2) {
        const Geometry geometry{size};
        EXPECT_LE(geometry.place(SegmentId(geometry.max_segments())), kPlaceLimit) << size;
    }
}

}  // namespace
}  // namespace predsnap
