// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/overlay.h"

#include <gtest/gtest.h>

#include <random>

#include "fiber_host.h"

namespace predsnap {
namespace {

Extent random_extent(std::mt19937_64& random, uint64_t sectors, uint64_t longest) {
    Extent extent;
    extent.count = 1 + random() % longest;
    extent.start = Sector(random() % (sectors - extent.count));
    extent.kind = static_cast<ExtentKind>(random() % 4);
    if (extent.kind == ExtentKind::unit) {
        extent.count = 1 + random() % 8;
        extent.checksum = static_cast<uint32_t>(random());
    }
    if (extent.is_data()) {
        extent.place = Place(1000 + random() % 1'000'000);
    }
    return extent;
}

std::vector<Extent> content(const ExtentMap& map, uint64_t sectors) {
    std::vector<Extent> cut;
    map.for_each(Sector(0), [&](const Extent& extent) {
        for (Sector at = extent.start; at < extent.end(); at += 1) {
            cut.push_back(extent.slice(at, at + 1));
        }
        return true;
    });
    EXPECT_LE(cut.size(), sectors);
    return cut;
}

void lay(Overlay& overlay, ExtentMap& map, ExtentMap::Holes holes) {
    overlay.take_pieces([&](std::span<const Extent> piece) { map.insert_all(piece, holes); });
}

// Laying extents over each other gives what inserting them one by one gives.
void expect_same_as_inserts(uint64_t seed, uint64_t sectors, size_t count, uint64_t longest) {
    std::mt19937_64 random(seed);
    ExtentMap map, model;
    Overlay overlay(sectors);
    for (size_t i = 0; i < count; ++i) {
        const Extent extent = random_extent(random, sectors, longest);
        overlay.add(extent);
        model.insert(extent);
    }
    lay(overlay, map, ExtentMap::Holes::keep);
    EXPECT_TRUE(overlay.empty());
    EXPECT_TRUE(map.check());
    EXPECT_EQ(content(map, sectors), content(model, sectors)) << "seed " << seed;
}

TEST(Overlay, NothingLeavesTheMapAsItIs) {
    ExtentMap map;
    Overlay overlay(1000);
    EXPECT_TRUE(overlay.empty());
    lay(overlay, map, ExtentMap::Holes::keep);
    EXPECT_TRUE(map.empty());
}

// What is in the map before lies below; holes remove it, or are stored.
TEST(Overlay, LiesOverWhatTheMapHeld) {
    for (const auto holes : {ExtentMap::Holes::keep, ExtentMap::Holes::erase}) {
        std::mt19937_64 random(3);
        ExtentMap map, model;
        Overlay overlay(100'000);
        for (int round = 0; round < 20; ++round) {
            for (int i = 0; i < 300; ++i) {
                const Extent extent = random_extent(random, 100'000, 60);
                overlay.add(extent);
                const bool erases = extent.kind == ExtentKind::hole && holes == ExtentMap::Holes::erase;
                erases ? model.erase(extent.start, extent.end()) : model.insert(extent);
            }
            lay(overlay, map, holes);
            ASSERT_TRUE(map.check());
            ASSERT_EQ(content(map, 100'000), content(model, 100'000)) << "round " << round;
        }
    }
}

TEST(Overlay, LaterCoversEarlierInSmallClusters) {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
        expect_same_as_inserts(seed, 4096, 60, 40);
    }
}

TEST(Overlay, LaterCoversEarlierInLargeClusters) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        expect_same_as_inserts(seed, 4096, 800, 300);
    }
}

TEST(Overlay, SortsByAllDigitsOfTheSector) {
    ExtentMap map;
    Overlay overlay(uint64_t{1} << 23);
    for (uint64_t start : {uint64_t{1} << 39, uint64_t{5}, uint64_t{1} << 22, (uint64_t{1} << 39) - 8}) {
        Extent extent;
        extent.start = Sector(start);
        extent.count = 8;
        extent.kind = ExtentKind::unit;
        extent.place = Place(1000 + start % 1000);
        overlay.add(extent);
    }
    lay(overlay, map, ExtentMap::Holes::keep);
    EXPECT_EQ(map.extent_count(), 4u);
    EXPECT_TRUE(map.check());
    Extent found;
    ASSERT_TRUE(map.find(Sector(6), &found));
    EXPECT_EQ(found.start, Sector(5));
}

// Extents that do not lie in one range of what is sorted at once: those that cross into the next, longer ones than the
// disk has ranges, and those behind the disk.
TEST(Overlay, TakesExtentsThatLieInManyBuckets) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
        std::mt19937_64 random(seed);
        const uint64_t bases[] = {0, 4096 * 20, (uint64_t{1} << 36) - 2000, kVmStateBase.value,
                                  kVmStateBase.value + (uint64_t{1} << 35)};
        ExtentMap map, model;
        Overlay overlay(100'000);
        for (int i = 0; i < 3000; ++i) {
            Extent extent = random_extent(random, 100'000, 30);
            extent.start += bases[random() % std::size(bases)];
            if (!extent.is_data() && random() % 8 == 0) {
                extent.count = 1 + random() % (uint64_t{1} << (random() % 38));
            }
            overlay.add(extent);
            model.insert(extent);
        }
        lay(overlay, map, ExtentMap::Holes::keep);
        ASSERT_TRUE(map.check());
        ASSERT_EQ(map.data_sectors(), model.data_sectors()) << "seed " << seed;
        for (const uint64_t base : bases) {
            for (uint64_t at = base; at < base + 100'100; at += 3) {
                Extent a, b;
                ASSERT_EQ(map.find_whole(Sector(at), Sector(at + 1), &a),
                          model.find_whole(Sector(at), Sector(at + 1), &b));
                ASSERT_EQ(a, b) << "sector " << at << ", seed " << seed;
            }
        }
    }
}

// What is sorted ahead is the same, also if more comes after.
TEST(Overlay, SortsAhead) {
    test::FiberHost host;
    std::mt19937_64 random(5);
    ExtentMap map, model;
    Overlay overlay(1'000'000);
    for (int i = 0; i < 120'000; ++i) {
        const Extent extent = random_extent(random, 1'000'000, 30);
        overlay.add(extent);
        model.insert(extent);
        if (i == 60'000) {
            overlay.sort(host);
        }
    }
    overlay.sort(host);
    lay(overlay, map, ExtentMap::Holes::keep);
    EXPECT_TRUE(map.check());
    EXPECT_EQ(content(map, 1'000'000), content(model, 1'000'000));
}

}  // namespace
}  // namespace predsnap
