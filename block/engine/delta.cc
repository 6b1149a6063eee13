// SPDX-License-Identifier: GPL-2.0-or-later
#include "delta.h"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace predsnap {

using format::DeltaEncoding;
using format::DeltaHeader;

namespace {

constexpr size_t kRoom = kMaxDeltaBytes - sizeof(DeltaHeader);
// Ranges nearer to each other than that are one: two numbers would take more.
constexpr size_t kJoin = 3;
// Less is not packed: it saves little, and takes several microseconds.
constexpr size_t kLeastPacked = 384;
// Nor what is nearly all new.
constexpr size_t kMostPacked = kBlockSize * 3 / 4;
constexpr int kLevel = 1;

size_t next_difference(const uint8_t* a, const uint8_t* b, size_t at) {
    for (; at < kBlockSize && at % 8 != 0; ++at) {
        if (a[at] != b[at]) {
            return at;
        }
    }
    for (; at < kBlockSize; at += 8) {
        uint64_t x, y;
        std::memcpy(&x, a + at, sizeof(x));
        std::memcpy(&y, b + at, sizeof(y));
        if (x != y) {
            return at + static_cast<size_t>(std::countr_zero(x ^ y)) / 8;
        }
    }
    return kBlockSize;
}

// The end of the range of differences that begins there.
size_t end_of_range(const uint8_t* a, const uint8_t* b, size_t at) {
    size_t end = at + 1;
    for (size_t i = end; i < kBlockSize && i < end + kJoin; ++i) {
        if (a[i] != b[i]) {
            end = i + 1;
        }
    }
    return end;
}

// Below 16384.
void put_number(uint8_t*& out, size_t number) {
    if (number >= 128) {
        *out++ = static_cast<uint8_t>(number | 128);
        number >>= 7;
    }
    *out++ = static_cast<uint8_t>(number);
}

bool take_number(std::span<const uint8_t>& bytes, size_t* number) {
    *number = 0;
    for (unsigned shift = 0; shift <= 7; shift += 7) {
        if (bytes.empty()) {
            return false;
        }
        const uint8_t byte = bytes[0];
        bytes = bytes.subspan(1);
        *number |= size_t{byte & 127u} << shift;
        if (byte < 128) {
            return true;
        }
    }
    return false;
}

// Returns the length, or 0 if that is more than there is room for; the rest is counted even so.
size_t put_ranges(const uint8_t* before, const uint8_t* block, uint8_t* to, uint32_t* changed) {
    uint8_t* out = to;
    bool fits = true;
    size_t done = 0;
    *changed = 0;
    for (size_t at = next_difference(before, block, 0); at < kBlockSize;
         at = next_difference(before, block, done)) {
        const size_t end = end_of_range(before, block, at);
        *changed += static_cast<uint32_t>(end - at);
        fits = fits && static_cast<size_t>(out - to) + 4 + (end - at) <= kRoom;
        if (fits) {
            put_number(out, at - done);
            put_number(out, end - at);
            std::memcpy(out, block + at, end - at);
            out += end - at;
        }
        done = end;
    }
    return fits ? static_cast<size_t>(out - to) : 0;
}

bool apply_ranges(std::span<const uint8_t> bytes, uint8_t* block) {
    size_t at = 0;
    while (!bytes.empty()) {
        size_t skip, length;
        if (!take_number(bytes, &skip) || !take_number(bytes, &length) || length == 0 ||
            length > bytes.size() || skip + length > kBlockSize - at) {
            return false;
        }
        at += skip;
        std::memcpy(block + at, bytes.data(), length);
        at += length;
        bytes = bytes.subspan(length);
    }
    return true;
}

bool apply_xored(std::span<const uint8_t> bytes, uint8_t* block) {
    uint8_t mask[kBlockSize];
    const size_t unpacked = ZSTD_decompress(mask, sizeof(mask), bytes.data(), bytes.size());
    if (unpacked != kBlockSize) {  // errors are large numbers
        return false;
    }
    for (size_t i = 0; i < kBlockSize; ++i) {
        block[i] ^= mask[i];
    }
    return true;
}

bool is_base(const Geometry& geometry, Sector block, const DeltaHeader& header) {
    const Extent base = format::unpack(header.base);
    if (header.base.kind > static_cast<uint8_t>(ExtentKind::run) || base.kind == ExtentKind::hole ||
        !plausible(geometry, base) || base.in_stream()) {
        return false;
    }
    return base.start == block && base.count == kSectorsPerBlock && base.head == 0 && base.tail == 0 &&
           base.is_delta() == (header.depth > 1);
}

}  // namespace

