// SPDX-License-Identifier: GPL-2.0-or-later
//
// The current map and views of it, against naive copies of every sector.
#include "block/engine/disk_state.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace predsnap {
namespace {

constexpr uint64_t kSectors = 400;

// Of each sector: 0 a hole, 1 zeros, else where its data is.
using Copy = std::vector<uint64_t>;

Extent random_extent(std::mt19937& random, uint64_t* next_place) {
    Extent extent;
    extent.start = Sector(random() % kSectors);
    extent.count = std::min<uint64_t>(1 + random() % 40, kSectors - extent.start.value);
    extent.kind = static_cast<ExtentKind>(random() % 3);
    if (extent.kind == ExtentKind::unit && extent.count > kSectorsPerBlock) {
        extent.kind = ExtentKind::run;
    }
    if (extent.is_data()) {
        extent.place = Place(*next_place);
        *next_place += extent.count;
    }
    return extent;
}

void apply(Copy& copy, const Extent& extent) {
    for (uint64_t i = 0; i < extent.count; ++i) {
        copy[extent.start.value + i] = extent.is_data() ? extent.place.value + i
                                       : extent.kind == ExtentKind::zero;
    }
}

// Reads a state piecemeal, `limit` extents at a time.
Copy read(const DiskState& disk, const FrozenState* view, size_t limit) {
    Copy copy(kSectors);
    std::vector<Extent> found;
    for (Sector at{0}; at < Sector(kSectors);) {
        found.clear();
        const Sector reached = disk.lookup(view, at, Sector(kSectors), limit, &found);
        EXPECT_GT(reached, at);
        if (reached <= at) {
            return copy;
        }
        for (const Extent& extent : found) {
            EXPECT_NE(extent.kind, ExtentKind::hole);
            EXPECT_LE(extent.end(), reached);
            apply(copy, extent);
        }
        at = reached;
    }
    return copy;
}

class Views : public ::testing::TestWithParam<int> {};

TEST_P(Views, StayWhatTheyWereWhileTheDiskChanges) {
    std::mt19937 random(static_cast<unsigned>(GetParam()));
    DiskState disk;
    Copy now(kSectors);
    uint64_t next_place = 1000;
    std::vector<std::pair<std::unique_ptr<FrozenState>, Copy>> views;
    for (int step = 0; step < 300; ++step) {
        const Extent extent = random_extent(random, &next_place);
        disk.apply(extent, nullptr);
        apply(now, extent);
        if (step % 29 == 0) {
            views.emplace_back(std::make_unique<FrozenState>(), now);
            disk.add_view(views.back().first.get());
        }
        if (step % 61 == 60) {
            disk.remove_view(views.front().first.get());
            views.erase(views.begin());
        }
    }
    for (const size_t limit : {size_t{1}, size_t{3}, SIZE_MAX}) {
        EXPECT_EQ(read(disk, nullptr, limit), now);
        for (const auto& [view, copy] : views) {
            EXPECT_EQ(read(disk, view.get(), limit), copy);
        }
    }
    EXPECT_EQ(disk.view_count(), views.size());
}

TEST_P(Views, UndoInReverseLeadsBackToEveryEarlierState) {
    std::mt19937 random(static_cast<unsigned>(GetParam()));
    DiskState disk;
    uint64_t next_place = 1000;
    std::vector<Copy> states{Copy(kSectors)};
    std::vector<std::vector<format::PackedExtent>> undo;
    for (int step = 0; step < 60; ++step) {
        const Extent extent = random_extent(random, &next_place);
        undo.emplace_back();
        disk.apply(extent, &undo.back());
        states.push_back(states.back());
        apply(states.back(), extent);
    }
    while (!undo.empty()) {
        ASSERT_EQ(read(disk, nullptr, SIZE_MAX), states.back());
        for (const format::PackedExtent& old : undo.back()) {
            disk.apply(format::unpack(old), nullptr);
        }
        undo.pop_back();
        states.pop_back();
    }
    EXPECT_TRUE(disk.map.empty());
}

TEST_P(Views, UndoCoversJustWhatWasReplaced) {
    std::mt19937 random(static_cast<unsigned>(GetParam()));
    DiskState disk;
    uint64_t next_place = 1000;
    for (int step = 0; step < 100; ++step) {
        const Extent extent = random_extent(random, &next_place);
        std::vector<format::PackedExtent> undo;
        disk.apply(extent, &undo);
        Sector at = extent.start;
        for (const format::PackedExtent& packed : undo) {
            const Extent old = format::unpack(packed);
            EXPECT_EQ(old.start, at);
            at = old.end();
        }
        EXPECT_EQ(at, extent.end());
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Views, ::testing::Range(0, 10));

TEST(DiskStateTest, AViewOfNowCostsNothing) {
    DiskState disk;
    std::mt19937 random(1);
    uint64_t next_place = 1000;
    for (int step = 0; step < 50; ++step) {
        disk.apply(random_extent(random, &next_place), nullptr);
    }
    FrozenState view;
    disk.add_view(&view);
    EXPECT_EQ(view.difference.extent_count(), 0u);
}

TEST(DiskStateTest, GapsAreFoundBeforeBetweenAndAfter) {
    Extent a, b;
    a.start = Sector(10);
    a.count = 5;
    b.start = Sector(20);
    b.count = 5;
    std::vector<std::pair<uint64_t, uint64_t>> gaps;
    for_each_gap({a, b}, Sector(0), Sector(30), [&](Sector from, Sector to) {
        gaps.emplace_back(from.value, to.value);
    });
    EXPECT_EQ(gaps, (std::vector<std::pair<uint64_t, uint64_t>>{{0, 10}, {15, 20}, {25, 30}}));
}

}  // namespace
}  // namespace predsnap
