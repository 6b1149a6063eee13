// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <random>
#include <string>

#include "block/engine/access_log.h"
#include "block/engine/checksum.h"
#include "tools/predsnap/access_log_reader.h"

namespace predsnap::test {
namespace {

constexpr uint8_t kUuid[16] = {1, 2, 3};

std::vector<AccessRecord> random_records(size_t count, uint32_t seed) {
    std::mt19937_64 random(seed);
    std::vector<AccessRecord> records;
    int64_t time_us = 1795180036000000;
    for (size_t i = 0; i < count; ++i) {
        time_us += static_cast<int64_t>(random() % 5 == 0 ? random() % 100000000 : random() % 300);
        AccessRecord record{time_us, static_cast<AccessOp>(random() % 4), random() % (1ull << 31) * 512, (random() % 64 + 1) * 512, {}};
        if (random() % 3 == 0 && !records.empty()) {
            record.offset = records.back().offset + records.back().length;
            record.length = records.back().length;
        }
        if (random() % 4 == 0) {
            record.changed = static_cast<uint8_t>(random());
        }
        records.push_back(record);
    }
    return records;
}

class AccessLogTest : public testing::Test {
  protected:
    void SetUp() override { ASSERT_GE(fd_ = mkstemp(path_), 0); }
    void TearDown() override {
        ::close(fd_);
        ::unlink(path_);
    }
    void put(const void* bytes, size_t length) {
        ASSERT_EQ(::write(fd_, bytes, length), static_cast<ssize_t>(length));
    }
    void put_header() {
        const auto header = make_access_log_header(kUuid, 77, 1 << 30);
        put(&header, sizeof(header));
    }
    std::vector<uint8_t> block_of(const std::vector<AccessRecord>& records, size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
            writer_.add(records[i]);
        }
        const auto block = writer_.finish(100 + begin, 3);
        return {block.begin(), block.end()};
    }
    // All that can be read of the file.
    std::vector<AccessRecord> read_all(AccessLogReader::Facts* facts = nullptr) {
        auto reader = AccessLogReader::open(path_);
        EXPECT_TRUE(reader.ok()) << reader.error().message;
        std::vector<AccessRecord> records;
        while (true) {
            const auto more = reader.value().next(records);
            EXPECT_TRUE(more.ok());
            if (!more.ok() || !more.value()) {
                break;
            }
        }
        if (facts != nullptr) {
            *facts = reader.value().facts();
        }
        return records;
    }

