// SPDX-License-Identifier: GPL-2.0-or-later
//
// Indexes of several log segments, one after the other, read ahead of who takes them. One task at a time; whoever
// uses it holds a HistoryReader, or what else keeps the segments.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "index_cache.h"
#include "wait.h"

namespace predsnap {

class IndexAhead {
  public:
    static constexpr size_t kMost = 8;

    // `ahead`: so many are read at once, and kept decoded.
    IndexAhead(Core& core, IndexCache& indexes, std::vector<SegmentId> ids, size_t ahead = kMost);
    IndexAhead(const IndexAhead&) = delete;
    IndexAhead& operator=(const IndexAhead&) = delete;

    bool more() const { return next_ < ids_.size(); }
    // Requires more(). Errors: EIO if it is damaged.
    Result<SegmentIndex> next();

  private:
    struct Slot {
        std::optional<SegmentIndex> index;
        std::unique_ptr<TaskGroup> loading;
    };
    void load(size_t i);

    Core& core_;
    IndexCache& indexes_;
    const std::vector<SegmentId> ids_;
    std::vector<Slot> slots_;
    size_t next_ = 0;
};

}  // namespace predsnap
