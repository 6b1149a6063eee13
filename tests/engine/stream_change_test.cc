// SPDX-License-Identifier: GPL-2.0-or-later
//
// What streams know of what changed in them, and their dictionaries.
#include <algorithm>
#include <random>

#include "block/engine/change_vector.h"
#include "block/engine/stream.h"
#include "image_test.h"

namespace predsnap::test {
namespace {

// Without a window, so that only snapshots keep history.
class StreamChangeTest : public WithoutWindowTest {
  protected:
    // Something random happens, and then there is a snapshot.
    void step(const std::string& name) {
        State state;
        state.touched.assign(kTestSectors, false);
        for (uint64_t i = 1 + random_() % 4; i > 0; --i) {
            const uint64_t start = random_() % kTestSectors;
            const uint64_t count = 1 + random_() % std::min<uint64_t>(kTestSectors - start, 300);
            EXPECT_TRUE((random_() % 3 == 0 ? zero(start, count) : write(start, count)).ok());
            std::fill_n(state.touched.begin() + static_cast<ptrdiff_t>(start), count, true);
        }
        snapshot(name);
        state.stamps = now;
        states_.push_back(state);
    }
    // What changed from one of the steps to a later one.
    ChangeVector truth(size_t from, size_t to) const {
        ChangeVector result;
        for (uint32_t chunk = 0; chunk < kTestSectors / kChunkSectors; ++chunk) {
            bool any = false, had = false, has = false;
            for (uint64_t s = chunk * kChunkSectors; s < (chunk + uint64_t{1}) * kChunkSectors; ++s) {
                const bool touched = touched_between(from, to, s);
                any = any || touched;
                had = had || (touched && states_[from].stamps[s] != 0);
                has = has || (touched && states_[to].stamps[s] != 0);
            }
            if (any) {
                (!has ? result.discarded : had ? result.modified : result.added).append(chunk, chunk);
            }
        }
        return result;
    }
    bool touched_between(size_t from, size_t to, uint64_t sector) const {
        bool touched = false;
        for (size_t i = from + 1; i <= to; ++i) {
            touched = touched || states_[i].touched[sector];
        }
        return touched;
    }
    uint64_t bytes_between(size_t from, size_t to) const {
        uint64_t sectors = 0;
        for (uint64_t s = 0; s < kTestSectors; ++s) {
            sectors += touched_between(from, to, s);
        }
        return sectors * kSectorSize;
    }
    PointInfo point_of(const std::string& snapshot) {
        const auto points = engine->points({});
        EXPECT_TRUE(points.ok());
        const auto found = std::find_if(points.value().begin(), points.value().end(),
                                        [&](const PointInfo& point) { return point.snapshot == snapshot; });
        EXPECT_NE(found, points.value().end()) << snapshot;
        return found == points.value().end() ? PointInfo() : *found;
    }
    void expect_change(const std::string& name, size_t from, size_t to) {
        const PointInfo point = point_of(name);
        const ChangeVector vector = truth(from, to);
        EXPECT_EQ(point.chunks_added, vector.added.count()) << name;
        EXPECT_EQ(point.chunks_modified, vector.modified.count()) << name;
        EXPECT_EQ(point.chunks_discarded, vector.discarded.count()) << name;
        EXPECT_EQ(point.bytes_changed, bytes_between(from, to)) << name;
    }

