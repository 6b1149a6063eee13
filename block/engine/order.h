// SPDX-License-Identifier: GPL-2.0-or-later
//
// Putting the disk in order: what the guest wrote here and there lies in the image in the order in which it was
// written, so that reading the disk from one end to the other takes a piece of it at a time. On demand, stretches of
// the disk whose data is so scattered are written once more, each in the order of its sectors.
//
// Only data in segments that are past is moved: what history needs would stay where it is, and be stored twice. What
// was there becomes free segment by segment, as after the cleaner.
//
// Runs in the one background task. Core::mutex guards what other tasks see of it.
#pragma once

#include "core.h"
#include "disk_state.h"
#include "log.h"
#include "reader.h"
#include "segment_table.h"

namespace predsnap {

class Orderer {
  public:
    Orderer(Core& core, SegmentTable& segments, DiskState& disk, Log& log, Reader& reader)
        : core_(core), segments_(segments), disk_(disk), log_(log), reader_(reader) {}

    // --- Require Core::mutex ---
    // From the disk's first sector on.
    void begin() { at_ = Sector(0); }
    // Bytes of the disk not looked at yet.
    uint64_t left() const;

    // Looks at some of the disk, and moves what it finds scattered. Errors: what reading and appending it say.
    Result<void> step();

  private:
    bool movable(const Extent& extent) const;
    bool find_scattered(Sector end, std::vector<Extent>* found) const;
    Result<void> move(std::span<const Extent> extents);

    Core& core_;
    SegmentTable& segments_;
    DiskState& disk_;
    Log& log_;
    Reader& reader_;
    Sector at_{UINT64_MAX};
    AlignedBuffer data_;
};

}  // namespace predsnap
