// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reading: checksums, scattered buffers, and what is said about ranges.
#include "image_test.h"

namespace predsnap::test {
namespace {

class ReaderTest : public ImageTest {
  protected:
    Result<void> read(uint64_t sector, uint64_t count) {
        std::vector<uint8_t> data(count * kSectorSize);
        const iovec buffer{data.data(), data.size()};
        return engine->read(sector * kSectorSize, {&buffer, 1});
    }
    // Where the content of a sector lies in the image.
    uint64_t place_of(uint64_t sector) {
        const auto status = engine->status(sector * kSectorSize, kSectorSize, true);
        EXPECT_TRUE(status.ok() && status.value().place);
        return to_bytes(*status.value().place);
    }
    void expect_status(uint64_t sector, uint64_t count, bool data, bool zero) {
        const auto status =
            engine->status(sector * kSectorSize, (kTestSectors - sector) * kSectorSize);
        ASSERT_TRUE(status.ok());
        EXPECT_EQ(status.value().length, count * kSectorSize) << "at sector " << sector;
        EXPECT_EQ(status.value().data, data) << "at sector " << sector;
        EXPECT_EQ(status.value().zero, zero) << "at sector " << sector;
    }
};

TEST_F(ReaderTest, AFlippedBitIsAnErrorAndAReport) {
    must_write(0, 8);
    flip(place_of(3) + 100);
    const Result<void> result = read(0, 8);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, EIO);
    ASSERT_EQ(host.count(Event::corruption), 1u);
    EXPECT_EQ(host.reports.back().offset, 0u);
    EXPECT_EQ(host.reports.back().length, 8 * kSectorSize);
    EXPECT_TRUE(engine->info().corrupt);
    EXPECT_EQ(engine->stats().checksum_errors, 1u);
}

TEST_F(ReaderTest, OnlyTheDamagedBlockOfALongWriteIsLost) {
    must_write(3, 40);
    flip(place_of(20));
    EXPECT_TRUE(read(3, 13).ok());
    EXPECT_EQ(read(16, 1).error().code, EIO);
    EXPECT_EQ(read(23, 1).error().code, EIO);
    EXPECT_TRUE(read(24, 19).ok());
    EXPECT_EQ(host.reports.back().offset, 16 * kSectorSize);
}

TEST_F(ReaderTest, DamageUnderANewerWriteDoesNotMatter) {
    must_write(0, 40);
    const uint64_t old = place_of(10);
    must_write(8, 8);
    flip(old);
    EXPECT_EQ(content(), now);
}

TEST_F(ReaderTest, DamageInThePartOfAUnitThatWasOverwrittenIsNoticed) {
    must_write(0, 8);
    flip(place_of(7));
    must_write(7, 1);
    // The rest can only be verified with what is damaged: rather no data than wrong data.
    EXPECT_EQ(read(0, 1).error().code, EIO);
    EXPECT_TRUE(read(7, 1).ok());
}

TEST_F(ReaderTest, DamageIsNoticedWhenTheIndexHasABlob) {
    must_write(3, 40);
    fill_segments(2);
    must_write(3, 40);
    const uint64_t place = place_of(20);
    fill_segments(3);
    must_write(500, 1);
    flush();
    work_in_background();
    kill_and_open();
    EXPECT_EQ(content(), now);
    if (place == place_of(20)) {
        flip(place);
        EXPECT_EQ(read(16, 8).error().code, EIO);
    }
}

TEST_F(ReaderTest, ABitThatIsWrongOnlyOnceIsReadAgain) {
    must_write(0, 8);
    bool once = true;
    file.before = [&](const MemoryDevice::Call& call) {
        if (call.op == MemoryDevice::Op::read && once) {
            flip(place_of(3));
            once = false;
        } else if (call.op == MemoryDevice::Op::read) {
            flip(place_of(3));
            file.before = nullptr;
        }
    };
    EXPECT_TRUE(read(0, 8).ok());
    EXPECT_EQ(host.count(Event::corruption), 0u);
}

TEST_F(ReaderTest, AnErrorOfTheDeviceIsPassedOn) {
    must_write(0, 8);
    file.fail = [](const MemoryDevice::Call& call) {
        return call.op == MemoryDevice::Op::read ? EIO : 0;
    };
    EXPECT_EQ(read(0, 8).error().code, EIO);
    EXPECT_EQ(host.count(Event::corruption), 0u);
    EXPECT_TRUE(read(100, 8).ok());  // a hole needs no device
}

TEST_F(ReaderTest, CutExtentsReadRight) {
    must_write(1, 60);
    for (uint64_t i = 0; i < 20; ++i) {
        must_write(i * 3 + 1, 1);
        ASSERT_TRUE(zero(i * 3 + 2, 1).ok());
        ASSERT_EQ(content(), now);
    }
}

TEST_F(ReaderTest, ScatteredBuffersAreFilledInOrder) {
    must_write(0, 16);
    std::vector<uint8_t> whole(16 * kSectorSize), parts(16 * kSectorSize);
    const iovec one{whole.data(), whole.size()};
    ASSERT_TRUE(engine->read(0, {&one, 1}).ok());
    std::vector<iovec> vectors;
    size_t at = 0;
    for (const size_t length : {1, 511, 100, 924, 4096, 2560}) {
        vectors.push_back({parts.data() + at, length});
        at += length;
    }
    ASSERT_EQ(at, parts.size());
    ASSERT_TRUE(engine->read(0, vectors).ok());
    EXPECT_EQ(parts, whole);
}

TEST_F(ReaderTest, ScatteredBuffersAreWrittenInOrder) {
    std::vector<uint8_t> data(16 * kSectorSize);
    for (uint64_t i = 0; i < 16; ++i) {
        fill_sector(&data[i * kSectorSize], 5, i);
    }
    const iovec vectors[] = {{data.data(), 7}, {data.data() + 7, 3000}, {data.data() + 3007, 5185}};
    ASSERT_TRUE(engine->write(0, vectors).ok());
    std::fill_n(now.begin(), 16, 5u);
    EXPECT_EQ(content(), now);
}

TEST_F(ReaderTest, StatusTellsHolesZerosAndData) {
    must_write(8, 16);
    ASSERT_TRUE(zero(24, 10).ok());
    expect_status(0, 8, false, false);
    expect_status(8, 16, true, false);
    expect_status(10, 14, true, false);
    expect_status(24, 10, false, true);
    expect_status(34, kTestSectors - 34, false, false);
}

TEST_F(ReaderTest, StatusJoinsNeighboursOfAKind) {
    must_write(0, 8);
    must_write(8, 8);
    must_write(16, 1);
    expect_status(0, 17, true, false);
}

TEST_F(ReaderTest, StatusWithPlaceEndsWhereThePlaceDoes) {
    must_write(8, 8);
    must_write(0, 8);
    const auto status = engine->status(0, 16 * kSectorSize, true);
    ASSERT_TRUE(status.ok());
    EXPECT_EQ(status.value().length, 8 * kSectorSize);
    EXPECT_EQ(to_bytes(*status.value().place), place_of(0));
}

TEST_F(ReaderTest, StatusOfAViewIsThatOfItsTime) {
    must_write(0, 8);
    const Sequence then = sequence();
    ASSERT_TRUE(zero(0, 8).ok());
    auto view = engine->open_view(at(then)).take();
    const auto status = view->status(0, kTestSectors * kSectorSize);
    ASSERT_TRUE(status.ok());
    EXPECT_TRUE(status.value().data);
    EXPECT_EQ(status.value().length, 8 * kSectorSize);
    expect_status(0, 8, false, true);
}

}  // namespace
}  // namespace predsnap::test
