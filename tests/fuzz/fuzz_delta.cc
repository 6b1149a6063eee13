// SPDX-License-Identifier: GPL-2.0-or-later
//
// Decoding a delta. Input: the delta.
#include <cstdlib>
#include <cstring>

#include "block/engine/delta.h"
#include "target.h"

namespace predsnap::fuzz {

namespace {

constexpr Geometry kGeometry{1 << 20, 64};
constexpr Sector kStart{64};

// What the base holds.
std::vector<uint8_t> block_before() {
    std::vector<uint8_t> block(kBlockSize);
    for (size_t i = 0; i < block.size(); ++i) {
        block[i] = static_cast<uint8_t>(i * i >> 3);
    }
    return block;
}

Input sample(size_t step, uint8_t depth) {
    const std::vector<uint8_t> before = block_before();
    std::vector<uint8_t> block = before;
    for (size_t i = 0; i < block.size(); i += step) {
        block[i] = static_cast<uint8_t>(block[i] ^ 0x21);
    }
    DeltaBase base;
    base.extent.start = kStart;
    base.extent.count = kSectorsPerBlock;
    base.extent.kind = depth > 0 ? ExtentKind::unit : ExtentKind::zero;
    base.extent.place = depth > 1 ? kGeometry.delta_place(kGeometry.offset(SegmentId(2))) : kGeometry.place(SegmentId(1));
    base.depth = static_cast<uint8_t>(depth > 1 ? depth - 1 : 0);
    DeltaEncoder encoder;
    Delta delta;
    if (!encoder.encode(base, before.data(), block.data(), &delta)) {
        std::abort();
    }
    return Input(delta.bytes, delta.bytes + delta.length);
}

}  // namespace

std::vector<Input> seeds() {
    return {{}, sample(kBlockSize, 0), sample(500, 1), sample(100, 2), sample(8, 1), sample(5, 8)};
}

}  // namespace predsnap::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace predsnap;
    const auto header = parse_delta(fuzz::kGeometry, fuzz::kStart, {data, size});
    if (!header) {
        return 0;
    }
    const Extent base = format::unpack(header->base);
    if (delta_length(*header) > size || delta_length(*header) > kMaxDeltaBytes || base.start != fuzz::kStart ||
        (base.is_data() && fuzz::kGeometry.segment_of(base).value >= fuzz::kGeometry.max_segments())) {
        std::abort();
    }
    std::vector<uint8_t> block = fuzz::block_before();
    (void)apply_delta({data, delta_length(*header)}, block.data());
    return 0;
}
