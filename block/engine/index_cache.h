// SPDX-License-Identifier: GPL-2.0-or-later
//
// Indexes of log segments, wherever they are: in RAM for the newest, else read from the index stream.
// Checksums of runs, which the map does not hold, are kept in a bounded LRU.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>

#include "core.h"
#include "index_stream.h"
#include "log.h"

namespace predsnap {

class IndexCache {
  public:
    // Bytes of checksums kept: 64 MiB cover 64 GiB of data written in runs.
    static constexpr uint64_t kMaxBytes = 64 << 20;

    IndexCache(Core& core, SegmentTable& segments, Log& log, IndexStream& stream)
        : core_(core), segments_(segments), log_(log), stream_(stream) {}

    // The whole index of a log segment.
    Result<SegmentIndex> load(SegmentId segment);
    // The segment is going to be something else. Requires the lock.
    void forget(SegmentId segment);
    // Checksums of `count` units of one run, the first of which holds `place`.
    Result<void> run_sums(Place place, size_t count, uint32_t* sums);

  private:
    using Entry = std::pair<uint32_t, std::shared_ptr<const SegmentIndex>>;
    Result<SegmentIndex> read(SegmentId segment, format::StreamPosition position);
    std::shared_ptr<const SegmentIndex> cached(SegmentId segment);  // requires the lock
    void keep(SegmentId segment, std::shared_ptr<const SegmentIndex> index);

    Core& core_;
    SegmentTable& segments_;
    Log& log_;
    IndexStream& stream_;
    std::list<Entry> recent_;  // newest first
    std::unordered_map<uint32_t, std::list<Entry>::iterator> by_segment_;
    uint64_t bytes_ = 0;
};

}  // namespace predsnap
