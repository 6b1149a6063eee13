// SPDX-License-Identifier: GPL-2.0-or-later
//
// A trace as it is replayed: its requests where they go on the disk, and the model of what they
// write.
#pragma once

#include <optional>
#include <string>

#include "content.h"
#include "placement.h"
#include "trace.h"

namespace predsnap::replay {

struct SourceOptions {
    std::string trace;
    PlacementOptions placement;
    ContentOptions content;
};

class Source {
  public:
    static Result<Source> open(const SourceOptions& options);

    const Placement& placement() const { return placement_; }
    // The next request, without taking it; nothing at the end.
    const std::optional<Request>& peek() const { return next_; }
    // Takes it, and reads the one after it.
    Result<void> advance();

  private:
    Source(Placement placement, TraceReader reader, int64_t until_us)
        : placement_(std::move(placement)), reader_(std::move(reader)), until_us_(until_us) {}

    Placement placement_;
    TraceReader reader_;
    int64_t until_us_;
    std::optional<Request> next_;
};

}  // namespace predsnap::replay
