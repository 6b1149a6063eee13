// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/replay/placement.h"

#include <gtest/gtest.h>

#include "trace_file.h"

namespace predsnap::replay::test {
namespace {

constexpr uint64_t kMib = Placement::kRegion;

std::string write_line(int64_t time_us, uint64_t offset, uint64_t length) {
    return std::to_string(time_us) + ",W," + std::to_string(offset) + "," + std::to_string(length) +
           "\n";
}

Placement placement_of(const std::string& lines, const PlacementOptions& options = {}) {
    const TraceFile file(kHeaderLine + lines);
    return Placement::of(file.path(), options).take();
}

uint64_t placed(const Placement& placement, uint64_t offset, uint64_t length = 512) {
    return placement.place({0, true, offset, length}).offset;
}

TEST(Placement, KeepsOffsetsOfADiskThatIsNotTooLarge) {
    const Placement placement = placement_of(write_line(0, 5 * kMib + 512, 512));
    EXPECT_FALSE(placement.dense());
    EXPECT_EQ(placement.disk_size(), 6 * kMib);
    EXPECT_EQ(placed(placement, 5 * kMib + 512), 5 * kMib + 512);
}

TEST(Placement, PutsTouchedRegionsOfUnitsSideBySideInOrder) {
    const uint64_t unit = 1ull << 40;
    const Placement placement =
        placement_of(write_line(0, 3 * unit + 4096, 512) + write_line(1, 512, 512) +
                     write_line(2, unit + 7 * kMib, 512));
    EXPECT_TRUE(placement.dense());
    EXPECT_EQ(placement.disk_size(), 3 * kMib);
    EXPECT_EQ(placed(placement, 512), 512u);
    EXPECT_EQ(placed(placement, unit + 7 * kMib), kMib);
    EXPECT_EQ(placed(placement, 3 * unit + 4096), 2 * kMib + 4096);
}

TEST(Placement, KeepsTogetherWhatRunsFromARegionIntoTheNext) {
    PlacementOptions options;
    options.dense = true;
    const Placement placement = placement_of(
        write_line(0, 9 * kMib - 512, kMib + 1024) + write_line(1, 4 * kMib, 512), options);
    EXPECT_EQ(placement.disk_size(), 4 * kMib);  // 4, 8, 9 and 10
    EXPECT_EQ(placed(placement, 9 * kMib - 512, kMib + 1024), 2 * kMib - 512);
}

TEST(Placement, AlignsWhatBeganAtSector63OfEight) {
    PlacementOptions options;
    options.align = true;
    const Placement placement =
        placement_of(write_line(0, 512 * 71, 4096) + write_line(1, 512 * 7, 512), options);
    EXPECT_EQ(placed(placement, 512 * 71), 4096u);
    EXPECT_EQ(placed(placement, 512 * 7), 512u * 7);  // lies before the partition
    EXPECT_EQ(placed(placement, 512 * 72), 512u * 72);
}

TEST(Placement, CountsOnlyWhatIsReplayed) {
    PlacementOptions options;
    options.until_us = 10;
    const Placement placement = placement_of(
        write_line(3, 0, 512) + write_line(9, 0, 1024) + write_line(10, 0, 512), options);
    EXPECT_EQ(placement.requests(), 2u);
    EXPECT_EQ(placement.written_bytes(), 1536u);
    EXPECT_EQ(placement.span_us(), 9);
}

TEST(Placement, RefusesATraceWithNothingToReplay) {
    const TraceFile file(kHeaderLine);
    const auto placement = Placement::of(file.path(), {});
    ASSERT_FALSE(placement.ok());
    EXPECT_EQ(placement.error().message, file.path() + ": there is no request to replay");
}

}  // namespace
}  // namespace predsnap::replay::test
