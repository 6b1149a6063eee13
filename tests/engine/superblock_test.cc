// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/superblock.h"

#include <gtest/gtest.h>

#include <cstring>

#include "block/engine/checksum.h"
#include "block/engine/engine.h"
#include "fiber_host.h"
#include "memory_device.h"

namespace predsnap::test {
namespace {

using format::Superblock;

class SuperblockTest : public ::testing::Test {
  protected:
    void SetUp() override {
        CreateOptions options;
        options.size = 1 << 20;
        options.segment_size = 64 << 10;
        ASSERT_TRUE(Engine::create(host, file, options).ok());
    }
    Superblock& slot(uint32_t i) {
        return *reinterpret_cast<Superblock*>(file.bytes.data() + i * kBlockSize);
    }
    // Changes both slots and makes their checksums right again: what a hostile writer would do.
    template <typename Change>
    void forge(Change change) {
        for (uint32_t i = 0; i < format::kSuperblockSlots; ++i) {
            change(slot(i));
            slot(i).checksum = self_hash(0, slot(i));
        }
    }
    int error() {
        const Result<Superblock> read = read_superblock(file);
        return read.ok() ? 0 : read.error().code;
    }

    FiberHost host;
    MemoryDevice file;
};

TEST_F(SuperblockTest, ANewImageHasTwoIntactSlots) {
    EXPECT_TRUE(intact(slot(0)));
    EXPECT_TRUE(intact(slot(1)));
    EXPECT_NE(slot(0).generation, slot(1).generation);
}

TEST_F(SuperblockTest, TheNewerSlotCounts) {
    Superblock next = read_superblock(file).take();
    ++next.generation;
    next.durable_sequence = 77;
    ASSERT_TRUE(write_superblock(file, next).ok());
    EXPECT_EQ(read_superblock(file).value().durable_sequence, 77u);
}

TEST_F(SuperblockTest, ANewerVersionGoesToTheOlderSlot) {
    const Superblock newest = read_superblock(file).take();
    const uint32_t newest_slot = newest.generation % 2;
    const Superblock before = slot(newest_slot);
    Superblock next = newest;
    ++next.generation;
    ASSERT_TRUE(write_superblock(file, next).ok());
    EXPECT_EQ(std::memcmp(&before, &slot(newest_slot), sizeof(before)), 0);
}

TEST_F(SuperblockTest, ATornSlotLeavesTheOther) {
    const Superblock newest = read_superblock(file).take();
    std::memset(reinterpret_cast<uint8_t*>(&slot(newest.generation % 2)) + 512, 0xab, 512);
    const Result<Superblock> read = read_superblock(file);
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read.value().generation, newest.generation - 1);
}

TEST_F(SuperblockTest, TwoDamagedSlotsAreAnErrorThatNamesThem) {
    slot(0).generation ^= 1;
    slot(1).generation ^= 1;
    const Result<Superblock> read = read_superblock(file);
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code, EIO);
    EXPECT_NE(read.error().message.find("4096"), std::string::npos);
}

TEST_F(SuperblockTest, SomethingElseIsNotAnImage) {
    std::memset(file.bytes.data(), 'x', 2 * kBlockSize);
    EXPECT_EQ(error(), EINVAL);
    EXPECT_FALSE(Engine::probe(file.bytes.data(), 512));
}

TEST_F(SuperblockTest, AnImageIsRecognised) {
    EXPECT_TRUE(Engine::probe(file.bytes.data(), 512));
    EXPECT_FALSE(Engine::probe(file.bytes.data(), 3));
}

TEST_F(SuperblockTest, ATruncatedFileIsRefused) {
    for (const size_t length : {size_t{0}, size_t{1}, size_t{512}, size_t{8191}}) {
        file.bytes.resize(length);
        EXPECT_EQ(error(), EINVAL) << length;
    }
}

TEST_F(SuperblockTest, AnUnknownVersionIsRefused) {
    forge([](Superblock& block) { block.version = 2; });
    EXPECT_EQ(error(), ENOTSUP);
}

TEST_F(SuperblockTest, UnknownIncompatibleBitsAreRefusedAndNamed) {
    forge([](Superblock& block) { block.incompatible = 0x40; });
    const Result<Superblock> read = read_superblock(file);
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code, ENOTSUP);
    EXPECT_NE(read.error().message.find("0x40"), std::string::npos);
}

