// SPDX-License-Identifier: GPL-2.0-or-later
#include "database_page.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>

#include "mix.h"

namespace predsnap::replay {
namespace {

constexpr unsigned kRows = 61;  // a prime: any stride visits all rows
constexpr size_t kRowSize = 64;
constexpr size_t kHeaderSize = 32;
constexpr size_t kDirectory = kHeaderSize + kRows * kRowSize;
constexpr size_t kTrailer = kPageSize - 8;
static_assert(kDirectory + kRows * sizeof(uint16_t) <= kTrailer);

// Bytes in which two versions differ on average; tests/replay measures the sum.
constexpr double kRowChanges = 18.7;
constexpr double kHeaderChanges = 14;

// Stores the low bytes of a number, the most significant first, as databases do.
void put(uint8_t* at, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
        at[i] = static_cast<uint8_t>(value >> (8 * (bytes - 1 - i)));
    }
}

using RowVersions = std::array<uint32_t, kRows>;

// The version in which each row was last rewritten. Goes back from the newest one until every row
// was met: some (kRows / rows_changed) x ln kRows steps, however high the version.
RowVersions row_versions(uint64_t key, uint32_t version, unsigned rows_changed) {
    RowVersions versions{};
    unsigned left = kRows;
    for (uint32_t v = version; v > 1 && left > 0; --v) {
        const uint64_t draw = mix(key, v);
        // Half of the rewrites touch neighbours, half are scattered.
        const unsigned stride =
            (draw & 1) != 0 ? 1 : 1 + static_cast<unsigned>((draw >> 32) % (kRows - 1));
        auto row = static_cast<unsigned>((draw >> 1) % kRows);
        for (unsigned i = 0; i < rows_changed; ++i, row = (row + stride) % kRows) {
            if (versions[row] == 0) {
                versions[row] = v;
                --left;
            }
        }
    }
    std::replace(versions.begin(), versions.end(), 0u, 1u);
    return versions;
}

constexpr std::array<const char*, 16> kNotes = {
    "new             ", "paid            ", "shipped         ", "shipped, partly ",
    "back order      ", "returned        ", "cancelled       ", "priority        ",
    "gift            ", "call customer   ", "no reply        ", "address checked ",
    "on hold         ", "closed          ", "closed, refund  ", "see invoice     "};

// What identifies a row, which stays, then what its last rewrite put there.
void fill_row(uint64_t key, uint64_t page, unsigned row, uint32_t version, uint8_t* out) {
    const uint64_t who = mix(key, ~uint64_t{row});
    const uint64_t what = mix(who, version);
    const uint64_t transaction = (key & 0xffffff) + uint64_t{version} * 37;
    put(out, 0x0010 + row, 2);
    put(out + 2, kHeaderSize + (row + 1) * kRowSize, 2);
    put(out + 4, page * kRows + row, 8);
    put(out + 12, 1'700'000'000 + page * 61 + row, 4);
    put(out + 16, who % 50'000, 4);
    put(out + 20, (who >> 32) % 1000, 4);
    put(out + 24, transaction, 6);
    put(out + 30, (key >> 40) + uint64_t{version} * 61, 6);  // where the row's old version is
    put(out + 36, what >> 8 & (what >> 24) & 0xfffff, 4);
    put(out + 40, 1'760'000'000 + (what >> 44), 4);
    put(out + 44, (what >> 3) % 5, 1);
    std::memcpy(out + 45, "EUR", 3);
    std::memcpy(out + 48, kNotes[(what >> 17) % kNotes.size()], 16);
}

void fill_header(uint64_t key, uint64_t page, uint32_t version, Page out) {
    const uint64_t checksum = mix(mix(key, version), 0);
    const uint64_t lsn = (key >> 24) + uint64_t{version} * 4'211;
    put(out.data(), checksum, 4);
    put(out.data() + 4, page, 4);
    put(out.data() + 8, page - 1, 4);
    put(out.data() + 12, page + 1, 4);
    put(out.data() + 16, lsn, 8);
    put(out.data() + 24, 0x45bf, 2);
    put(out.data() + 26, kRows, 2);
    put(out.data() + 28, kDirectory, 2);
    put(out.data() + 30, 0, 2);
    put(out.data() + kTrailer, checksum, 4);
    put(out.data() + kTrailer + 4, lsn, 4);
}

}  // namespace

unsigned database_rows_for(double changed) {
    assert(changed > 0 && changed <= 1);
    const double bytes = changed * static_cast<double>(kPageSize) - kHeaderChanges;
    return static_cast<unsigned>(std::clamp(std::round(bytes / kRowChanges), 1.0, double{kRows}));
}

void fill_database_page(uint64_t key, uint64_t page, uint32_t version, unsigned rows_changed,
                        Page out) {
    assert(version > 0);
    fill_header(key, page, version, out);
    const RowVersions versions = row_versions(key, version, rows_changed);
    for (unsigned row = 0; row < kRows; ++row) {
        fill_row(key, page, row, versions[row], out.data() + kHeaderSize + row * kRowSize);
        put(out.data() + kDirectory + row * sizeof(uint16_t), kHeaderSize + row * kRowSize, 2);
    }
    constexpr size_t kUsed = kDirectory + kRows * sizeof(uint16_t);
    std::memset(out.data() + kUsed, 0, kTrailer - kUsed);
}

}  // namespace predsnap::replay
