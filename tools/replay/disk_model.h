// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the replayed disk must hold: for each sector the version of its page it was last written
// with, 4 bytes for each sector of those 64 KiB that were ever written. A copy is the disk at a
// point.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "content.h"

namespace predsnap::replay {

class DiskModel {
  public:
    static constexpr uint64_t kChunk = 65536;  // bytes

    DiskModel(uint64_t disk_size, const ContentOptions& options);
    DiskModel(const DiskModel& other);
    DiskModel(DiskModel&&) noexcept = default;
    DiskModel& operator=(DiskModel&&) noexcept = default;

    uint64_t disk_size() const { return disk_size_; }
    // A guest write: gives the bytes to write, and the disk holds them from now on. Offset and
    // length are multiples of 512; sectors of one page that are written together are of one
    // version.
    void write(uint64_t offset, std::span<uint8_t> out);
    // What a read must give.
    void expect(uint64_t offset, std::span<uint8_t> out) const;
    // Says where and how what was read differs from what it should be.
    std::optional<std::string> mismatch(uint64_t offset, std::span<const uint8_t> read) const;
    // Whether anything of these 64 KiB was ever written.
    bool written(uint64_t chunk) const { return chunks_[chunk] != nullptr; }
    uint64_t chunks() const { return chunks_.size(); }

  private:
    static constexpr uint64_t kPagesPerChunk = kChunk / kPageSize;
    static constexpr uint64_t kSectorsPerPage = 8;
    using PageVersions = std::array<uint32_t, kSectorsPerPage>;
    using Chunk = std::array<PageVersions, kPagesPerChunk>;

    PageVersions versions(uint64_t page) const;
    PageVersions& versions_to_change(uint64_t page);
    void expect_in_page(uint64_t offset, std::span<uint8_t> out) const;
    std::string describe(uint64_t offset, const uint8_t* read) const;

    uint64_t disk_size_;
    ContentModel content_;
    std::vector<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace predsnap::replay
