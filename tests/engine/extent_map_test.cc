// SPDX-License-Identifier: GPL-2.0-or-later
//
// The extent map against a naive model that keeps every sector of a small window by itself.
#include "block/engine/extent_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

namespace predsnap {

void PrintTo(const Extent& e, std::ostream* out) {
    *out << "[" << e.start.value << "+" << e.count << " kind " << static_cast<int>(e.kind)
         << " head " << static_cast<int>(e.head) << " tail " << static_cast<int>(e.tail)
         << " checksum " << e.checksum << " place " << e.place.value << "]";
}

namespace {

Extent extent_of(ExtentKind kind, uint64_t start, uint64_t count) {
    Extent extent;
    extent.kind = kind;
    extent.start = Sector(start);
    extent.count = count;
    return extent;
}

Extent zero(uint64_t start, uint64_t count) {
    return extent_of(ExtentKind::zero, start, count);
}
Extent hole(uint64_t start, uint64_t count) {
    return extent_of(ExtentKind::hole, start, count);
}

Extent unit(uint64_t start, uint64_t count, uint64_t place, uint32_t checksum = 7) {
    Extent extent = extent_of(ExtentKind::unit, start, count);
    extent.checksum = checksum;
    extent.place = Place(place);
    return extent;
}

// A run as the log writes it: whole, cut into units at multiples of a block.
Extent run(uint64_t start, uint64_t count, uint64_t place) {
    Extent extent = extent_of(ExtentKind::run, start, count);
    extent.place = Place(place);
    return extent;
}

// What a sector of data must know of its unit, whatever cuts led to it: which sectors of the log
// the unit occupies. Found from an extent by its place, head and tail.
struct SectorContent {
    ExtentKind kind = ExtentKind::hole;
    uint64_t place = 0;
    uint32_t checksum = 0;
    uint64_t unit_begin = 0;  // place of the unit's first sector
    uint64_t unit_end = 0;

    bool operator==(const SectorContent&) const = default;
};

SectorContent content_at(const Extent& e, uint64_t sector) {
    SectorContent content;
    content.kind = e.kind;
    if (!e.is_data()) {
        return content;
    }
    const uint64_t begin = e.start.value;
    const uint64_t end = e.end().value;
    const auto place_of = [&](uint64_t s) { return e.place.value + s - begin; };
    content.place = place_of(sector);
    content.checksum = e.checksum;
    uint64_t unit_begin = begin - e.head;
    uint64_t unit_end = end + e.tail;
    if (e.kind == ExtentKind::run) {
        unit_begin = std::max(unit_begin, align_down(sector, kSectorsPerBlock));
        unit_end = std::min(unit_end, align_up(sector + 1, kSectorsPerBlock));
    }
    content.unit_begin = place_of(unit_begin);
    content.unit_end = place_of(unit_end);
    return content;
}

// Sectors [base, base + size), each with its own content.
class Model {
  public:
    Model(uint64_t base, uint64_t size) : base_(base), sectors_(size) {}

    void insert(const Extent& e) {
        for (uint64_t s = e.start.value; s < e.end().value; ++s) {
            sectors_[s - base_] = content_at(e, s);
        }
    }
    void erase(uint64_t from, uint64_t to) {
        std::fill(sectors_.begin() + (from - base_), sectors_.begin() + (to - base_), std::nullopt);
    }
    // The extents, which must be in order and lie in [from, to), hold exactly what the model does
    // there.
    void expect_same(const std::vector<Extent>& extents, uint64_t from, uint64_t to) const {
        uint64_t at = from;
        for (const Extent& e : extents) {
            ASSERT_GE(e.start.value, at);
            ASSERT_GT(e.count, 0u);
            ASSERT_LE(e.end().value, to);
            expect_gap(at, e.start.value);
            for (at = e.start.value; at < e.end().value; ++at) {
                ASSERT_TRUE(sectors_[at - base_].has_value()) << "sector " << at;
                ASSERT_EQ(*sectors_[at - base_], content_at(e, at)) << "sector " << at;
            }
        }
        expect_gap(at, to);
    }
    void expect_gap(uint64_t from, uint64_t to) const {
        for (uint64_t s = from; s < to; ++s) {
            ASSERT_FALSE(sectors_[s - base_].has_value()) << "sector " << s << " is not listed";
        }
    }
    uint64_t data_sectors() const {
        return std::count_if(sectors_.begin(), sectors_.end(), [](const auto& s) {
            return s.has_value() && s->kind >= ExtentKind::unit;
        });
    }
    // The first mapped sector from `at` on.
    std::optional<uint64_t> next_mapped(uint64_t at) const {
        for (; at < base_ + sectors_.size(); ++at) {
            if (sectors_[at - base_]) {
                return at;
            }
        }
        return std::nullopt;
    }

