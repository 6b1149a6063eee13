// SPDX-License-Identifier: GPL-2.0-or-later
#include "block/engine/index_stream.h"

#include <gtest/gtest.h>

#include <numeric>

#include "block/engine/checksum.h"
#include "fiber_host.h"
#include "memory_device.h"

namespace predsnap::test {
namespace {

using format::StreamPosition;

constexpr uint32_t kSegment = 64 << 10;

std::vector<uint8_t> blob_of(size_t size, uint8_t first) {
    std::vector<uint8_t> blob(size);
    std::iota(blob.begin(), blob.end(), first);
    return blob;
}

class IndexStreamTest : public ::testing::Test {
  protected:
    IndexStreamTest() {
        core.geometry.segment_size = kSegment;
        core.seed = 99;
        segments.ensure(SegmentId(0));
        stream.start({{0, kBlockSize, 0}, 0, core.seed});
    }
    StreamPosition append(const std::vector<uint8_t>& blob) {
        const auto position = stream.append(blob);
        EXPECT_TRUE(position.ok());
        return position.value().begin;
    }
    uint8_t& byte(const StreamPosition& at, uint64_t offset) {
        return file.bytes.at(core.geometry.offset(SegmentId(at.segment)) + at.offset + offset);
    }

    FiberHost host;
    MemoryDevice file;
    Core core{host, file};
    SegmentTable segments;
    IndexStream stream{core, segments};
};

TEST_F(IndexStreamTest, ABlobIsReadBack) {
    const auto blob = blob_of(1000, 1);
    const auto read = stream.read(append(blob));
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read.value().blob, blob);
    EXPECT_EQ(read.value().number, 0u);
}

TEST_F(IndexStreamTest, BlobsFollowEachOther) {
    const StreamPosition first = append(blob_of(100, 1));
    append(blob_of(5000, 2));
    append(blob_of(9, 3));
    StreamPosition at = first;
    for (uint64_t number = 0; number < 3; ++number) {
        const auto read = stream.read(at);
        ASSERT_TRUE(read.ok());
        EXPECT_EQ(read.value().number, number);
        at = read.value().next.at;
    }
    EXPECT_EQ(at.segment, stream.tail().at.segment);
    EXPECT_EQ(at.offset, stream.tail().at.offset);
    EXPECT_FALSE(stream.read(at).ok());
}

TEST_F(IndexStreamTest, ALongBlobGoesOnInOtherSegments) {
    const auto blob = blob_of(5 * kSegment, 7);
    const auto read = stream.read(append(blob));
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read.value().blob, blob);
    EXPECT_GE(read.value().segments.size(), 5u);
    for (const SegmentId id : read.value().segments) {
        EXPECT_EQ(segments[id].kind, format::SegmentKind::index);
    }
}

