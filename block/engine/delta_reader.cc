// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reading deltas: down the chain to data, and up again.
#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "fine.h"
#include "reader.h"
#include "text.h"

namespace predsnap {

namespace {

Error damaged(Core& core, const Extent& extent, const char* what) {
    return corruption(core, to_bytes(extent.start), extent.count * kSectorSize,
                      text("data of guest offset %llu is corrupt: the delta at image offset %llu %s",
                           static_cast<ull>(to_bytes(extent.start)),
                           static_cast<ull>(Geometry::delta_offset(extent.unit_place())), what));
}

}  // namespace

// How long it is, it says itself; so as much is read as it can be.
Result<format::DeltaHeader> Reader::load_delta(const Extent& extent, DeltaBytes* to) {
    TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
    const uint64_t offset = Geometry::delta_offset(extent.unit_place());
    const uint64_t segment = core_.geometry.offset(core_.geometry.segment_of(extent));
    const uint64_t begin = align_down(offset, kBlockSize);
    const uint64_t end = std::min({align_up(offset + kMaxDeltaBytes, kBlockSize), segment + core_.geometry.segment_size,
                                   align_down(image_bytes, kSectorSize)});
    if (offset >= end) {
        to->damaged = true;
        return damaged(core_, extent, "lies past the end of the image");
    }
    to->blocks = AlignedBuffer(end - begin);
    const std::span<const uint8_t> bytes(to->blocks.data() + (offset - begin), end - offset);
    for (int attempt = 0; attempt < 2; ++attempt) {  // once more, as with other data
        TRY(core_.file.pread(begin, to->blocks.data(), end - begin));
        const auto header = parse_delta(core_.geometry, extent.start, bytes);
        if (header && unit_checksum(bytes.data(), delta_length(*header)) == extent.checksum) {
            to->delta = bytes.subspan(0, delta_length(*header));
            return *header;
        }
    }
    to->damaged = true;
    return damaged(core_, extent, "does not match its checksum");
}

Result<Extent> Reader::read_chain(const Extent& extent, std::vector<DeltaBytes>* chain) {
    Extent at = whole_delta(extent);
    for (unsigned depth = format::kMaxDeltaDepth + 1; at.is_delta();) {
        chain->emplace_back();
        TRY_ASSIGN(const format::DeltaHeader header, load_delta(at, &chain->back()));
        if (header.depth >= depth) {
            chain->back().damaged = true;
            return damaged(core_, at, "is deeper than the one that is based on it");
        }
        depth = header.depth;
        at = format::unpack(header.base);
    }
    return at;
}

// All of the block that the delta is of.
Result<void> Reader::read_block(const Extent& extent, uint8_t* block) {
    std::vector<DeltaBytes> chain;
    TRY_ASSIGN(const Extent base, read_chain(extent, &chain));
    if (base.kind == ExtentKind::zero) {
        std::memset(block, 0, kBlockSize);
    } else {
        TRY(read_extent(base, block));
    }
    for (auto delta = chain.rbegin(); delta != chain.rend(); ++delta) {
        if (!apply_delta(delta->delta, block)) {
            return damaged(core_, extent, "makes no sense");
        }
    }
    return {};
}

Result<void> Reader::verify_delta(const Extent& extent) {
    AlignedBuffer block(kBlockSize);
    return read_block(extent, block.data());
}

Result<void> Reader::read_delta(const Extent& extent, std::span<const iovec> buffers, size_t skip) {
    if (fine_ != nullptr && fine_->read(extent, buffers, skip)) {
        return {};
    }
    AlignedBuffer block(kBlockSize);
    TRY(read_block(extent, block.data()));
    copy_to(buffers, skip, block.data() + extent.head * kSectorSize, extent.count * kSectorSize);
    return {};
}

Result<void> Reader::learn_chain(const Extent& extent, DeltaChain* chain) {
    std::vector<DeltaBytes> deltas;
    const Result<Extent> base = read_chain(extent, &deltas);
    if (!base.ok() && !deltas.back().damaged) {
        return base.error();  // the device may know another time
    }
    chain->block = whole_delta(extent).start;
    for (const DeltaBytes& bytes : deltas) {
        if (bytes.damaged) {
            break;  // nobody can read what is below it
        }
        format::DeltaHeader header{};
        std::memcpy(&header, bytes.delta.data(), sizeof(header));
        const Extent below = format::unpack(header.base);
        chain->depth = std::max(chain->depth, header.depth);
        chain->units = std::max(chain->units, header.units);
        if (below.is_data() && chain->count < chain->segments.size()) {
            chain->add(core_.geometry.segment_of(below));
        }
    }
    return {};
}

}  // namespace predsnap