  private:
    uint64_t base_;
    std::vector<std::optional<SectorContent>> sectors_;
};

std::vector<Extent> all(const ExtentMap& map, uint64_t from = 0) {
    std::vector<Extent> extents;
    map.for_each(Sector(from), [&](const Extent& e) {
        extents.push_back(e);
        return true;
    });
    return extents;
}

std::vector<Extent> lookup_all(const ExtentMap& map, uint64_t from, uint64_t to, size_t limit) {
    std::vector<Extent> extents;
    while (from < to) {
        const size_t before = extents.size();
        const uint64_t until = map.lookup(Sector(from), Sector(to), limit, &extents).value;
        EXPECT_GT(until, from) << "no progress";
        EXPECT_LE(extents.size() - before, limit);
        EXPECT_TRUE(extents.empty() || extents.back().end().value <= until);
        if (until <= from) {
            break;
        }
        from = until;
    }
    return extents;
}

// Random operations on a map and a model of the same window.
class RandomRun {
  public:
    RandomRun(uint32_t seed, uint64_t base, uint64_t size, uint64_t longest)
        : random_(seed), base_(base), size_(size), longest_(longest), model_(base, size) {}

    ExtentMap& map() { return map_; }
    uint64_t below(uint64_t n) { return random_() % n; }

    void step() {
        const uint64_t start = base_ + below(size_);
        uint64_t count = 1 + below(below(8) == 0 ? longest_ : 24);
        count = std::min(count, base_ + size_ - start);
        switch (below(10)) {
            case 0:
                return erase(start, start + count);
            case 1:
                return insert(zero(start, count));
            case 2:
                return insert(hole(start, count));
            case 3:
            case 4:
                return insert(new_run(start, count));
            case 5:
                return rewrite(start);
            case 6:
                return insert_all(start);
            default:
                return insert(new_unit(start, count));
        }
    }
    void read() {
        const uint64_t from = base_ + below(size_);
        const uint64_t to = std::min(base_ + size_, from + 1 + below(longest_));
        model_.expect_same(lookup_all(map_, from, to, 1 + below(5)), from, to);
        Extent found;
        const std::optional<uint64_t> next = model_.next_mapped(from);
        ASSERT_EQ(map_.find(Sector(from), &found), next.has_value());
        if (next) {
            EXPECT_GT(found.end().value, from);
            EXPECT_EQ(std::max(found.start.value, from), *next);
        }
    }
    void verify() {
        ASSERT_TRUE(map_.check());
        const std::vector<Extent> extents = all(map_);
        EXPECT_EQ(extents.size(), map_.extent_count());
        EXPECT_EQ(map_.data_sectors(), model_.data_sectors());
        model_.expect_same(extents, base_, base_ + size_);
    }

