// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/delta.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace predsnap::test {
namespace {

using format::DeltaEncoding;
using format::DeltaHeader;
using Block = std::vector<uint8_t>;

const Geometry kGeometry{64 << 10};
constexpr Sector kStart{80};

Extent base_extent() {
    Extent extent;
    extent.start = kStart;
    extent.count = kSectorsPerBlock;
    extent.kind = ExtentKind::unit;
    extent.place = kGeometry.place(SegmentId(3)) + 8;
    extent.checksum = 77;
    return extent;
}

class DeltaTest : public ::testing::Test {
  protected:
    DeltaTest() : before(kBlockSize) {
        for (uint8_t& byte : before) {
            byte = static_cast<uint8_t>(random());
        }
        block = before;
        base.extent = base_extent();
    }
    bool encode() { return encoder.encode(base, before.data(), block.data(), &delta); }
    std::span<const uint8_t> bytes() const { return {delta.bytes, delta.length}; }
    DeltaHeader header() const {
        DeltaHeader header;
        std::memcpy(&header, delta.bytes, sizeof(header));
        return header;
    }
    void put(const DeltaHeader& header) { std::memcpy(delta.bytes, &header, sizeof(header)); }
    bool parses() const { return parse_delta(kGeometry, kStart, bytes()).has_value(); }
    // What comes of the base.
    Block applied() {
        Block result = before;
        EXPECT_TRUE(parses());
        EXPECT_TRUE(apply_delta(bytes(), result.data()));
        return result;
    }

