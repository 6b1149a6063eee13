// SPDX-License-Identifier: GPL-2.0-or-later
//
// Decoding an index blob. Input: the blob.
#include <cstdlib>

#include "block/engine/segment_index.h"
#include "target.h"

namespace predsnap::fuzz {

namespace {

constexpr Geometry kGeometry{1 << 20, 64};

SegmentIndex sample(uint64_t batches) {
    SegmentIndex index;
    index.segment = SegmentId(3);
    index.next = SegmentId(4);
    index.first = Sequence(10);
    index.end_offset = 64 << 10;
    for (uint64_t i = 0; i < batches; ++i) {
        format::Entry entry{};
        entry.start = i * 5;
        entry.count = i % 2 == 0 ? 8 : 20;
        entry.place = static_cast<uint32_t>(16 + i * 40);
        entry.first_sum = static_cast<uint32_t>(index.sums.size());
        entry.kind = static_cast<uint8_t>(i % 2 == 0 ? ExtentKind::unit : ExtentKind::run);
        index.entries.push_back(entry);
        index.sums.resize(index.sums.size() + unit_count(Sector(entry.start), entry.count));
        Extent old;
        old.start = Sector(entry.start);
        old.count = entry.count;
        index.undo.push_back(format::pack(old));
        index.rows.push_back({10 + i, static_cast<int64_t>(i), 1, 0, 1, 0});
    }
    index.last = Sequence(9 + batches);
    return index;
}

}  // namespace

std::vector<Input> seeds() {
    return {{}, sample(0).encode(), sample(1).encode(), sample(2).encode(), sample(30).encode()};
}

}  // namespace predsnap::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace predsnap;
    const Result<SegmentIndex> index = SegmentIndex::decode(fuzz::kGeometry, {data, size});
    if (!index.ok()) {
        return 0;
    }
    if (index.value().encode().size() != size) {
        std::abort();
    }
    // Whatever it says, a checksum found is one that is there.
    for (uint64_t sector = 0; sector < 2048; sector += 7) {
        const Place place = fuzz::kGeometry.place(index.value().segment) + sector;
        const int64_t sum = index.value().find_sum(fuzz::kGeometry, place);
        if (sum >= static_cast<int64_t>(index.value().sums.size())) {
            std::abort();
        }
    }
    return 0;
}