  private:
    Extent new_unit(uint64_t start, uint64_t count) {
        count = std::min<uint64_t>(count, 1 + below(kSectorsPerBlock));
        return unit(start, count, new_place(count), static_cast<uint32_t>(random_()));
    }
    Extent new_run(uint64_t start, uint64_t count) {
        return run(start, std::min(count, kMaxDataSectors), new_place(count));
    }
    uint64_t new_place(uint64_t count) {
        next_place_ += count;
        return next_place_ - count;
    }
    void insert(const Extent& e) {
        std::vector<Extent> replaced;
        map_.insert(e, below(4) == 0 ? nullptr : &replaced);
        if (!replaced.empty()) {
            model_.expect_same(replaced, e.start.value, e.end().value);
        }
        model_.insert(e);
    }
    // Extents of all kinds that ascend from there on, many of them exactly over what is there.
    void insert_all(uint64_t at) {
        std::vector<Extent> extents, replaced;
        for (uint64_t n = 1 + below(below(10) == 0 ? 300 : 8); n > 0 && at < base_ + size_; --n) {
            const uint64_t longest = std::min(base_ + size_ - at, 1 + below(below(20) == 0 ? longest_ : 24));
            Extent old;
            if (below(3) == 0 && map_.find(Sector(at), &old) && old.start.value >= at &&
                old.end().value <= base_ + size_ && old.count <= kSectorsPerBlock) {
                extents.push_back(new_unit(old.start.value, old.count));
                extents.back().count = old.count;
            } else {
                const uint64_t kind = below(8);
                extents.push_back(kind == 0   ? zero(at, longest)
                                  : kind == 1 ? new_run(at, longest)
                                  : kind < 4  ? hole(at, longest)
                                              : new_unit(at, longest));
            }
            at = extents.back().end().value + (below(2) == 0 ? 0 : below(24));
        }
        const bool keep_holes = below(2) == 0;
        map_.insert_all(extents, keep_holes ? ExtentMap::Holes::keep : ExtentMap::Holes::erase, &replaced);
        expect_replaced(replaced, extents);
        for (const Extent& e : extents) {
            keep_holes || e.kind != ExtentKind::hole ? model_.insert(e)
                                                     : model_.erase(e.start.value, e.end().value);
        }
    }
    // Each extent replaced just what the model still holds in its range.
    void expect_replaced(const std::vector<Extent>& replaced, const std::vector<Extent>& extents) {
        size_t next = 0;
        for (const Extent& e : extents) {
            std::vector<Extent> within;
            for (; next < replaced.size() && replaced[next].end() <= e.end(); ++next) {
                within.push_back(replaced[next]);
            }
            model_.expect_same(within, e.start.value, e.end().value);
        }
        EXPECT_EQ(next, replaced.size());
    }
    // Writes exactly over an extent that is there.
    void rewrite(uint64_t at) {
        Extent old;
        if (map_.find(Sector(at), &old)) {
            insert(old.count <= kSectorsPerBlock ? new_unit(old.start.value, old.count)
                                                 : new_run(old.start.value, old.count));
        }
    }
    void erase(uint64_t from, uint64_t to) {
        std::vector<Extent> replaced;
        map_.erase(Sector(from), Sector(to), &replaced);
        model_.expect_same(replaced, from, to);
        model_.erase(from, to);
    }

