// SPDX-License-Identifier: GPL-2.0-or-later
//
// Change vectors against a disk that knows of each sector whether it holds data.
#include "block/engine/change_vector.h"

#include <gtest/gtest.h>

#include <random>

#include "block/engine/similarity.h"

namespace predsnap::test {
namespace {

constexpr uint64_t kChunks = 24;
constexpr uint64_t kSectors = kChunks * kChunkSectors;

// Whether each sector holds data, and whether it was changed since the last mark.
struct NaiveDisk {
    std::vector<bool> data = std::vector<bool>(kSectors);

    static ChangeVector difference(const NaiveDisk& before, const NaiveDisk& after, const std::vector<bool>& changed) {
        ChangeVector result;
        for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
            bool any = false, had = false, has = false;
            for (uint64_t s = chunk * kChunkSectors; s < (chunk + uint64_t{1}) * kChunkSectors; ++s) {
                any = any || changed[s];
                had = had || (changed[s] && before.data[s]);
                has = has || (changed[s] && after.data[s]);
            }
            if (any) {
                (!has ? result.discarded : had ? result.modified : result.added).append(chunk, chunk);
            }
        }
        return result;
    }
};

struct Step {
    Sector start;
    uint64_t count;
    bool data;
};

Step draw(std::mt19937_64& random, bool whole_chunks) {
    const uint64_t unit = whole_chunks ? kChunkSectors : 1;
    const uint64_t start = random() % (kSectors / unit);
    const uint64_t most = kSectors / unit - start;
    const uint64_t count = 1 + random() % std::min<uint64_t>(most, random() % 8 == 0 ? most : whole_chunks ? 3 : 40);
    return {Sector(start * unit), count * unit, random() % 3 != 0};
}

void play(const Step& step, NaiveDisk& disk, std::vector<bool>& changed, IntervalChange* change) {
    for (uint64_t s = step.start.value; s < step.start.value + step.count; ++s) {
        if (change != nullptr && disk.data[s]) {
            change->had_data(Sector(s), 1);
        }
    }
    for (uint64_t s = step.start.value; s < step.start.value + step.count; ++s) {
        disk.data[s] = step.data;
        changed[s] = true;
    }
    if (change != nullptr) {
        change->changed(step.start, step.count, step.data);
    }
}

TEST(ChangeVectorTest, OfBatchesItIsExact) {
    std::mt19937_64 random(1);
    NaiveDisk disk;
    IntervalChange change;
    for (int round = 0; round < 300; ++round) {
        const NaiveDisk before = disk;
        std::vector<bool> changed(kSectors);
        uint64_t sectors = 0;
        for (uint64_t steps = random() % 12; steps > 0; --steps) {
            const Step step = draw(random, false);
            play(step, disk, changed, &change);
            sectors += step.count;
        }
        EXPECT_EQ(change.vector(), NaiveDisk::difference(before, disk, changed)) << round;
        EXPECT_EQ(change.counts(), change.vector().counts()) << round;
        EXPECT_EQ(change.sectors(), sectors);
        for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
            const auto begin = changed.begin() + static_cast<ptrdiff_t>(chunk * kChunkSectors);
            EXPECT_EQ(change.whole().contains(chunk),
                      std::all_of(begin, begin + static_cast<ptrdiff_t>(kChunkSectors), [](bool c) { return c; }));
        }
        change.clear();
    }
}

TEST(ChangeVectorTest, ToldBackwardsItIsTheSame) {
    std::mt19937_64 random(2);
    NaiveDisk disk;
    for (int round = 0; round < 300; ++round) {
        const NaiveDisk before = disk;
        std::vector<bool> changed(kSectors);
        std::vector<Step> steps;
        for (uint64_t left = random() % 12; left > 0; --left) {
            steps.push_back(draw(random, false));
            play(steps.back(), disk, changed, nullptr);
        }
        IntervalChange backwards;
        for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
            backwards.changed_before(step->start, step->count, step->data);
        }
        EXPECT_EQ(backwards.data_after(), NaiveDisk::difference(before, disk, changed).after()) << round;
    }
}

