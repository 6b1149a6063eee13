// SPDX-License-Identifier: GPL-2.0-or-later
#include "stamp.h"

#include <array>
#include <cstring>

#include "block/engine/types.h"
#include "random.h"

namespace predsnap::sim {
namespace {

constexpr size_t kWords = kSectorSize / sizeof(uint64_t);
using Words = std::array<uint64_t, kWords>;

// Every other 64 KiB of the disk are like a table: most words are those of one of a few kinds of rows, so that old history
// is worth compressing, and having a dictionary for.
constexpr uint64_t kTableSectors = 128, kRowKinds = 16;

// Words 0 and 1 are address and value in clear, the others depend on both and on their place; of slim writes only
// up to three of them on the value.
void fill(Words* words, uint64_t address, Value value) {
    (*words)[0] = address;
    (*words)[1] = value;
    const bool slim = (value & kSlimWrite) != 0;
    const uint64_t full = mix(address * 0x9e3779b97f4a7c15ull + mix(value + 1));
    const uint64_t key = slim ? mix(address) : full;
    for (size_t i = 2; i < kWords; ++i) {
        const bool row = !slim && address / kTableSectors % 2 == 1 && i % 8 != 0;
        (*words)[i] = ((row ? mix(address % kRowKinds) : key) + i) * 0xd6e8feb86659fd93ull;
    }
    for (uint64_t i = 0; slim && i < full % 4; ++i) {
        (*words)[2 + (full >> (8 + 8 * i)) % (kWords - 2)] = full + i;
    }
}

bool all_zero(const Words& words) {
    uint64_t sum = 0;
    for (const uint64_t word : words) {
        sum |= word;
    }
    return sum == 0;
}

}  // namespace

void stamp(void* sector, uint64_t address, Value value) {
    Words words;
    fill(&words, address, value);
    memcpy(sector, words.data(), kSectorSize);
}

Stamp decode_stamp(const void* sector) {
    Words words, expected;
    memcpy(words.data(), sector, kSectorSize);
    fill(&expected, words[0], words[1]);
    return {.valid = words == expected, .address = words[0], .value = words[1]};
}

Value read_stamp(const void* sector, uint64_t address) {
    const Stamp found = decode_stamp(sector);
    if (found.valid) {
        return found.address == address ? found.value : kBadContent;
    }
    Words words;
    memcpy(words.data(), sector, kSectorSize);
    return all_zero(words) ? kZero : kBadContent;
}

std::string describe_content(const void* sector) {
    const Stamp found = decode_stamp(sector);
    if (found.valid) {
        return describe_value(found.value) + " of sector " + std::to_string(found.address);
    }
    Words words;
    memcpy(words.data(), sector, kSectorSize);
    if (all_zero(words)) {
        return "zeros";
    }
    return "garbage or a torn sector (words 0, 1, 63: " + std::to_string(words[0]) + ", " +
           std::to_string(words[1]) + ", " + std::to_string(words[kWords - 1]) + ")";
}

std::string describe_value(Value value) {
    switch (value) {
        case kZero:
            return "zeros";
        case kHole:
            return "the backing disk's content";
        case kZeroOrHole:
            return "zeros or a hole";
        case kNotSeen:
            return "content not looked at";
        case kBadContent:
            return "foreign content";
        default:
            return "write " + std::to_string(value);
    }
}

}  // namespace predsnap::sim