    std::mt19937_64 random_;
    uint64_t base_;
    uint64_t size_;
    uint64_t longest_;
    ExtentMap map_;
    Model model_;
    uint64_t next_place_ = 8;
};

TEST(ExtentMap, IsEmptyAtFirst) {
    ExtentMap map;
    Extent found;
    std::vector<Extent> extents;
    EXPECT_TRUE(map.empty());
    EXPECT_FALSE(map.find(Sector(0), &found));
    EXPECT_EQ(map.lookup(Sector(3), Sector(9), 1, &extents), Sector(9));
    map.erase(Sector(0), kSectorLimit);
    EXPECT_TRUE(extents.empty());
    EXPECT_TRUE(map.check());
    EXPECT_LT(map.memory_bytes(), 1024u);
}

TEST(ExtentMap, AgreesWithModelInSmallWindow) {
    for (uint32_t seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        RandomRun test(seed, 1000, 600, 300);
        for (int i = 0; i < 300; ++i) {
            test.step();
            test.read();
            ASSERT_TRUE(test.map().check());
            if (testing::Test::HasFatalFailure()) {
                return;
            }
        }
        test.verify();
    }
}

TEST(ExtentMap, AgreesWithModelOverManyLeaves) {
    for (uint32_t seed = 1; seed <= 6; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        RandomRun test(seed, 0, 150000, seed % 2 == 0 ? 400 : 20000);
        for (int i = 0; i < 30000; ++i) {
            test.step();
            if (i % 50 == 0) {
                test.read();
            }
            if (i % 3000 == 0) {
                test.verify();
            }
            if (testing::Test::HasFatalFailure()) {
                return;
            }
        }
        test.verify();
    }
}

TEST(ExtentMap, AgreesWithModelAtTheEndOfTheAddressSpace) {
    const uint64_t size = 3000;
    RandomRun test(11, kSectorLimit.value - size, size, 700);
    for (int i = 0; i < 4000; ++i) {
        test.step();
        test.read();
        ASSERT_FALSE(testing::Test::HasFatalFailure());
    }
    test.verify();
}

TEST(ExtentMap, HoldsFirstAndLastSector) {
    ExtentMap map;
    const uint64_t last = kSectorLimit.value - 1;
    map.insert(unit(last, 1, kPlaceLimit.value - 1, UINT32_MAX));
    map.insert(unit(0, 1, 0));
    Extent found;
    ASSERT_TRUE(map.find(Sector(0), &found));
    EXPECT_EQ(found, unit(0, 1, 0));
    ASSERT_TRUE(map.find(Sector(1), &found));
    EXPECT_EQ(found, unit(last, 1, kPlaceLimit.value - 1, UINT32_MAX));
    EXPECT_TRUE(map.check());

    std::vector<Extent> replaced;
    map.insert(zero(0, kSectorLimit.value), &replaced);
    EXPECT_EQ(replaced.size(), 2u);
    EXPECT_EQ(all(map), std::vector{zero(0, kSectorLimit.value)});
    EXPECT_EQ(map.data_sectors(), 0u);
    EXPECT_TRUE(map.check());
}

TEST(ExtentMap, CutsLongPlainExtentFarFromItsStart) {
    for (const bool as_zero : {true, false}) {
        const auto plain = as_zero ? zero : hole;
        ExtentMap map;
        const uint64_t far = 1ull << 39;
        map.insert(plain(0, kSectorLimit.value));
        map.insert(unit(far, 8, 800));
        EXPECT_EQ(all(map), (std::vector{plain(0, far), unit(far, 8, 800),
                                         plain(far + 8, kSectorLimit.value - far - 8)}));
        map.erase(Sector(0), Sector(far - 5));
        map.erase(Sector(far + 9), kSectorLimit);
        EXPECT_EQ(all(map), (std::vector{plain(far - 5, 5), unit(far, 8, 800), plain(far + 8, 1)}));
        EXPECT_TRUE(map.check());
    }
}

// Extents too far apart for one leaf's 32 bits, in ascending, descending and random order.
TEST(ExtentMap, HoldsExtentsFarApart) {
    std::vector<uint64_t> starts;
    for (uint64_t i = 0; i < 256; ++i) {
        for (uint64_t j = 0; j < 40; ++j) {
            starts.push_back((i << 32) + j * ((1ull << 32) / 40) - (i + j > 0 ? i % 3 : 0));
        }
    }
    std::sort(starts.begin(), starts.end());
    for (int order = 0; order < 3; ++order) {
        std::vector<uint64_t> todo = starts;
        if (order == 1) {
            std::reverse(todo.begin(), todo.end());
        } else if (order == 2) {
            std::shuffle(todo.begin(), todo.end(), std::mt19937(5));
        }
        ExtentMap map;
        for (const uint64_t start : todo) {
            map.insert(unit(start, 8, start / 2));
        }
        ASSERT_TRUE(map.check());
        const std::vector<Extent> extents = all(map);
        ASSERT_EQ(extents.size(), starts.size());
        for (size_t i = 0; i < starts.size(); ++i) {
            ASSERT_EQ(extents[i], unit(starts[i], 8, starts[i] / 2));
        }
        for (size_t i = 0; i < todo.size(); ++i) {
            map.erase(Sector(todo[i]), Sector(todo[i] + 8));
            ASSERT_TRUE(i % 64 != 0 || map.check());
        }
        EXPECT_TRUE(map.check());
        EXPECT_TRUE(map.empty());
    }
}

// Once, an extent that was cut at its front stayed in a leaf although its new start was beyond the
// key of the next leaf, whose first extents were gone.
TEST(ExtentMap, MovesAnExtentWhoseNewStartBelongsToTheNextLeaf) {
    for (uint64_t victim = 3; victim < 399; ++victim) {
        ExtentMap map;
        for (uint64_t i = 0; i < 400; ++i) {
            map.append(unit(i * 16, 8, i * 8));
        }
        const uint64_t start = victim * 16 - 16;
        map.erase(Sector(start - 32), Sector(start + 24));  // lest the leaf be full and share
        map.insert(zero(start, 32));
        map.insert(run(start, 28, 9000));
        ASSERT_TRUE(map.check()) << "extent " << victim;
        Extent found;
        ASSERT_TRUE(map.find(Sector(start + 28), &found));
        EXPECT_EQ(found, zero(start + 28, 4));
    }
}

TEST(ExtentMap, KeepsHeadAndTailThroughRepeatedCuts) {
    ExtentMap map;
    map.insert(run(1003, 30, 5000));
    map.insert(unit(1005, 2, 100));
    map.insert(zero(1017, 3));
    map.erase(Sector(1030), Sector(1031));
    map.insert(unit(1028, 1, 200));
    Extent left = run(1003, 2, 5000);
    left.tail = 3;
    Extent middle = run(1007, 10, 5004);
    middle.head = 4;
    middle.tail = 7;
    Extent next = run(1020, 8, 5017);
    next.head = 4;
    next.tail = 4;
    Extent small = run(1029, 1, 5026);
    small.head = 5;
    small.tail = 2;
    Extent right = run(1031, 2, 5028);
    right.head = 7;
    EXPECT_EQ(all(map), (std::vector{left, unit(1005, 2, 100), middle, zero(1017, 3), next,
                                     unit(1028, 1, 200), small, right}));
}

TEST(ExtentMap, ReportsWhatWasReplacedCutToTheRange) {
    ExtentMap map;
    map.insert(unit(100, 8, 1000));
    map.insert(unit(112, 8, 2000));
    std::vector<Extent> replaced{zero(0, 1)};
    map.insert(unit(106, 8, 3000), &replaced);
    Extent first = unit(106, 2, 1006);
    first.head = 6;
    Extent second = unit(112, 2, 2000);
    second.tail = 6;
    EXPECT_EQ(replaced, (std::vector{zero(0, 1), first, second}));
    EXPECT_EQ(map.data_sectors(), 20u);
}

TEST(ExtentMap, MergesPlainExtentsOfOneKind) {
    ExtentMap map;
    for (uint64_t i = 0; i < 1000; ++i) {
        const uint64_t at = (i * 617) % 1000;
        map.insert(zero(at * 8, 8));
    }
    EXPECT_EQ(all(map), std::vector{zero(0, 8000)});
    map.insert(unit(400, 8, 50));
    map.insert(hole(408, 8));
    map.insert(hole(416, 8));
    EXPECT_EQ(all(map),
              (std::vector{zero(0, 400), unit(400, 8, 50), hole(408, 16), zero(424, 8000 - 424)}));
    std::vector<Extent> replaced;
    map.insert(zero(396, 30), &replaced);
    EXPECT_EQ(replaced, (std::vector{zero(396, 4), unit(400, 8, 50), hole(408, 16), zero(424, 2)}));
    EXPECT_EQ(all(map), std::vector{zero(0, 8000)});
    EXPECT_TRUE(map.check());
}

TEST(ExtentMap, DataNeverMerges) {
    ExtentMap map;
    map.insert(run(0, 16, 100));
    map.insert(run(16, 16, 116));
    EXPECT_EQ(map.extent_count(), 2u);
}

TEST(ExtentMap, LookupSaysHowFarItGot) {
    ExtentMap map;
    map.insert(unit(10, 4, 100));
    map.insert(unit(20, 4, 200));
    map.insert(unit(30, 4, 300));
    std::vector<Extent> found;
    const Sector until = map.lookup(Sector(0), Sector(100), 2, &found);
    EXPECT_EQ(found, (std::vector{unit(10, 4, 100), unit(20, 4, 200)}));
    EXPECT_GE(until, Sector(24));
    EXPECT_LE(until, Sector(30));
    found.clear();
    EXPECT_EQ(map.lookup(until, Sector(32), 2, &found), Sector(32));
    Extent cut = unit(30, 2, 300);
    cut.tail = 2;
    EXPECT_EQ(found, std::vector{cut});
}

TEST(ExtentMap, ForEachBeginsWithinAnExtentAndStopsWhenTold) {
    ExtentMap map;
    for (uint64_t i = 0; i < 500; ++i) {
        map.insert(unit(i * 10, 8, i * 10));
    }
    std::vector<Extent> seen;
    map.for_each(Sector(2007), [&](const Extent& e) {
        seen.push_back(e);
        return seen.size() < 100;
    });
    ASSERT_EQ(seen.size(), 100u);
    EXPECT_EQ(seen.front(), unit(2000, 8, 2000));
    EXPECT_EQ(seen.back(), unit(2990, 8, 2990));
}

TEST(ExtentMap, AppendBuildsWhatInsertBuilds) {
    std::mt19937 random(3);
    ExtentMap appended;
    ExtentMap inserted;
    uint64_t at = 0;
    for (int i = 0; i < 20000; ++i) {
        at += random() % 3 * 4 + (i % 1000 == 0 ? 1ull << 33 : 0);
        const uint64_t count = 1 + random() % 8;
        Extent extent = random() % 4 == 0 ? zero(at, count) : unit(at, count, at, random());
        appended.append(extent);
        inserted.insert(extent);
        at += count;
        Extent found;
        ASSERT_TRUE(appended.find(extent.start, &found));
        ASSERT_EQ(found.end(), extent.end());
    }
    EXPECT_TRUE(appended.check());
    EXPECT_EQ(all(appended), all(inserted));
    EXPECT_EQ(appended.data_sectors(), inserted.data_sectors());
    // Then it changes like any other.
    for (int i = 0; i < 20000; ++i) {
        const uint64_t start = random() % at;
        const Extent extent = unit(start, 1 + random() % 8, start);
        appended.insert(extent);
        inserted.insert(extent);
    }
    EXPECT_TRUE(appended.check());
    EXPECT_EQ(all(appended), all(inserted));
}

// Extent by extent, so what touches and is of one plain kind is one extent here as there.
TEST(ExtentMap, InsertAllLeavesWhatInsertsLeave) {
    std::mt19937 random(5);
    ExtentMap at_once, one_by_one;
    for (int round = 0; round < 300; ++round) {
        std::vector<Extent> extents, replaced, replaced_singly;
        uint64_t at = random() % 20000;
        for (uint64_t n = 1 + random() % 2000; n > 0; --n) {
            const uint64_t count = 1 + random() % 8;
            extents.push_back(random() % 4 == 0   ? zero(at, count)
                              : random() % 3 == 0 ? hole(at, count)
                                                  : unit(at, count, at, random()));
            at += random() % 3 == 0 ? count : align_up(count, 8) + random() % 2 * 8;
        }
        at_once.insert_all(extents, ExtentMap::Holes::erase, &replaced);
        for (const Extent& e : extents) {
            e.kind == ExtentKind::hole ? one_by_one.erase(e.start, e.end(), &replaced_singly)
                                       : one_by_one.insert(e, &replaced_singly);
        }
        ASSERT_EQ(replaced, replaced_singly);
        const std::vector<Extent> a = all(at_once), b = all(one_by_one);
        const auto differs = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
        ASSERT_TRUE(a == b) << "round " << round << " at " << differs.first - a.begin() << ": "
                            << testing::PrintToString(*differs.first) << " but "
                            << testing::PrintToString(*differs.second);
        ASSERT_TRUE(at_once.check());
    }
}

TEST(ExtentMap, InsertAllBuildsADenseMap) {
    std::vector<Extent> extents;
    for (uint64_t i = 0; i < 200000; ++i) {
        extents.push_back(unit(i * 16, 8, i * 8));
    }
    ExtentMap map;
    map.insert_all(extents, ExtentMap::Holes::keep);
    EXPECT_TRUE(map.check());
    EXPECT_EQ(all(map), extents);
    ExtentMap appended;
    for (const Extent& e : extents) {
        appended.append(e);
    }
    EXPECT_EQ(map.memory_bytes(), appended.memory_bytes());
}

TEST(ExtentMap, OneInsertReplacesManyLeaves) {
    ExtentMap map;
    for (uint64_t i = 0; i < 100000; ++i) {
        map.append(unit(i * 8, 8, i * 8));
    }
    std::vector<Extent> replaced;
    map.insert(zero(4, 799992), &replaced);
    EXPECT_EQ(replaced.size(), 100000u);
    EXPECT_EQ(map.extent_count(), 3u);
    EXPECT_EQ(map.data_sectors(), 8u);
    EXPECT_TRUE(map.check());
}

TEST(ExtentMap, ScatteredBlocksStayWithinTheMemoryGoal) {
    const uint64_t blocks = 1 << 20;
    ExtentMap map;
    for (uint64_t i = 0; i < blocks / 2; ++i) {
        const uint64_t block = i * 0x9E3779B1u % blocks * 3;  // odd multiplier: a permutation
        map.insert(unit(block * 8, 8, i * 8));
    }
    EXPECT_EQ(map.extent_count(), blocks / 2);
    EXPECT_LE(map.memory_bytes(), blocks / 2 * 24);
    EXPECT_TRUE(map.check());
}

TEST(ExtentMap, GivesMemoryBackWhenExtentsGo) {
    ExtentMap map;
    for (uint64_t i = 0; i < 300000; ++i) {
        map.insert(unit(i * 7919 % 300000 * 16, 8, i * 8));
    }
    const uint64_t full = map.memory_bytes();
    map.erase(Sector(16 * 1000), kSectorLimit);
    EXPECT_EQ(map.extent_count(), 1000u);
    EXPECT_TRUE(map.check());
    map.erase(Sector(0), kSectorLimit);
    EXPECT_TRUE(map.empty());
    EXPECT_LT(map.memory_bytes(), full / 100);
    EXPECT_TRUE(map.check());
}

// Deleting at random must not leave a crowd of nearly empty leaves.
TEST(ExtentMap, StaysDenseAfterScatteredErases) {
    ExtentMap map;
    const uint64_t blocks = 400000;
    for (uint64_t i = 0; i < blocks; ++i) {
        map.insert(unit(i * 7919 % blocks * 16, 8, i * 8));
    }
    const uint64_t before = map.memory_bytes();
    for (uint64_t i = 0; i < blocks * 9 / 10; ++i) {
        const uint64_t start = i * 104729 % blocks * 16;
        map.erase(Sector(start), Sector(start + 8));
    }
    EXPECT_TRUE(map.check());
    EXPECT_EQ(map.extent_count(), blocks / 10);
    // Freed nodes wait for reuse in their chunks; new extents fill those first.
    for (uint64_t i = 0; i < blocks / 2; ++i) {
        map.insert(unit((blocks + i) * 16, 8, i * 8));
    }
    EXPECT_LE(map.memory_bytes(), before + (4u << 20));
}

TEST(ExtentMap, MovesSwapsAndClears) {
    ExtentMap a;
    a.insert(unit(8, 8, 80));
    ExtentMap b(std::move(a));
    EXPECT_EQ(b.extent_count(), 1u);
    EXPECT_TRUE(a.empty());  // NOLINT: a moved-from map is an empty map
    a.insert(zero(0, 4));
    a.swap(b);
    EXPECT_EQ(all(a), std::vector{unit(8, 8, 80)});
    a = std::move(b);
    EXPECT_EQ(all(a), std::vector{zero(0, 4)});
    a.clear();
    EXPECT_TRUE(a.empty());
    EXPECT_EQ(a.data_sectors(), 0u);
    EXPECT_TRUE(a.check());
}

}  // namespace
}  // namespace predsnap
