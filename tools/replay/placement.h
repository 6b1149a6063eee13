// SPDX-License-Identifier: GPL-2.0-or-later
//
// Where on the replayed disk a trace's requests go. Most keep their offsets. Two things change
// them, the same way each time:
//
// - `align` mends traces of disks whose partition began at sector 63: requests that start 7 sectors
//   after a multiple of 8, as most of such a trace do, move down by 63 sectors, and are aligned to
//   4 KiB.
// - A disk that would be larger than kPlainSizeMax (a trace may put a number of a unit into the
// upper
//   bits), or `dense`: the 1 MiB regions that any request touches are put side by side, in order of
//   their offsets. So what was within a region, or ran from one into the next, still does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trace.h"

namespace predsnap::replay {

struct PlacementOptions {
    bool align = false;
    bool dense = false;
    int64_t until_us = INT64_MAX;  // what comes then or later does not count
};

class Placement {
  public:
    static constexpr uint64_t kRegion = 1 << 20;
    static constexpr uint64_t kPlainSizeMax = 256ull << 30;

    // Reads the trace once.
    static Result<Placement> of(const std::string& trace, const PlacementOptions& options);

    // The request as it is to be replayed. It must be one of the trace.
    Request place(Request request) const;

    uint64_t disk_size() const { return disk_size_; }  // bytes, whole regions
    bool dense() const { return dense_; }
    uint64_t requests() const { return requests_; }
    uint64_t writes() const { return writes_; }
    uint64_t written_bytes() const { return written_bytes_; }
    int64_t span_us() const { return span_us_; }

  private:
    uint64_t aligned(uint64_t offset) const;
    void note(const Request& request);
    void settle();

    PlacementOptions options_;
    bool dense_ = false;
    std::vector<uint64_t> regions_;  // that are touched, sorted; empty unless dense
    uint64_t disk_size_ = 0;
    uint64_t requests_ = 0, writes_ = 0, written_bytes_ = 0;
    int64_t span_us_ = 0;
};

}  // namespace predsnap::replay
