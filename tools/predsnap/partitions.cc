// SPDX-License-Identifier: GPL-2.0-or-later
#include "partitions.h"

#include <algorithm>
#include <cstring>

namespace predsnap {
namespace {

constexpr uint64_t kSector = 512;
constexpr uint32_t kGptEntriesMax = 1024;
constexpr int kLogicalMax = 128;

// On disk; little-endian.
struct [[gnu::packed]] MbrEntry {
    uint8_t active, chs_first[3], type, chs_last[3];
    uint32_t first, sectors;
};
struct [[gnu::packed]] Mbr {
    uint8_t code[446];
    MbrEntry entries[4];
    uint8_t signature[2];

    bool sound() const { return signature[0] == 0x55 && signature[1] == 0xaa; }
};
static_assert(sizeof(Mbr) == kSector);

struct [[gnu::packed]] GptHeader {
    char signature[8];
    uint32_t revision, size, checksum, reserved;
    uint64_t self, other, first_usable, last_usable;
    uint8_t disk[16];
    uint64_t entries;
    uint32_t count, entry_size, entries_checksum;
};
struct [[gnu::packed]] GptEntry {
    uint8_t type[16], id[16];
    uint64_t first, last;
};

template <typename T>
Result<T> read(MomentView& disk, uint64_t offset) {
    T value{};
    TRY(disk.read(offset, {reinterpret_cast<uint8_t*>(&value), sizeof(value)}));
    return value;
}

bool is_extended(uint8_t type) { return type == 0x05 || type == 0x0f || type == 0x85; }

// Whether it lies on the disk; so products do not overflow.
bool fits(const MomentView& disk, uint64_t first, uint64_t sectors) {
    const uint64_t all = disk.size() / kSector;
    return sectors > 0 && first < all && sectors <= all - first;
}

Result<std::vector<Partition>> gpt(MomentView& disk, const GptHeader& header) {
    std::vector<Partition> found;
    for (uint32_t i = 0; i < std::min(header.count, kGptEntriesMax) && header.entry_size >= sizeof(GptEntry) && header.entries < disk.size() / kSector; ++i) {
        TRY_ASSIGN(const GptEntry entry, read<GptEntry>(disk, header.entries * kSector + uint64_t{i} * header.entry_size));
        const bool used = std::any_of(entry.type, entry.type + sizeof(entry.type), [](uint8_t byte) { return byte != 0; });
        if (used && entry.last >= entry.first && fits(disk, entry.first, entry.last - entry.first + 1)) {
            found.push_back({static_cast<int>(i) + 1, entry.first * kSector, (entry.last - entry.first + 1) * kSector});
        }
    }
    return found;
}

// A chain of tables: each has a partition, relative to itself, and the next table, relative to the first.
Result<void> add_logical(MomentView& disk, uint64_t first, std::vector<Partition>* found) {
    uint64_t table = first;
    for (int number = 5; number < 5 + kLogicalMax; ++number) {
        TRY_ASSIGN(const Mbr mbr, read<Mbr>(disk, table * kSector));
        const MbrEntry &own = mbr.entries[0], &next = mbr.entries[1];
        if (!mbr.sound()) {
            break;
        }
        if (fits(disk, table + own.first, own.sectors)) {
            found->push_back({number, (table + own.first) * kSector, uint64_t{own.sectors} * kSector});
        }
        if (!is_extended(next.type) || !fits(disk, first + next.first, 1)) {
            break;
        }
        table = first + next.first;
    }
    return {};
}

}  // namespace

Result<std::vector<Partition>> find_partitions(MomentView& disk) {
    TRY_ASSIGN(const GptHeader header, read<GptHeader>(disk, kSector));
    if (std::memcmp(header.signature, "EFI PART", sizeof(header.signature)) == 0) {
        return gpt(disk, header);
    }
    std::vector<Partition> found;
    TRY_ASSIGN(const Mbr mbr, read<Mbr>(disk, 0));
    for (int i = 0; mbr.sound() && i < 4; ++i) {
        const MbrEntry& entry = mbr.entries[i];
        if (!fits(disk, entry.first, entry.sectors) || entry.type == 0) {
            continue;
        }
        if (is_extended(entry.type)) {
            TRY(add_logical(disk, entry.first, &found));
        } else {
            found.push_back({i + 1, uint64_t{entry.first} * kSector, uint64_t{entry.sectors} * kSector});
        }
    }
    std::sort(found.begin(), found.end(), [](const Partition& a, const Partition& b) { return a.number < b.number; });
    return found;
}

}  // namespace predsnap
