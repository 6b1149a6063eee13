// SPDX-License-Identifier: GPL-2.0-or-later
//
// References: old history that is stored as what differs from what packs hold.
#include <algorithm>
#include <random>

#include "image_test.h"

namespace predsnap::test {
namespace {

constexpr uint64_t kFirst = 256;  // what lies below is for go_on()
constexpr uint64_t kPiece = 64;

// Pages of which one writing changes little: half of a sector is noise that stays, and does not get smaller. Versions of sectors, 0:
// nothing was written.
using Versions = std::vector<uint32_t>;

void fill_page_sector(uint8_t* to, uint32_t version, uint64_t sector) {
    std::memset(to, 0, kSectorSize);
    if (version == 0) {
        return;
    }
    std::mt19937_64 noise(sector);
    for (size_t at = 0; at < kSectorSize / 2; at += sizeof(uint64_t)) {
        const uint64_t word = noise();
        std::memcpy(to + at, &word, sizeof(word));
    }
    std::memcpy(to + kSectorSize / 2, &version, sizeof(version));
}

class ReferencesTest : public WithoutWindowTest {
  protected:
    void SetUp() override {
        options.pack_after_us = 60'000'000;
        WithoutWindowTest::SetUp();
        pages.assign(kTestSectors, 0);
    }
    void write_pages(uint64_t from, uint64_t to, uint32_t version) {
        std::vector<uint8_t> data(kPiece * kSectorSize);
        for (uint64_t sector = from; sector < to; sector += kPiece) {
            for (uint64_t i = 0; i < kPiece; ++i) {
                fill_page_sector(&data[i * kSectorSize], version, sector + i);
                pages[sector + i] = version;
            }
            const iovec buffer{data.data(), data.size()};
            ASSERT_TRUE(engine->write(sector * kSectorSize, {&buffer, 1}).ok());
        }
    }
    void write_all(uint32_t version) { write_pages(kFirst, kTestSectors, version); }
    // The log moves on by so many segments, and the background follows.
    void go_on(int segments) {
        for (int i = 0; i < segments; ++i) {
            for (uint64_t at = 0; at + 40 <= 160; at += 40) {
                must_write(at, 40);
            }
            flush();
            work_in_background();
        }
    }
    void rest(int minutes = 3) {
        for (int i = 0; i < 10 * minutes; ++i) {
            host.pass(6'000'000);
            engine->tend();
            work_in_background();
        }
    }
    // What go_on() wrote is left out.
    template <typename Source>
    void expect_pages(Source& source, const Versions& expected) {
        std::vector<uint8_t> data(kTestSectors * kSectorSize), sector(kSectorSize);
        const iovec buffer{data.data(), data.size()};
        const auto read = source.read(0, {&buffer, 1});
        ASSERT_TRUE(read.ok()) << read.error().message;
        for (uint64_t at = kFirst; at < kTestSectors; ++at) {
            fill_page_sector(sector.data(), expected[at], at);
            ASSERT_EQ(std::memcmp(&data[at * kSectorSize], sector.data(), kSectorSize), 0) << "sector " << at;
        }
    }
    void expect_pages_at(const std::string& snapshot, const Versions& expected) {
        auto view = engine->open_view(at(snapshot));
        ASSERT_TRUE(view.ok()) << view.error().message;
        expect_pages(*view.value(), expected);
    }
    void expect_no_damage() {
        const auto checked = engine->check({});
        ASSERT_TRUE(checked.ok());
        EXPECT_EQ(checked.value().corruptions, 0u) << checked.value().findings.front();
    }
    void expect_all(const Versions& old) {
        expect_pages(*engine, pages);
        expect_pages_at("old", old);
        expect_no_damage();
    }
    // All is written, kept by a snapshot, written again, and packed: "old" is stored after the packs.
    Versions refer() {
        write_all(1);
        const Versions old = pages;
        snapshot("old");
        write_all(2);
        go_on(8);
        streams_before = engine->info().segments_stream;
        rest();
        EXPECT_GT(engine->stats().streams_referred, 0u);
        return old;
    }

