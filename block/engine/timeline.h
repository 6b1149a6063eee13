// SPDX-License-Identifier: GPL-2.0-or-later
//
// Going from one state of the disk to another: what differs, from the indexes of the segments between.
#pragma once

#include "change_vector.h"
#include "history.h"
#include "index_cache.h"
#include "overlay.h"
#include "segment_table.h"
#include "stream.h"

namespace predsnap {

class Timeline {
  public:
    Timeline(Core& core, SegmentTable& segments, History& history, IndexCache& indexes, StreamStore& streams)
        : core_(core), segments_(segments), history_(history), indexes_(indexes), streams_(streams) {}

    // The content of state `to` wherever it may differ from state `from`, holes included, as pieces to be laid
    // over the latter. Reads the indexes of the segments on the way, and of streams if `to` lies before the floor
    // (`from` does not). Errors: EIO if one is damaged.
    // If `change` is given, and `to` does not lie before the floor: it is told, backwards, how `from` came of `to`, but for
    // VM state.
    Result<Overlay> difference(Sequence from, Sequence to, IntervalChange* change = nullptr);

    // Calls visit(index) for the log segments that hold any of the batches first..last, in order of
    // sequence, or backwards. Reads ahead. Stops at the first error.
    using Visit = std::function<Result<void>(const SegmentIndex&)>;
    Result<void> for_each_segment(Sequence first, Sequence last, bool backwards, const Visit& visit);

  private:
    void undo(const SegmentIndex& index, const PathStep& step, Overlay& overlay) const;
    void redo(const SegmentIndex& index, const PathStep& step, Overlay& overlay) const;

    Core& core_;
    SegmentTable& segments_;
    History& history_;
    IndexCache& indexes_;
    StreamStore& streams_;
};

}  // namespace predsnap