    char path_[32] = "/tmp/predsnap-alog-XXXXXX";
    int fd_ = -1;
    AccessBlockWriter writer_{image_seed(kUuid), 9};
};

TEST_F(AccessLogTest, WhatIsWrittenIsRead) {
    const auto records = random_records(5000, 1);
    put_header();
    for (size_t i = 0; i < records.size(); i += 1000) {
        const auto block = block_of(records, i, i + 1000);
        put(block.data(), block.size());
    }
    AccessLogReader::Facts facts;
    EXPECT_EQ(read_all(&facts), records);
    EXPECT_EQ(facts.blocks, 5u);
    EXPECT_EQ(facts.dropped, 15u);
    EXPECT_EQ(facts.sequence, 4100u);
    EXPECT_EQ(facts.session, 9u);
    EXPECT_EQ(facts.skipped, 0u);
}

TEST_F(AccessLogTest, TruncatedAnywhereItGivesTheWholeBlocks) {
    const auto records = random_records(120, 2);
    put_header();
    std::vector<size_t> ends = {64};
    for (size_t i = 0; i < records.size(); i += 40) {
        const auto block = block_of(records, i, i + 40);
        put(block.data(), block.size());
        ends.push_back(ends.back() + block.size());
    }
    for (size_t length = ends.back(); length >= 64; --length) {
        ASSERT_EQ(ftruncate(fd_, static_cast<off_t>(length)), 0);
        size_t whole = 0;
        while (whole + 1 < ends.size() && ends[whole + 1] <= length) {
            ++whole;
        }
        const std::vector<AccessRecord> expected(records.begin(), records.begin() + static_cast<ptrdiff_t>(whole) * 40);
        ASSERT_EQ(read_all(), expected) << length;
    }
    ASSERT_EQ(ftruncate(fd_, 63), 0);
    EXPECT_FALSE(AccessLogReader::open(path_).ok());
}

TEST_F(AccessLogTest, ATornBlockIsSkippedWhereAnotherWriterWentOn) {
    const auto records = random_records(90, 3);
    put_header();
    const auto one = block_of(records, 0, 30), two = block_of(records, 30, 60), three = block_of(records, 60, 90);
    for (size_t torn = 0; torn < two.size(); torn += 7) {
        ASSERT_EQ(ftruncate(fd_, 64), 0);
        ASSERT_EQ(lseek(fd_, 64, SEEK_SET), 64);
        put(one.data(), one.size());
        put(two.data(), torn);
        put(three.data(), three.size());
        std::vector<AccessRecord> expected(records.begin(), records.begin() + 30);
        expected.insert(expected.end(), records.begin() + 60, records.end());
        AccessLogReader::Facts facts;
        ASSERT_EQ(read_all(&facts), expected) << torn;
        EXPECT_EQ(facts.skipped, torn);
    }
}

TEST_F(AccessLogTest, NoDamagedBlockIsTakenForAnother) {
    const auto records = random_records(30, 4);
    put_header();
    const auto block = block_of(records, 0, 30);
    put(block.data(), block.size());
    for (size_t i = 0; i < block.size(); ++i) {
        const uint8_t damaged = block[i] ^ 0x10;
        ASSERT_EQ(pwrite(fd_, &damaged, 1, static_cast<off_t>(64 + i)), 1);
        EXPECT_TRUE(read_all().empty()) << i;
        ASSERT_EQ(pwrite(fd_, &block[i], 1, static_cast<off_t>(64 + i)), 1);
    }
    EXPECT_EQ(read_all().size(), 30u);
}

TEST_F(AccessLogTest, ALogOfAnotherImageIsNotMixedUp) {
    put_header();
    constexpr uint8_t kOther[16] = {7};
    AccessBlockWriter other(image_seed(kOther), 1);
    other.add(random_records(1, 5)[0]);
    const auto block = other.finish(1, 0);
    put(block.data(), block.size());
    EXPECT_TRUE(read_all().empty());
}

TEST_F(AccessLogTest, IsFollowedWhileItGrowsAndWhenItIsRotated) {
    const auto records = random_records(60, 6);
    put_header();
    auto reader = AccessLogReader::open(path_);
    ASSERT_TRUE(reader.ok());
    const auto one = block_of(records, 0, 30), two = block_of(records, 30, 60);
    std::vector<AccessRecord> found;
    put(one.data(), one.size() / 2);
    EXPECT_FALSE(reader.value().next(found).take());
    put(one.data() + one.size() / 2, one.size() - one.size() / 2);
    EXPECT_TRUE(reader.value().next(found).take());
    EXPECT_EQ(found.size(), 30u);
    EXPECT_FALSE(reader.value().next(found).take());
    EXPECT_FALSE(reader.value().rotated());

    ASSERT_EQ(ftruncate(fd_, 64), 0);  // emptied, as where it cannot be renamed
    EXPECT_TRUE(reader.value().rotated());
    const std::string aside = std::string(path_) + ".1";
    ASSERT_EQ(std::rename(path_, aside.c_str()), 0);
    const int next = ::open(path_, O_CREAT | O_RDWR, 0600);
    EXPECT_TRUE(AccessLogReader::open(aside).ok());
    ::close(next);
    ::unlink(aside.c_str());
}

TEST_F(AccessLogTest, RecordsTakeFewBytes) {
    AccessBlockWriter writer(1, 1);
    for (uint64_t i = 0; i < 1000; ++i) {  // random 4K writes on 1 TiB, 2000 a second
        writer.add({static_cast<int64_t>(i) * 500, AccessOp::kWrite, i * 2654435761u % (1u << 28) * 4096, 4096, {}});
    }
    EXPECT_LT(writer.bytes(), 9000u);
    EXPECT_LE(writer.bytes(), 1000 * AccessBlockWriter::kRecordMax);
}

}  // namespace
}  // namespace predsnap::test