    // Counts pages that can be read, and are right, and those that give EIO.
    void read_damaged(View& view, const Versions& old, uint64_t* good, uint64_t* bad) {
        std::vector<uint8_t> data(8 * kSectorSize), expected(kSectorSize);
        const iovec buffer{data.data(), data.size()};
        for (uint64_t at = kFirst; at < kTestSectors; at += 8) {
            const auto read = view.read(at * kSectorSize, {&buffer, 1});
            ++(read.ok() ? *good : *bad);
            for (uint64_t i = 0; read.ok() && i < 8; ++i) {
                fill_page_sector(expected.data(), old[at + i], at + i);
                ASSERT_EQ(std::memcmp(&data[i * kSectorSize], expected.data(), kSectorSize), 0);
            }
            if (!read.ok()) {
                ASSERT_EQ(read.error().code, EIO);
            }
        }
    }

    Versions pages;
    uint64_t streams_before = 0;
};

TEST_F(ReferencesTest, OldHistoryIsStoredAsWhatDiffersFromPacks) {
    const Versions old = refer();
    // Alone half of the data would be left; what is in the packs takes that.
    const uint64_t packs = engine->stats().pack_bytes / kTestSegment + 1;
    EXPECT_LE(engine->info().segments_stream, packs + 2);
    EXPECT_GE(streams_before, packs);
    expect_all(old);
}

TEST_F(ReferencesTest, ItIsThereAfterEachKindOfEnd) {
    const Versions old = refer();
    kill_and_open();
    expect_all(old);
    lose_power_and_open();
    expect_all(old);
    close_and_open();
    expect_all(old);
    ASSERT_TRUE(engine->checkpoint().ok());
    kill_and_open();
    expect_all(old);
}

TEST_F(ReferencesTest, TheDiskCanGoBackToIt) {
    const Versions old = refer();
    const Versions new_pages = std::exchange(pages, old);
    ASSERT_TRUE(engine->rollback(at("old")).ok());
    expect_all(old);
    kill_and_open();
    expect_all(old);
    write_pages(kFirst, kFirst + 4 * kPiece, 3);
    go_on(12);
    rest();
    expect_all(old);
    ASSERT_TRUE(engine->snapshot_delete("old").ok());
    go_on(12);
    rest();
    expect_pages(*engine, pages);
    kill_and_open();
    expect_pages(*engine, pages);
    expect_no_damage();
}

// Most of the packs is overwritten: they are kept, or what is stored after them is stored anew.
TEST_F(ReferencesTest, PacksThatAreOverwrittenStayWhileTheyAreNeeded) {
    const Versions old = refer();
    for (uint32_t version = 3; version < 9; ++version) {
        write_pages(kFirst + version % 2 * 8 * kPiece, kTestSectors, version);
        go_on(8);
        expect_all(old);
        rest();
        expect_all(old);
        kill_and_open();
        expect_all(old);
    }
}

TEST_F(ReferencesTest, WhenHistoryGoesThePacksDo) {
    refer();
    ASSERT_TRUE(engine->snapshot_delete("old").ok());
    for (uint64_t sector = kFirst; sector < kTestSectors; sector += kPiece) {
        must_write(sector, kPiece);
    }
    engine->set_pack_after(-1);
    go_on(12);
    EXPECT_EQ(engine->info().packs, 0u);
    EXPECT_EQ(engine->info().streams, 0u);
    expect_no_damage();
}

// A view reads what was dropped, and what that needs.
TEST_F(ReferencesTest, AViewKeepsWhatItNeeds) {
    const Versions old = refer();
    auto view = engine->open_view(at("old"));
    ASSERT_TRUE(view.ok());
    ASSERT_TRUE(engine->snapshot_delete("old").ok());
    write_all(5);
    go_on(8);
    rest();
    expect_pages(*view.value(), old);
    expect_pages(*engine, pages);
    view.value().reset();
    go_on(8);
    rest();
    expect_pages(*engine, pages);
    expect_no_damage();
}

// At each write of packing and storing anew it may end, with what was flushed or all that was written.
TEST_F(ReferencesTest, ACrashAtAnyStepOfItLosesNothing) {
    write_all(1);
    const Versions old = pages;
    snapshot("old");
    write_all(2);
    go_on(8);
    flush();
    const auto images = images_during([&] { rest(); });
    ASSERT_GT(engine->stats().streams_referred, 0u);
    ASSERT_GT(images.size(), 20u);
    for (const std::vector<uint8_t>& image : images) {
        open_image(image);
        expect_all(old);
        if (HasFatalFailure()) {
            return;
        }
    }
}

// Damage of a pack is told of what is stored after it, and nothing wrong is read.
TEST_F(ReferencesTest, DamageOfAPackIsToldByWhatNeedsIt) {
    const Versions old = refer();
    ASSERT_TRUE(engine->checkpoint().ok());
    kill();
    const std::vector<uint8_t> image = file.bytes;
    uint64_t bad = 0, good = 0;
    for (uint32_t id = 0; image_offset(id, kBlockSize) < image.size(); ++id) {
        if (image[image_offset(id, 4)] != static_cast<uint8_t>(format::SegmentKind::stream)) {
            continue;
        }
        file.bytes = file.durable = image;
        flip(image_offset(id, kBlockSize + 16));
        open();
        auto view = engine->open_view(at("old"));
        if (view.ok()) {  // else it was the stream's index
            const uint64_t before = bad;
            read_damaged(*view.value(), old, &good, &bad);
            const auto checked = engine->check({});
            ASSERT_TRUE(checked.ok());
            EXPECT_TRUE(bad == before || checked.value().corruptions > 0);
            view.value().reset();
        }
        kill();
    }
    EXPECT_GT(bad, 0u);
    EXPECT_GT(good, 0u);
    EXPECT_GT(host.count(Event::corruption), 0u);
    file.bytes = file.durable = image;
    open();
}

// What has nothing in common with the packs is left as it is.
TEST_F(ReferencesTest, NothingIsStoredAnewWhereThatSavesNothing) {
    for (uint64_t sector = kFirst; sector < kTestSectors; sector += kPiece) {
        must_write(sector, kPiece);
    }
    snapshot("old");
    write_all(2);
    go_on(8);
    rest();
    EXPECT_GT(engine->info().packs, 0u);
    EXPECT_EQ(engine->stats().streams_referred, 0u);
}

// Streams that are dropped leave holes in segments they shared.
TEST_F(ReferencesTest, StreamsThatAreLeftInSharedSegmentsAreCopiedTogether) {
    engine->set_pack_after(-1);
    std::vector<Versions> states;
    for (uint32_t i = 0; i < 24; ++i) {
        // Each its own part, so that neighbours have nothing in common and do not get smaller when they are merged.
        const uint64_t at = kFirst + i * kPiece;
        write_pages(at, at + kPiece, 100);
        states.push_back(pages);
        snapshot("s" + std::to_string(i));
        write_pages(at, at + kPiece, 101);
        go_on(4);
    }
    const uint64_t before = engine->info().segments_stream;
    ASSERT_GT(before, 6u);
    for (uint32_t i = 0; i < 16; ++i) {  // the oldest: these are dropped, not merged
        if (i % 8 != 7) {
            ASSERT_TRUE(engine->snapshot_delete("s" + std::to_string(i)).ok());
        }
    }
    go_on(16);
    EXPECT_GT(engine->stats().streams_compacted, 0u);
    EXPECT_LT(engine->info().segments_stream, before);
    for (uint32_t i = 7; i < 24; i += i < 15 ? 8 : 1) {
        expect_pages_at("s" + std::to_string(i), states[i]);
    }
    expect_pages(*engine, pages);
    expect_no_damage();
    kill_and_open();
    for (uint32_t i = 7; i < 24; i += i < 15 ? 8 : 1) {
        expect_pages_at("s" + std::to_string(i), states[i]);
    }
    expect_pages(*engine, pages);
}

}  // namespace
}  // namespace predsnap::test