    struct State {
        Stamps stamps;
        std::vector<bool> touched;
    };
    std::vector<State> states_;
    std::mt19937_64 random_{5};
};

TEST_F(StreamChangeTest, PointsInStreamsKnowWhatChangedExactly) {
    for (int i = 0; i < 12; ++i) {
        step("s" + std::to_string(i));
        random_() % 2 == 0 ? flush() : void();
    }
    churn(16);
    ASSERT_GE(engine->info().streams, 12u);
    for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(point_of("s0").chunks_changed(), 0u);  // what was before is not known
        for (size_t i = 1; i < states_.size(); ++i) {
            expect_change("s" + std::to_string(i), i - 1, i);
        }
        kill_and_open();
    }
}

TEST_F(StreamChangeTest, TheFirstPointOfTheLogCountsWhatIsInTheStreamBeforeIt) {
    step("s0");
    must_write(1000, 600);
    churn(16);
    const auto points = engine->points({});
    ASSERT_TRUE(points.ok());
    ASSERT_GT(points.value().size(), 1u);
    EXPECT_EQ(points.value()[0].snapshot, "s0");
    EXPECT_GT(points.value()[1].sequence, engine->info().floor);
    EXPECT_GE(points.value()[1].chunks_changed(), 6u);  // chunks 7 to 12, and what filled segments
    PointQuery query;  // it does not depend on the query
    query.limit = points.value().size() - 1;
    const auto fewer = engine->points(query);
    ASSERT_TRUE(fewer.ok());
    EXPECT_EQ(fewer.value()[0].chunks_changed(), points.value()[1].chunks_changed());
    EXPECT_EQ(fewer.value()[0].bytes_changed, points.value()[1].bytes_changed);
}

// A merged stream's vectors are made of those it was merged from.
TEST_F(StreamChangeTest, MergedTheyStillKnowAllThatChanged) {
    for (int i = 0; i < 9; ++i) {
        step("s" + std::to_string(i));
    }
    churn(16);
    for (const int gone : {2, 4, 5, 7}) {
        ASSERT_TRUE(engine->snapshot_delete("s" + std::to_string(gone)).ok());
    }
    engine->begin_coalescing({});
    work_in_background();
    EXPECT_GE(engine->stats().merges, 3u);
    const auto expect = [&](size_t from, size_t to) {
        const std::string name = "s" + std::to_string(to);
        const PointInfo point = point_of(name);
        const ChangeVector vector = truth(from, to);
        EXPECT_EQ(point.chunks_changed(), vector.changed().count()) << name;
        EXPECT_EQ(point.bytes_changed, bytes_between(from, to)) << name;
        // Data is only ever thought to be left that is not, and what was there before is known exactly.
        EXPECT_LE(point.chunks_discarded, vector.discarded.count()) << name;
        EXPECT_GE(point.chunks_added, vector.added.count()) << name;
        EXPECT_GE(point.chunks_modified, vector.modified.count()) << name;
    };
    expect(1, 3);
    expect(3, 6);
    expect(6, 8);
    expect_change("s1", 0, 1);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u) << checked.value().findings.front();
}

TEST_F(StreamChangeTest, WhatCannotBeReadOfOneIsReportedAndTheRestListed) {
    for (int i = 0; i < 4; ++i) {
        step("s" + std::to_string(i));
    }
    churn(16);
    kill();
    bool done = false;
    for (uint64_t at = 0; !done && at + 4 < file.bytes.size(); at += 4) {
        for (uint64_t i = at; !done && i < at + 4; ++i) {
            done = std::equal(std::begin(format::kStreamIndexMagic), std::end(format::kStreamIndexMagic), &file.bytes[i]);
            done ? flip(i + 50) : void();
        }
    }
    ASSERT_TRUE(done);
    open();
    const size_t before = host.reports.size();
    uint64_t known = 0;
    for (const char* name : {"s1", "s2", "s3"}) {
        known += point_of(name).chunks_changed() > 0;
    }
    EXPECT_GE(known, 2u);
    EXPECT_GT(host.reports.size(), before);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_GT(checked.value().corruptions, 0u);
}

// --- dictionaries ---

constexpr uint64_t kTableBytes = 8 << 20;

