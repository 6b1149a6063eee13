// SPDX-License-Identifier: GPL-2.0-or-later
//
// Packs of an image that somebody has made up: all checksums are right, what they are of is not.
#include <gtest/gtest.h>

#include <cstring>

#include "block/engine/engine.h"
#include "block/engine/format.h"
#include "fiber_host.h"
#include "format_example.h"
#include "memory_device.h"
#include "tests/fuzz/hostile_image.h"

namespace predsnap::test {
namespace {

constexpr uint64_t kRun = 104;  // sectors 'A', 'B' and 'C', each at a multiple of 128; all are in the pack

class PackHostileTest : public ::testing::Test {
  protected:
    PackHostileTest() { file.bytes = build_pack_example(false); }

    format::BatchHeader* batch_with(bool wanted(const format::BatchHeader&)) {
        for (size_t at = format::kSuperblockArea; at < file.bytes.size(); at += kBlockSize) {
            auto* batch = reinterpret_cast<format::BatchHeader*>(&file.bytes[at]);
            if (std::memcmp(batch->magic, format::kBatchMagic, 4) == 0 && wanted(*batch)) {
                return batch;
            }
        }
        std::abort();
    }
    // The batch with the pack's record, which is its only one; and the record.
    format::BatchHeader* adding() {
        return batch_with([](const format::BatchHeader& b) {
            return b.entry_count == 0 && b.record_bytes == kRecordBytes;
        });
    }
    format::StreamRecord* record() {
        auto* header = reinterpret_cast<format::RecordHeader*>(adding() + 1);
        return reinterpret_cast<format::StreamRecord*>(header + 1);
    }
    uint32_t* segment() { return reinterpret_cast<uint32_t*>(record() + 1); }
    // The packed entries.
    std::span<format::Entry> entries() {
        auto* batch = batch_with([](const format::BatchHeader& b) {
            return b.entry_count > 0 && reinterpret_cast<const format::Entry*>(&b + 1)->has(format::kEntryPacked);
        });
        return {reinterpret_cast<format::Entry*>(batch + 1), batch->entry_count};
    }

    Result<void> open() {
        fuzz::mend(file.bytes);
        OpenOptions options;
        options.pool_min = options.pool_max = 0;
        auto opened = Engine::open(host, file, options);
        if (!opened.ok()) {
            return opened.error();
        }
        engine = opened.take();
        engine->pause_background();
        return {};
    }
    void expect_refused(const char* why) {
        const Result<void> opened = open();
        ASSERT_FALSE(opened.ok());
        EXPECT_EQ(opened.error().code, EIO);
        EXPECT_NE(opened.error().message.find(why), std::string::npos) << opened.error().message;
    }
    // How many of the packed sectors cannot be read. The others must be right.
    uint64_t lost() {
        uint64_t count = 0;
        for (uint64_t run = 0; run < 3; ++run) {
            for (uint64_t sector = run * 128; sector < run * 128 + kRun; ++sector) {
                uint8_t data[kSectorSize] = {};
                const iovec buffer{data, sizeof(data)};
                const Result<void> read = engine->read(sector * kSectorSize, {&buffer, 1});
                if (!read.ok()) {
                    EXPECT_EQ(read.error().code, EIO);
                    ++count;
                    continue;
                }
                EXPECT_EQ(data[0], 'A' + run) << sector;
                EXPECT_EQ(data[kSectorSize - 1], 'A' + run) << sector;
            }
        }
        return count;
    }
    void expect_found(const char* what) {
        const auto checked = engine->check({});
        ASSERT_TRUE(checked.ok());
        EXPECT_GT(checked.value().corruptions, 0u);
        std::string all;
        for (const std::string& finding : checked.value().findings) {
            all += finding + "\n";
        }
        EXPECT_NE(all.find(what), std::string::npos) << all;
    }

    static constexpr uint32_t kRecordBytes = sizeof(format::RecordHeader) + sizeof(format::StreamRecord) + sizeof(uint32_t);

