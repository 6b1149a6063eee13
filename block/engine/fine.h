// SPDX-License-Identifier: GPL-2.0-or-later
//
// Fine writes: a write of whole blocks whose content before is in the staging cache goes to the log as what differs,
// if that is less. What it makes of the blocks goes into the cache in turn.
#pragma once

#include "core.h"
#include "delta.h"
#include "disk_state.h"
#include "granularity.h"
#include "log.h"
#include "segment_table.h"
#include "staging.h"

namespace predsnap {

class FineWrites {
  public:
    FineWrites(Core& core, SegmentTable& segments, DiskState& disk, Log& log)
        : core_(core), segments_(segments), disk_(disk), log_(log) {}

    // Writes. Requires that wants() was true.
    Result<void> write(Sector start, std::span<const iovec> buffers);
    // Copies a part of a delta that the map has from the cache. False if it is not there.
    bool read(const Extent& extent, std::span<const iovec> buffers, size_t skip);

    // --- Require Core::mutex ---
    void configure(const FineOptions& options);
    const FineOptions& options() const { return options_; }
    // Whether a write is to be made by write(). Most are not, and this must take next to no time for them.
    bool wants(Sector start, uint64_t sectors);
    // What was at `from` is there now: copies of it stay what they are.
    void moved(const Extent& now, Place from);
    // Drops what is no longer valid, some at a time.
    void sweep();
    Staging& staging() { return staging_; }
    GranularityMap& map() { return map_; }
    FineInfo info() const;

  private:
    struct Block;
    struct Request;
    Staging::Source source_of(const Extent& extent) const;
    bool take_slots(Request& request);
    void find_before(Block& block);
    void encode(Request& request);
    std::vector<Log::Part> parts_of(const Request& request) const;
    void finish(Request& request, const std::vector<Extent>& placed, const std::vector<Log::Part>& parts);

    Core& core_;
    SegmentTable& segments_;
    DiskState& disk_;
    Log& log_;
    FineOptions options_;
    Staging staging_;
    GranularityMap map_;
    DeltaEncoder encoder_;
};

}  // namespace predsnap
