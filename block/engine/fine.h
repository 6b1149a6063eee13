// SPDX-License-Identifier: GPL-2.0-or-later
//
// Fine writes: a write of whole blocks whose content before is in the staging cache goes to the log as what differs,
// if that is less. What it makes of the blocks goes into the cache in turn. And what decides about the cache: how relevant
// blocks are, and from where on they are staged.
#pragma once

#include "core.h"
#include "delta.h"
#include "disk_state.h"
#include "forecast.h"
#include "granularity.h"
#include "log.h"
#include "segment_table.h"
#include "staging.h"
#include "threshold.h"

namespace predsnap {

class FineWrites {
  public:
    FineWrites(Core& core, SegmentTable& segments, DiskState& disk, Log& log, Forecast& forecast);

    // Writes. Requires that wants() was true. `changed`, which may be null: see Engine::write().
    Result<void> write(Sector start, std::span<const iovec> buffers, std::optional<uint8_t>* changed);
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
    const Staging& staging() const { return staging_; }
    GranularityMap& map() { return map_; }
    ThresholdControl& threshold() { return threshold_; }
    // How relevant a block is: what is said of it, or else what the built-in rules say of something that was used so often.
    float relevance(Sector block, Staged purpose, float built_in, bool again = true);
    float load() const { return load_; }
    // The cache was asked.
    void note_lookups(uint64_t count);
    // Of a part of a hole: which backing disk shows there.
    Staging::Source source_of(const Extent& extent) const;
    // Whether the block holds just that now.
    bool is_current(Sector block, const Staging::Source& source) const;
    FineInfo info() const;

  private:
    struct Block;
    struct Request;
    bool take_slots(Request& request);
    void find_before(Block& block);
    void encode(Request& request);
    std::vector<Log::Part> parts_of(const Request& request) const;
    void finish(Request& request, const std::vector<Extent>& placed, const std::vector<Log::Part>& parts);
    static std::optional<uint8_t> changed_share(const Request& request);

    Core& core_;
    SegmentTable& segments_;
    DiskState& disk_;
    Log& log_;
    Forecast& forecast_;
    FineOptions options_;
    Staging staging_;
    GranularityMap map_;
    ThresholdControl threshold_;
    float load_ = 0;  // how often requests found others before them, smoothed: from 0 to 1
    uint64_t lookups_ = 0;
    DeltaEncoder encoder_;
};

}  // namespace predsnap