    std::mt19937_64 random{7};
    Block before, block;
    DeltaBase base;
    Delta delta;
    DeltaEncoder encoder;
};

TEST_F(DeltaTest, NothingChanged) {
    ASSERT_TRUE(encode());
    EXPECT_EQ(delta.length, kDeltaUnit);
    EXPECT_EQ(delta.changed, 0u);
    EXPECT_EQ(applied(), block);
}

TEST_F(DeltaTest, AFewBytesAtTheEdges) {
    block[0] ^= 1;
    block[1] ^= 1;
    block[kBlockSize - 1] ^= 1;
    ASSERT_TRUE(encode());
    EXPECT_EQ(delta.length, kDeltaUnit);
    EXPECT_EQ(delta.changed, 3u);
    EXPECT_EQ(header().encoding, static_cast<uint8_t>(DeltaEncoding::ranges));
    EXPECT_EQ(applied(), block);
}

TEST_F(DeltaTest, AnyChange) {
    for (int round = 0; round < 2000; ++round) {
        block = before;
        const uint64_t ranges = random() % 40;
        for (uint64_t i = 0; i < ranges; ++i) {
            const size_t length = 1 + random() % (1 + random() % 200);
            const size_t at = random() % (kBlockSize - length + 1);
            for (size_t k = at; k < at + length; ++k) {
                block[k] = static_cast<uint8_t>(random() % 3 == 0 ? before[k] : random());
            }
        }
        if (encode()) {
            EXPECT_EQ(delta.length % kDeltaUnit, 0u);
            EXPECT_EQ(applied(), block);
        } else {
            EXPECT_GT(delta.changed, 1500u);
        }
    }
}

TEST_F(DeltaTest, WhatCompressesIsXored) {
    for (size_t i = 0; i < kBlockSize; i += 8) {
        block[i] = static_cast<uint8_t>(before[i] ^ 5);
    }
    ASSERT_TRUE(encode());
    EXPECT_EQ(header().encoding, static_cast<uint8_t>(DeltaEncoding::xored));
    EXPECT_LE(delta.length, 4 * kDeltaUnit);
    EXPECT_EQ(applied(), block);
}

TEST_F(DeltaTest, WhatIsAllNewIsNoDelta) {
    for (uint8_t& byte : block) {
        byte = static_cast<uint8_t>(random());
    }
    EXPECT_FALSE(encode());
    EXPECT_GT(delta.changed, kBlockSize * 9 / 10);
}

TEST_F(DeltaTest, ChainsEndByDepthAndByLength) {
    block[9] ^= 1;
    base.extent.place = kGeometry.delta_place(kGeometry.offset(SegmentId(2)));
    base.depth = format::kMaxDeltaDepth - 1;
    base.units = 20;
    ASSERT_TRUE(encode());
    EXPECT_EQ(header().depth, format::kMaxDeltaDepth);
    EXPECT_EQ(header().units, 21u);
    EXPECT_EQ(applied(), block);
    base.units = kMaxChainUnits;
    EXPECT_FALSE(encode());
    base.units = 0;
    base.depth = format::kMaxDeltaDepth;
    EXPECT_FALSE(encode());
}

TEST_F(DeltaTest, HostileHeadersAreRefused) {
    block[9] ^= 1;
    ASSERT_TRUE(encode());
    const DeltaHeader good = header();
    const auto refused = [&](auto change) {
        DeltaHeader header = good;
        change(header);
        put(header);
        EXPECT_FALSE(parses());
    };
    refused([](DeltaHeader& h) { h.magic[0] = 0; });
    refused([](DeltaHeader& h) { h.depth = 0; });
    refused([](DeltaHeader& h) { h.depth = 2; });  // but its base is no delta
    refused([](DeltaHeader& h) { h.depth = format::kMaxDeltaDepth + 1; });
    refused([](DeltaHeader& h) { h.bytes = 2000; });
    refused([](DeltaHeader& h) { h.bytes = UINT16_MAX; });
    const auto refused_base = [&](auto change) {
        refused([&](DeltaHeader& h) {
            Extent extent = base_extent();
            change(extent);
            h.base = format::pack(extent);
        });
    };
    refused_base([](Extent& e) { e.start = Sector(88); });
    refused_base([](Extent& e) { e.count = 7; });
    refused_base([](Extent& e) { e.kind = ExtentKind::hole; });
    refused_base([](Extent& e) { e.place = Place(1); });
    refused_base([](Extent& e) { e.place = kStreamPlaces + 100; e.kind = ExtentKind::run; });
    refused_base([](Extent& e) { e.place = kGeometry.delta_place(1 << 20); });  // a delta, at depth 1
    refused([](DeltaHeader& h) { h.base.kind = 9; });
}

TEST_F(DeltaTest, HostileContentIsRefused) {
    for (int round = 0; round < 5000; ++round) {
        DeltaHeader header{};
        std::memcpy(header.magic, format::kDeltaMagic, sizeof(header.magic));
        header.depth = 1;
        header.encoding = static_cast<uint8_t>(random() % 4);
        header.bytes = static_cast<uint16_t>(random() % 100);
        header.base = format::pack(base_extent());
        put(header);
        delta.length = 128;
        for (size_t i = sizeof(header); i < delta.length; ++i) {
            delta.bytes[i] = static_cast<uint8_t>(random());
        }
        Block result = before;
        ASSERT_TRUE(parses());
        apply_delta(bytes(), result.data());  // whatever it says
    }
}

TEST_F(DeltaTest, PlacesNameTheSegmentWhateverTheSlice) {
    Extent extent = base_extent();
    const uint64_t last = kGeometry.offset(SegmentId(5)) - kDeltaUnit;
    extent.place = kGeometry.delta_place(last);
    EXPECT_TRUE(extent.is_delta());
    EXPECT_TRUE(plausible(kGeometry, extent));
    const Extent part = extent.slice(kStart + 5, kStart + 7);
    EXPECT_TRUE(plausible(kGeometry, part));
    EXPECT_EQ(kGeometry.segment_of(part), SegmentId(4));
    EXPECT_EQ(Geometry::delta_offset(part.unit_place()), last);
    EXPECT_EQ(whole_delta(part), extent);
    EXPECT_EQ(format::unpack(format::pack(part)), part);
}

}  // namespace
}  // namespace predsnap::test