class StreamDictionaryTest : public StreamChangeTest {
  protected:
    void SetUp() override {
        CreateOptions image;
        image.size = kTableBytes;
        image.segment_size = 1 << 20;
        options.dictionary_frames = 16;
        create(image);
        open();
        ASSERT_TRUE(engine->set_retention({0, {}}).ok());
    }
    // Rows of a table that differ in little, each sector another.
    static std::vector<uint8_t> table(unsigned version) {
        std::mt19937_64 random(7);
        std::vector<std::string> rows(300);
        for (std::string& row : rows) {
            for (int i = 0; i < 56; ++i) {
                row += static_cast<char>('a' + random() % 26);
            }
        }
        random.seed(version);
        std::vector<uint8_t> bytes;
        while (bytes.size() < kTableBytes) {
            const std::string& row = rows[random() % rows.size()];
            bytes.insert(bytes.end(), row.begin(), row.end());
            for (int i = 0; i < 8; ++i) {
                bytes.push_back(static_cast<uint8_t>(random()));
            }
        }
        bytes.resize(kTableBytes);
        return bytes;
    }
    void write_table(unsigned version) {
        std::vector<uint8_t> bytes = table(version);
        for (uint64_t at = 0; at < bytes.size(); at += 256 << 10) {
            const iovec part{bytes.data() + at, 256 << 10};
            ASSERT_TRUE(engine->write(at, {&part, 1}).ok());
        }
        flush();
        work_in_background();
    }
    void old_table() {
        write_table(1);
        snapshot("old");
        write_table(2);
        write_table(3);
        ASSERT_GT(engine->info().floor, engine->snapshots().front().sequence);
        ASSERT_EQ(engine->info().streams, 1u);
    }
    // Sectors that cannot be read; the others are right.
    uint64_t bad_sectors() {
        const std::vector<uint8_t> expected = table(1);
        auto view = engine->open_view(at("old"));
        EXPECT_TRUE(view.ok());
        std::vector<uint8_t> sector(kSectorSize);
        uint64_t bad = 0;
        for (uint64_t s = 0; s < kTableBytes / kSectorSize; ++s) {
            const iovec part{sector.data(), sector.size()};
            const auto read = view.value()->read(s * kSectorSize, {&part, 1});
            EXPECT_TRUE(read.ok() || read.error().code == EIO);
            bad += !read.ok();
            EXPECT_TRUE(!read.ok() || std::equal(sector.begin(), sector.end(), &expected[s * kSectorSize]));
        }
        return bad;
    }
    // Of the first dictionary in the image.
    uint64_t dictionary_at() const {
        constexpr uint8_t kMagic[] = {0x37, 0xa4, 0x30, 0xec};
        const auto found = std::search(file.bytes.begin(), file.bytes.end(), std::begin(kMagic), std::end(kMagic));
        EXPECT_NE(found, file.bytes.end());
        return static_cast<uint64_t>(found - file.bytes.begin());
    }
};

TEST_F(StreamDictionaryTest, AStreamIsReadThroughItsOwn) {
    old_table();
    EXPECT_EQ(engine->stats().dictionaries_trained, 1u);
    EXPECT_GE(engine->stats().dictionaries_used, 1u);
    EXPECT_GT(engine->stats().dictionary_savings, 100'000u);
    EXPECT_EQ(bad_sectors(), 0u);
    lose_power_and_open();
    EXPECT_EQ(bad_sectors(), 0u);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u) << checked.value().findings.front();
}

TEST_F(StreamDictionaryTest, ItMakesTheStreamSmaller) {
    old_table();
    const uint64_t with = engine->stats().stream_bytes;
    const uint64_t expected = engine->stats().dictionary_savings;
    kill();
    options.dictionary_frames = 0;
    CreateOptions image;
    image.size = kTableBytes;
    image.segment_size = 1 << 20;
    create(image);
    open();
    ASSERT_TRUE(engine->set_retention({0, {}}).ok());
    old_table();
    EXPECT_EQ(engine->stats().dictionaries_used, 0u);
    const uint64_t without = engine->stats().stream_bytes;
    EXPECT_LT(with, without);
    EXPECT_NEAR(static_cast<double>(without - with), static_cast<double>(expected), static_cast<double>(expected) / 4);
}

TEST_F(StreamDictionaryTest, ADamagedOneIsEIOForWhatNeedsItAndFoundOnce) {
    old_table();
    kill();
    flip(dictionary_at() + 5000);
    open();
    const size_t before = host.reports.size();
    EXPECT_EQ(bad_sectors(), kTableBytes / kSectorSize);
    EXPECT_GT(host.reports.size(), before);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 1u);
    EXPECT_NE(checked.value().findings.front().find("dictionary"), std::string::npos);
    // The current state does not need it.
    std::vector<uint8_t> data(kTableBytes);
    const iovec whole{data.data(), data.size()};
    ASSERT_TRUE(engine->read(0, {&whole, 1}).ok());
    EXPECT_EQ(data, table(3));
}

}  // namespace
}  // namespace predsnap::test
