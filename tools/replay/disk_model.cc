// SPDX-License-Identifier: GPL-2.0-or-later
#include "disk_model.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "block/engine/types.h"

namespace predsnap::replay {
namespace {

constexpr uint64_t kVersionsSearched = 64;  // for what a wrong sector holds instead

bool all_zero(const uint8_t* bytes, size_t length) {
    return std::all_of(bytes, bytes + length, [](uint8_t byte) { return byte == 0; });
}

// Calls visit(offset, part) for the part of each page.
template <typename Byte, typename Visit>
void for_each_page(uint64_t offset, std::span<Byte> bytes, Visit visit) {
    assert(offset % kSectorSize == 0 && bytes.size() % kSectorSize == 0);
    while (!bytes.empty()) {
        const size_t length = std::min<size_t>(bytes.size(), kPageSize - offset % kPageSize);
        visit(offset, bytes.first(length));
        offset += length;
        bytes = bytes.subspan(length);
    }
}

}  // namespace

DiskModel::DiskModel(uint64_t disk_size, const ContentOptions& options)
    : disk_size_(disk_size), content_(options), chunks_((disk_size + kChunk - 1) / kChunk) {}

DiskModel::DiskModel(const DiskModel& other)
    : disk_size_(other.disk_size_), content_(other.content_), chunks_(other.chunks_.size()) {
    for (size_t i = 0; i < chunks_.size(); ++i) {
        chunks_[i] = other.chunks_[i] ? std::make_unique<Chunk>(*other.chunks_[i]) : nullptr;
    }
}

DiskModel::PageVersions DiskModel::versions(uint64_t page) const {
    const auto& chunk = chunks_[page / kPagesPerChunk];
    return chunk ? (*chunk)[page % kPagesPerChunk] : PageVersions{};
}

DiskModel::PageVersions& DiskModel::versions_to_change(uint64_t page) {
    auto& chunk = chunks_[page / kPagesPerChunk];
    if (!chunk) {
        chunk = std::make_unique<Chunk>();
    }
    return (*chunk)[page % kPagesPerChunk];
}

void DiskModel::write(uint64_t offset, std::span<uint8_t> out) {
    assert(offset + out.size() <= disk_size_);
    for_each_page(offset, out, [&](uint64_t at, std::span<uint8_t> part) {
        const uint64_t page = at / kPageSize, skip = at % kPageSize;
        PageVersions& versions = versions_to_change(page);
        // The newest write left its version in at least one sector.
        const uint32_t version = *std::max_element(versions.begin(), versions.end()) + 1;
        std::array<uint8_t, kPageSize> whole;
        content_.fill(page, version, whole);
        std::memcpy(part.data(), whole.data() + skip, part.size());
        const auto first = versions.begin() + static_cast<ptrdiff_t>(skip / kSectorSize);
        std::fill_n(first, part.size() / kSectorSize, version);
    });
}

void DiskModel::expect(uint64_t offset, std::span<uint8_t> out) const {
    assert(offset + out.size() <= disk_size_);
    for_each_page(offset, out,
                  [this](uint64_t at, std::span<uint8_t> part) { expect_in_page(at, part); });
}

// Sectors of one version are filled together.
void DiskModel::expect_in_page(uint64_t offset, std::span<uint8_t> out) const {
    const uint64_t page = offset / kPageSize, skip = offset % kPageSize;
    const PageVersions versions = this->versions(page);
    std::array<uint8_t, kPageSize> whole;
    std::optional<uint32_t> filled;
    for (size_t at = 0; at < out.size(); at += kSectorSize) {
        const uint32_t version = versions[(skip + at) / kSectorSize];
        if (std::exchange(filled, version) != version) {
            content_.fill(page, version, whole);
        }
        std::memcpy(out.data() + at, whole.data() + skip + at, kSectorSize);
    }
}

std::optional<std::string> DiskModel::mismatch(uint64_t offset,
                                               std::span<const uint8_t> read) const {
    assert(offset + read.size() <= disk_size_);
    std::optional<std::string> found;
    for_each_page(offset, read, [&](uint64_t at, std::span<const uint8_t> part) {
        std::array<uint8_t, kPageSize> wanted;
        expect_in_page(at, std::span(wanted).first(part.size()));
        for (size_t i = 0; !found && i < part.size(); i += kSectorSize) {
            if (std::memcmp(wanted.data() + i, part.data() + i, kSectorSize) != 0) {
                found = describe(at + i, part.data() + i);
            }
        }
    });
    return found;
}

// What stands there instead, if it is another version of the same sector.
std::string DiskModel::describe(uint64_t offset, const uint8_t* read) const {
    const uint64_t page = offset / kPageSize, skip = offset % kPageSize;
    const uint32_t wanted = versions(page)[skip / kSectorSize];
    std::string text = "the sector at offset " + std::to_string(offset) + " must have version " +
                       std::to_string(wanted) + " of its page and holds ";
    if (all_zero(read, kSectorSize)) {
        return text + "zeros";
    }
    std::array<uint8_t, kPageSize> whole;
    const uint64_t from = wanted > kVersionsSearched ? wanted - kVersionsSearched : 1;
    for (uint64_t version = from; version < wanted + kVersionsSearched; ++version) {
        content_.fill(page, static_cast<uint32_t>(version), whole);
        if (std::memcmp(whole.data() + skip, read, kSectorSize) == 0) {
            return text + "version " + std::to_string(version);
        }
    }
    return text + "something else";
}

}  // namespace predsnap::replay