TEST_F(SuperblockTest, UnknownCompatibleBitsAreKept) {
    forge([](Superblock& block) { block.compatible = 0x80; });
    auto engine = Engine::open(host, file, {});
    ASSERT_TRUE(engine.ok());
    ASSERT_TRUE(engine.value()->set_backing("base", "raw").ok());
    ASSERT_TRUE(engine.value()->close().ok());
    EXPECT_EQ(read_superblock(file).value().compatible, 0x80u);
}

TEST_F(SuperblockTest, UnknownAutoclearBitsAreClearedWhenOpenedForWriting) {
    forge([](Superblock& block) { block.autoclear = 0x8000; });
    auto engine = Engine::open(host, file, {});
    ASSERT_TRUE(engine.ok());
    ASSERT_TRUE(engine.value()->close().ok());
    EXPECT_EQ(read_superblock(file).value().autoclear, 0u);
}

TEST_F(SuperblockTest, UnknownAutoclearBitsStayWhenOpenedForReading) {
    forge([](Superblock& block) { block.autoclear = 0x8000; });
    OpenOptions options;
    options.writable = false;
    auto engine = Engine::open(host, file, options);
    ASSERT_TRUE(engine.ok());
    ASSERT_TRUE(engine.value()->close().ok());
    EXPECT_EQ(read_superblock(file).value().autoclear, 0x8000u);
}

TEST_F(SuperblockTest, ImpossibleSegmentSizesAreRefused) {
    for (const uint32_t size : {0u, 1u, 4096u, 32768u, 65535u, 65537u, 98304u, 134217728u, ~0u}) {
        forge([&](Superblock& block) { block.segment_size = size; });
        EXPECT_EQ(error(), EINVAL) << size;
    }
}

TEST_F(SuperblockTest, ImpossibleDiskSizesAreRefused) {
    for (const uint64_t size : {uint64_t{511}, kMaxSize + 512, ~uint64_t{0}, ~uint64_t{511}}) {
        forge([&](Superblock& block) { block.initial_size = size; });
        EXPECT_EQ(error(), EINVAL) << size;
    }
}

TEST_F(SuperblockTest, OverlongBackingNamesAreRefused) {
    forge([](Superblock& block) { block.backing_file_length = sizeof(block.backing_file); });
    EXPECT_EQ(error(), EINVAL);
    forge([](Superblock& block) {
        block.backing_file_length = 0;
        block.backing_format_length = UINT16_MAX;
    });
    EXPECT_EQ(error(), EINVAL);
}

TEST_F(SuperblockTest, BackingNamesAreKept) {
    CreateOptions options;
    options.size = 1 << 20;
    options.backing_file = std::string(1023, 'b');
    options.backing_format = "qcow2";
    ASSERT_TRUE(Engine::create(host, file, options).ok());
    auto engine = Engine::open(host, file, {});
    ASSERT_TRUE(engine.ok());
    EXPECT_EQ(engine.value()->info().backing_file, options.backing_file);
    EXPECT_EQ(engine.value()->info().backing_format, "qcow2");
    ASSERT_TRUE(engine.value()->close().ok());
}

TEST_F(SuperblockTest, CreationRefusesWhatTheFormatCannotHold) {
    CreateOptions options;
    options.size = kMaxSize + 512;
    EXPECT_EQ(Engine::create(host, file, options).error().code, EINVAL);
    options.size = 1000;
    EXPECT_EQ(Engine::create(host, file, options).error().code, EINVAL);
    options.size = 1 << 20;
    options.segment_size = 100'000;
    EXPECT_EQ(Engine::create(host, file, options).error().code, EINVAL);
    options.segment_size = 64 << 10;
    options.backing_file = std::string(1024, 'b');
    EXPECT_EQ(Engine::create(host, file, options).error().code, EINVAL);
}

TEST_F(SuperblockTest, IdentityIsDrawnFromTheHostUnlessGiven) {
    const Superblock drawn = read_superblock(file).take();
    EXPECT_EQ(drawn.uuid[6] >> 4, 4);  // RFC 4122, version 4
    EXPECT_EQ(drawn.uuid[8] >> 6, 2);
    CreateOptions options;
    options.uuid.fill(0x5a);
    ASSERT_TRUE(Engine::create(host, file, options).ok());
    EXPECT_EQ(read_superblock(file).value().uuid[0], 0x5a);
}

}  // namespace
}  // namespace predsnap::test