TEST_F(IndexStreamTest, ManyBlobsOfManySizesAreReadBack) {
    std::vector<std::pair<StreamPosition, std::vector<uint8_t>>> written;
    for (size_t i = 0; i < 60; ++i) {
        const auto blob = blob_of(1 + i * 997 % 30'000, static_cast<uint8_t>(i));
        written.emplace_back(append(blob), blob);
    }
    for (const auto& [position, blob] : written) {
        const auto read = stream.read(position);
        ASSERT_TRUE(read.ok()) << read.error().message;
        EXPECT_EQ(read.value().blob, blob);
    }
}

TEST_F(IndexStreamTest, EveryFlippedByteIsNoticed) {
    const StreamPosition at = append(blob_of(600, 1));
    for (uint64_t offset = 0; offset < sizeof(format::ChunkHeader) + 600; ++offset) {
        byte(at, offset) ^= 4;
        EXPECT_FALSE(stream.read(at).ok()) << offset;
        byte(at, offset) ^= 4;
    }
    EXPECT_TRUE(stream.read(at).ok());
}

TEST_F(IndexStreamTest, ChunksOfAnotherImageAreNotTaken) {
    const StreamPosition at = append(blob_of(600, 1));
    core.seed = 100;
    EXPECT_FALSE(stream.read(at).ok());
}

TEST_F(IndexStreamTest, ABlobCutByTheEndOfTheImageIsNone) {
    const StreamPosition at = append(blob_of(3 * kSegment, 1));
    file.bytes.resize(file.bytes.size() - kBlockSize);
    EXPECT_FALSE(stream.read(at).ok());
}

TEST_F(IndexStreamTest, PositionsOutOfRangeAreErrors) {
    append(blob_of(100, 1));
    for (const StreamPosition at : {StreamPosition{0, 0, 0}, StreamPosition{0, 100, 0},
                                    StreamPosition{0, kSegment, 0}, StreamPosition{0, ~0u, 0},
                                    StreamPosition{~0u, kBlockSize, 0}, StreamPosition{7, kBlockSize, 0}}) {
        EXPECT_FALSE(stream.read(at).ok()) << at.segment << ":" << at.offset;
    }
}

TEST_F(IndexStreamTest, AChunkThatLeadsToItselfEndsTheBlob) {
    const StreamPosition at = append(blob_of(3 * kSegment, 1));
    auto* chunk = reinterpret_cast<format::ChunkHeader*>(&byte(at, 0));
    chunk->next = at;
    chunk->checksum = self_hash(core.seed, *chunk, chunk->bytes);
    EXPECT_FALSE(stream.read(at).ok());
}

// What a power loss can leave: of two blobs the second only, and then an earlier opening's second behind the
// first that was written again.
TEST_F(IndexStreamTest, ABlobOfAnEarlierOpeningDoesNotFollowOneWrittenAgain) {
    const IndexStream::Tail start = stream.tail();
    core.session = 1;
    const StreamPosition first = append(blob_of(100, 1));
    const IndexStream::Tail between = stream.tail();
    const StreamPosition second = append(blob_of(100, 2));
    EXPECT_TRUE(stream.read(second).value().follows(between));

    IndexStream again(core, segments);
    core.session = 2;
    again.start(start);
    ASSERT_TRUE(again.append(blob_of(100, 1)).ok());
    EXPECT_TRUE(again.read(first).value().follows(start));
    const auto stale = again.read(second);
    ASSERT_TRUE(stale.ok());
    EXPECT_EQ(stale.value().number, again.tail().blob);
    EXPECT_FALSE(stale.value().follows(again.tail()));
}

TEST_F(IndexStreamTest, ChunksOfTwoWritingsAreNoBlob) {
    const IndexStream::Tail start = stream.tail();
    core.session = 1;
    const auto blob = blob_of(2 * kSegment, 1);
    const StreamPosition at = append(blob);
    const std::vector<uint8_t> first_chunk(&byte(at, 0), &byte(at, 0) + kSegment - at.offset);
    const std::vector<SegmentId> used = stream.read(at).value().segments;
    segments.release(SegmentId(stream.tail().at.segment));
    std::for_each(used.rbegin(), used.rend() - 1, [&](SegmentId id) { segments.release(id); });
    core.session = 2;
    stream.start(start);
    append(blob);
    ASSERT_EQ(stream.read(at).value().segments, used);
    std::copy(first_chunk.begin(), first_chunk.end(), &byte(at, 0));
    ASSERT_FALSE(stream.read(at).ok());
    EXPECT_EQ(stream.read(at).error().code, IndexStream::kNoBlob);
}

// A chunk of the failed attempt may be on disk: it must lead where that of the next attempt leads.
TEST_F(IndexStreamTest, AfterAnErrorItTakesTheSameWayAgain) {
    append(blob_of(100, 1));
    const StreamPosition at = stream.tail().at;
    file.fail = [](const MemoryDevice::Call& call) {
        return call.op == MemoryDevice::Op::write && call.offset >= 2 * kSegment ? EIO : 0;
    };
    const auto blob = blob_of(3 * kSegment, 2);
    EXPECT_EQ(stream.append(blob).error().code, EIO);
    const std::vector<uint8_t> first_chunk(&byte(at, 0), &byte(at, 0) + kSegment - at.offset);
    file.fail = nullptr;
    const SegmentId other = segments.take(core.geometry).value();
    append(blob);
    EXPECT_TRUE(std::equal(first_chunk.begin(), first_chunk.end(), &byte(at, 0)));
    const auto used = stream.read(at).value().segments;
    EXPECT_EQ(std::count(used.begin(), used.end(), other), 0);
}

TEST_F(IndexStreamTest, AfterAnErrorItIsTriedAgainAtTheSamePlace) {
    append(blob_of(100, 1));
    const StreamPosition before = stream.tail().at;
    file.fail = [](const MemoryDevice::Call& call) {
        return call.op == MemoryDevice::Op::write && call.offset >= 3 * kSegment ? ENOSPC : 0;
    };
    const auto blob = blob_of(5 * kSegment, 2);
    EXPECT_EQ(stream.append(blob).error().code, ENOSPC);
    EXPECT_EQ(stream.tail().at.segment, before.segment);
    EXPECT_EQ(stream.tail().at.offset, before.offset);
    file.fail = nullptr;
    const auto read = stream.read(append(blob));
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read.value().blob, blob);
    EXPECT_EQ(read.value().number, 1u);
}

}  // namespace
}  // namespace predsnap::test
