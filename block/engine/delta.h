// SPDX-License-Identifier: GPL-2.0-or-later
//
// Fine deltas: a block of the guest, stored as what differs from what it held before.
//
// The base is an extent of just that block: data as the guest wrote it, zeros, or another delta, at most
// kMaxDeltaDepth in a row. Places are never written twice while anything needs them, so a delta means the same
// for ever, whatever else is written to the block: what has to be kept is what it is based on (delta_table.h).
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "extent.h"
#include "format.h"
#include "geometry.h"

struct ZSTD_CCtx_s;

namespace predsnap {

constexpr uint32_t kMaxDeltaBytes = format::kMaxDeltaUnits * kDeltaUnit;
// A delta and those it is based on take no more than the block itself would.
constexpr uint32_t kMaxChainUnits = kBlockSize / kDeltaUnit;

// What a delta that is in the map needs, beside its own place.
struct DeltaChain {
    Sector block;
    uint8_t depth = 0;
    uint8_t count = 0;
    uint16_t units = 0;  // that the delta and those below it take
    std::array<SegmentId, format::kMaxDeltaDepth> segments;  // the first `count`: where its bases lie, each once

    void add(SegmentId segment);
    bool needs(SegmentId segment) const;
};

// What a delta is going to be based on.
struct DeltaBase {
    Extent extent;       // of the whole block
    uint8_t depth = 0;   // of it, if it is a delta
    uint16_t units = 0;
};

struct Delta {
    uint8_t bytes[kMaxDeltaBytes];
    uint32_t length = 0;  // a multiple of kDeltaUnit
    uint32_t changed = 0; // bytes of the block, those between changes that are near each other too
};

// Not more than one call at a time packs, others do without.
class DeltaEncoder {
  public:
    DeltaEncoder();
    ~DeltaEncoder();

    // False if the block had better be written as it is. `changed` is set in any case.
    bool encode(const DeltaBase& base, const uint8_t* before, const uint8_t* block, Delta* delta);

  private:
    size_t pack(const uint8_t* before, const uint8_t* block, uint8_t* to, size_t room);

    std::mutex packing_;
    ZSTD_CCtx_s* packer_ = nullptr;
};

// The header of a delta of that block, if it is one that a correct writer produces and all of it is there.
std::optional<format::DeltaHeader> parse_delta(const Geometry& geometry, Sector block, std::span<const uint8_t> bytes);
// Bytes that it takes, with what follows it.
uint32_t delta_length(const format::DeltaHeader& header);
// Turns what the base holds into what the delta stands for. False if it is none that a correct writer produces; then
// the content means nothing. Requires that parse_delta took it.
bool apply_delta(std::span<const uint8_t> delta, uint8_t* block);

// The block that an extent is of, or a part of: all of the delta.
Extent whole_delta(const Extent& extent);

}  // namespace predsnap
