// SPDX-License-Identifier: GPL-2.0-or-later
//
// Sequential streams: runs of requests each of which begins where an earlier one ended.
#pragma once

#include <array>
#include <span>

#include "access.h"

namespace predsnap::predict {

struct Stream {
    uint64_t head = 0;        // bytes: where the next request would begin
    uint64_t run = 0;         // bytes in a row so far
    int64_t last_us = kNever;
};

class Streams {
  public:
    // Returns the length of the run that the request continues, in bytes; 0: it continues none.
    uint64_t observe(const Access& access);
    std::span<const Stream> of(Op op) const { return streams_[index_of(op)]; }

  private:
    static constexpr size_t kStreams = 16;  // of each op; the one idle for longest makes room
    std::array<std::array<Stream, kStreams>, 2> streams_{};
};

}  // namespace predsnap::predict
