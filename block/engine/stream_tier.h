// SPDX-License-Identifier: GPL-2.0-or-later
//
// Where streams are written: an image with segments. The seam between the writer of streams and the tiers.
#pragma once

#include "device.h"
#include "engine.h"
#include "result.h"
#include "segment_table.h"
#include "types.h"

namespace predsnap {

class StreamTier {
  public:
    virtual ~StreamTier() = default;

    virtual Device& device() = 0;
    // The identity in the headers of its segments.
    virtual const Uuid& owner() const = 0;

    // --- Require Core::mutex ---
    // A segment to write to. Errors: ENOSPC.
    virtual Result<SegmentId> take() = 0;
    virtual void release(SegmentId id) = 0;
};

// The image itself.
class FastTier final : public StreamTier {
  public:
    FastTier(Core& core, SegmentTable& segments) : core_(core), segments_(segments) {}

    Device& device() override { return core_.file; }
    const Uuid& owner() const override { return core_.uuid; }
    Result<SegmentId> take() override { return segments_.take(core_.geometry); }
    void release(SegmentId id) override { segments_.release(id); }

  private:
    Core& core_;
    SegmentTable& segments_;
};

}  // namespace predsnap