    FiberHost host;
    MemoryDevice file;
    std::unique_ptr<Engine> engine;
};

TEST_F(PackHostileTest, AsItWasItIsSound) {
    ASSERT_TRUE(open().ok());
    EXPECT_EQ(engine->info().packs, 1u);
    EXPECT_EQ(lost(), 0u);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u) << checked.value().findings.front();
}

TEST_F(PackHostileTest, APlaceBeyondThePackIsAnError) {
    format::Entry& last = entries().back();
    set_packed(last, get_packed(last) + 1);
    ASSERT_TRUE(open().ok());
    // Its last sector is behind the pack; those before it are someone else's, but all hold 'C'.
    EXPECT_EQ(lost(), 1u);
    EXPECT_EQ(host.count(Event::corruption), 1u);
    expect_found("sectors of the disk are said to be in pack 1 at places that hold something else");
}

TEST_F(PackHostileTest, APlaceFarBeyondThePackIsAnError) {
    for (format::Entry& entry : entries()) {
        set_packed(entry, get_packed(entry) + 100'000);
    }
    ASSERT_TRUE(open().ok());
    EXPECT_EQ(lost(), 3 * kRun);
    expect_found("which is not in the log");
}

// Reading cannot notice that, as the data there is whole.
TEST_F(PackHostileTest, CheckNoticesAPlaceThatHoldsOtherSectors) {
    format::Entry& first = entries().front();
    set_packed(first, get_packed(first) + 8);
    ASSERT_TRUE(open().ok());
    expect_found("sectors of the disk are said to be in pack 1 at places that hold something else");
}

TEST_F(PackHostileTest, WithoutThePackItsDataIsAnError) {
    static_assert(kRecordBytes == 4 * (sizeof(format::RecordHeader) + sizeof(format::PointRecord)));
    auto* to = reinterpret_cast<uint8_t*>(adding() + 1);
    for (int i = 0; i < 4; ++i) {  // records of the same length in its place
        const format::RecordHeader header{static_cast<uint16_t>(format::RecordType::point), sizeof(format::PointRecord)};
        format::PointRecord point{};
        point.sequence = 7;
        std::memcpy(to, &header, sizeof(header));
        std::memcpy(to + sizeof(header), &point, sizeof(point));
        to += sizeof(header) + sizeof(point);
    }
    ASSERT_TRUE(open().ok());
    EXPECT_EQ(lost(), 3 * kRun);
    EXPECT_GT(host.count(Event::corruption), 0u);
    expect_found("which is not in the log");
}

TEST_F(PackHostileTest, TwoPacksWithPlacesInCommonAreRefused) {
    format::BatchHeader* batch = adding();
    auto* bytes = reinterpret_cast<uint8_t*>(batch + 1);
    std::memcpy(bytes + kRecordBytes, bytes, kRecordBytes);
    auto* second = reinterpret_cast<format::StreamRecord*>(bytes + kRecordBytes + sizeof(format::RecordHeader));
    second->id = 2;
    second->base += 100;
    batch->header_bytes += kRecordBytes;
    batch->record_bytes += kRecordBytes;
    expect_refused("streams 1 and 2 have virtual places in common");
}

TEST_F(PackHostileTest, APackWhereThereCanBeNoneIsRefused) {
    *segment() = 0x7fffffff;
    expect_refused("a stream lies in segment 2147483647");
}

TEST_F(PackHostileTest, APackInASegmentOfTheLogIsRefused) {
    *segment() = 4;
    expect_refused("segment 4 is in the log, and in use for something else, too");
}

TEST_F(PackHostileTest, APackInTheCapacityImageIsRefused) {
    record()->tier = 1;
    expect_refused("stream record makes no sense");
}

TEST_F(PackHostileTest, APackWhoseIndexIsElsewhereIsAnError) {
    record()->index_offset += 8;
    ASSERT_TRUE(open().ok());
    EXPECT_EQ(lost(), 3 * kRun);
    expect_found("its index is damaged");
}

}  // namespace
}  // namespace predsnap::test