struct Joined {
    ChangeVector rule, truth;
};

Joined join_two(std::mt19937_64& random, bool whole_chunks) {
    NaiveDisk first;
    std::vector<bool> unused(kSectors);
    for (int i = 0; i < 5; ++i) {
        play(draw(random, whole_chunks), first, unused, nullptr);
    }
    NaiveDisk disk = first;
    std::vector<bool> changed[2] = {std::vector<bool>(kSectors), std::vector<bool>(kSectors)};
    ChangeVector parts[2];
    IntervalChange newer;
    for (int part = 0; part < 2; ++part) {
        const NaiveDisk before = disk;
        for (int i = 0; i < 4; ++i) {
            play(draw(random, whole_chunks), disk, changed[part], part == 1 ? &newer : nullptr);
        }
        parts[part] = NaiveDisk::difference(before, disk, changed[part]);
    }
    std::vector<bool> either(kSectors);
    for (uint64_t s = 0; s < kSectors; ++s) {
        either[s] = changed[0][s] || changed[1][s];
    }
    return {ChangeVector::join(parts[0], parts[1], newer.whole()), NaiveDisk::difference(first, disk, either)};
}

TEST(ChangeVectorTest, JoinedTheyAreExactWhereWholeChunksChange) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 300; ++round) {
        const Joined joined = join_two(random, true);
        // What was discarded at first had data, or not: only that is not known any more.
        EXPECT_EQ(joined.rule.changed(), joined.truth.changed());
        EXPECT_EQ(joined.rule.after(), joined.truth.after());
        EXPECT_TRUE((joined.truth.modified - joined.rule.modified).empty());
    }
}

TEST(ChangeVectorTest, JoinedTheyNeverForgetAChunkNorTheDataInIt) {
    std::mt19937_64 random(3);
    for (int round = 0; round < 300; ++round) {
        const Joined joined = join_two(random, false);
        EXPECT_EQ(joined.rule.changed(), joined.truth.changed());
        EXPECT_TRUE((joined.truth.after() - joined.rule.after()).empty());
    }
}

TEST(ChangeVectorTest, VMStateDoesNotCount) {
    ExtentChunks chunks;
    Extent extent;
    extent.start = Sector(5);
    extent.count = 300;
    chunks.add(extent);
    extent.start = kVmStateBase;
    chunks.add(extent);
    EXPECT_EQ(chunks.changed.count(), 3u);
    EXPECT_EQ(chunks.whole.count(), 1u);
    EXPECT_TRUE(chunks.data.empty());
    EXPECT_EQ(chunks.sectors, 300u);
    EXPECT_EQ(chunks.first, Sector(5));
    EXPECT_EQ(chunks.end, Sector(305));
}

Changed changed(uint32_t first, uint32_t last, uint64_t sectors) {
    Changed result;
    result.chunks.append(first, last);
    result.sectors = sectors;
    return result;
}

TEST(SimilarityTest, TheMoreTheyHaveInCommonTheMoreIsSaved) {
    const auto saved = [](const std::vector<Changed>& some) {
        uint64_t sum = 0;
        for (const Changed& one : some) {
            sum += one.sectors;
        }
        return sum - expected_union(some);
    };
    EXPECT_EQ(saved({changed(0, 9, 1000), changed(10, 19, 1000)}), 0u);
    EXPECT_NEAR(static_cast<double>(saved({changed(0, 9, 1280), changed(0, 9, 1280)})), 1280, 1);  // all of it
    const uint64_t half = saved({changed(0, 9, 640), changed(0, 9, 640)});
    EXPECT_NEAR(static_cast<double>(half), 320, 1);  // half of the chunks' sectors each: a quarter is in both
    EXPECT_GT(saved({changed(0, 9, 640), changed(0, 9, 640), changed(0, 9, 640)}), 2 * half);
    EXPECT_LT(saved({changed(0, 9, 640), changed(5, 14, 640)}), half);
    EXPECT_GT(saved({changed(0, 9, 640), changed(5, 14, 640)}), 0u);
    EXPECT_EQ(expected_union({}), 0u);
}

}  // namespace
}  // namespace predsnap::test