void DeltaChain::add(SegmentId segment) {
    if (!needs(segment)) {
        segments[count++] = segment;
    }
}

bool DeltaChain::needs(SegmentId segment) const {
    return std::find(segments.begin(), segments.begin() + count, segment) != segments.begin() + count;
}

DeltaEncoder::DeltaEncoder() = default;

DeltaEncoder::~DeltaEncoder() { ZSTD_freeCCtx(packer_); }

size_t DeltaEncoder::pack(const uint8_t* before, const uint8_t* block, uint8_t* to, size_t room) {
    const std::unique_lock lock(packing_, std::try_to_lock);
    if (!lock.owns_lock()) {
        return 0;
    }
    if (packer_ == nullptr && (packer_ = ZSTD_createCCtx()) == nullptr) {
        return 0;
    }
    uint8_t mask[kBlockSize];
    for (size_t i = 0; i < kBlockSize; ++i) {
        mask[i] = before[i] ^ block[i];
    }
    const size_t packed = ZSTD_compressCCtx(packer_, to, room, mask, sizeof(mask), kLevel);
    return ZSTD_isError(packed) != 0 ? 0 : packed;
}

bool DeltaEncoder::encode(const DeltaBase& base, const uint8_t* before, const uint8_t* block, Delta* delta) {
    uint8_t* const content = delta->bytes + sizeof(DeltaHeader);
    size_t length = put_ranges(before, block, content, &delta->changed);
    DeltaEncoding encoding = DeltaEncoding::ranges;
    const bool fits = length > 0 || delta->changed == 0;
    if ((!fits || length >= kLeastPacked) && delta->changed <= kMostPacked) {
        uint8_t packed[kRoom];
        const size_t packed_length = pack(before, block, packed, fits ? length - 1 : kRoom);
        if (packed_length > 0) {
            std::memcpy(content, packed, packed_length);
            length = packed_length;
            encoding = DeltaEncoding::xored;
        }
    }
    if (length == 0 && delta->changed > 0) {
        return false;
    }
    delta->length = static_cast<uint32_t>(align_up(sizeof(DeltaHeader) + length, kDeltaUnit));
    const uint32_t units = base.units + delta->length / kDeltaUnit;
    if (base.depth >= format::kMaxDeltaDepth || units > kMaxChainUnits) {
        return false;
    }
    DeltaHeader header{};
    std::memcpy(header.magic, format::kDeltaMagic, sizeof(header.magic));
    header.encoding = static_cast<uint8_t>(encoding);
    header.depth = static_cast<uint8_t>(base.depth + 1);
    header.bytes = static_cast<uint16_t>(length);
    header.units = static_cast<uint16_t>(units);
    header.base = format::pack(base.extent);
    std::memcpy(delta->bytes, &header, sizeof(header));
    std::memset(content + length, 0, delta->length - sizeof(header) - length);
    return true;
}

uint32_t delta_length(const DeltaHeader& header) {
    return static_cast<uint32_t>(align_up(sizeof(header) + header.bytes, kDeltaUnit));
}

std::optional<DeltaHeader> parse_delta(const Geometry& geometry, Sector block, std::span<const uint8_t> bytes) {
    DeltaHeader header{};
    if (bytes.size() < sizeof(header)) {
        return {};
    }
    std::memcpy(&header, bytes.data(), sizeof(header));
    const bool valid = std::memcmp(header.magic, format::kDeltaMagic, sizeof(header.magic)) == 0 &&
                       header.depth >= 1 && header.depth <= format::kMaxDeltaDepth && header.bytes <= kRoom &&
                       delta_length(header) <= bytes.size() && is_base(geometry, block, header);
    return valid ? std::optional(header) : std::nullopt;
}

bool apply_delta(std::span<const uint8_t> delta, uint8_t* block) {
    DeltaHeader header{};
    std::memcpy(&header, delta.data(), sizeof(header));
    const auto content = delta.subspan(sizeof(header), header.bytes);
    switch (static_cast<DeltaEncoding>(header.encoding)) {
        case DeltaEncoding::ranges:
            return apply_ranges(content, block);
        case DeltaEncoding::xored:
            return apply_xored(content, block);
    }
    return false;
}

Extent whole_delta(const Extent& extent) {
    Extent whole = extent;
    whole.start = extent.start - extent.head;
    whole.count = kSectorsPerBlock;
    whole.place = extent.unit_place();
    whole.head = whole.tail = 0;
    return whole;
}

}  // namespace predsnap
