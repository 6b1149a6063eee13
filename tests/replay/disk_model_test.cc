// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/replay/disk_model.h"

#include <gtest/gtest.h>

#include <cstring>

namespace predsnap::replay::test {
namespace {

constexpr uint64_t kDiskSize = 1 << 20;

// A disk that takes the model's word for what is written.
class Mirror {
  public:
    void write(uint64_t offset, uint64_t length) {
        model.write(offset, std::span(bytes).subspan(offset, length));
    }
    std::optional<std::string> mismatch() const { return model.mismatch(0, bytes); }

    DiskModel model{kDiskSize, {}};
    std::vector<uint8_t> bytes = std::vector<uint8_t>(kDiskSize);
};

TEST(DiskModel, ExpectsWhatWasWrittenAndZerosElsewhere) {
    Mirror disk;
    disk.write(0, 4096);
    disk.write(8192 + 512, 1024);
    disk.write(60'000 / 512 * 512, 16'384);
    EXPECT_EQ(disk.mismatch(), std::nullopt);
    std::vector<uint8_t> expected(kDiskSize, 0xff);
    disk.model.expect(0, expected);
    EXPECT_EQ(expected, disk.bytes);
}

TEST(DiskModel, SectorsOfAPageKeepTheVersionTheyWereWrittenWith) {
    Mirror disk;
    for (uint64_t i = 0; i < 100; ++i) {
        disk.write(i * 7 % 16 * 512, 512 * (1 + i % 5));
        ASSERT_EQ(disk.mismatch(), std::nullopt) << i;
    }
}

TEST(DiskModel, EachWriteIsNewContent) {
    Mirror disk;
    disk.write(0, 512);
    const std::vector<uint8_t> before(disk.bytes.begin(), disk.bytes.begin() + 512);
    disk.write(3584, 512);  // another sector of the page
    disk.write(0, 512);
    EXPECT_NE(std::memcmp(before.data(), disk.bytes.data(), 512), 0);
}

TEST(DiskModel, ACopyIsTheDiskAsItWas) {
    Mirror disk;
    disk.write(4096, 8192);
    const DiskModel then = disk.model;
    const std::vector<uint8_t> bytes_then = disk.bytes;
    disk.write(4096, 512);
    disk.write(kDiskSize - 512, 512);
    EXPECT_EQ(then.mismatch(0, bytes_then), std::nullopt);
    EXPECT_NE(then.mismatch(0, disk.bytes), std::nullopt);
}

TEST(DiskModel, SaysWhatIsWrongWhere) {
    Mirror disk;
    disk.write(4096, 4096);
    const std::vector<uint8_t> old(disk.bytes.begin() + 4608, disk.bytes.begin() + 5120);
    disk.write(4096, 4096);
    const auto sector = [&](const std::vector<uint8_t>& content) {
        return *disk.model.mismatch(4608, content);
    };
    EXPECT_EQ(sector(old),
              "the sector at offset 4608 must have version 2 of its page and holds version 1");
    EXPECT_EQ(sector(std::vector<uint8_t>(512)),
              "the sector at offset 4608 must have version 2 of its page and holds zeros");
    EXPECT_EQ(sector(std::vector<uint8_t>(512, 7)),
              "the sector at offset 4608 must have version 2 of its page and holds something else");
}

TEST(DiskModel, KnowsWhatWasEverWritten) {
    Mirror disk;
    disk.write(3 * DiskModel::kChunk - 512, 1024);
    std::vector<uint64_t> written;
    for (uint64_t i = 0; i < disk.model.chunks(); ++i) {
        if (disk.model.written(i)) {
            written.push_back(i);
        }
    }
    EXPECT_EQ(written, (std::vector<uint64_t>{2, 3}));
}

}  // namespace
}  // namespace predsnap::replay::test
