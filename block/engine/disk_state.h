// SPDX-License-Identifier: GPL-2.0-or-later
//
// The disk now, and the disk as it was: the current map, and for each open view the places where its
// state differs from now. A change of the current map first saves what it replaces into the views that
// do not have it yet (copy on write of metadata), so a view of "now" costs nothing to open.
// Not synchronised: Core::mutex guards it.
#pragma once

#include <span>
#include <unordered_set>
#include <vector>

#include "extent_map.h"
#include "format.h"

namespace predsnap {

// The state of the disk at a sequence number, as differences from the current map.
struct FrozenState {
    ExtentMap difference;  // explicit holes included
    Sequence sequence;
    Sequence pinned;    // states from here on have what it refers to in the log; 0 while it is being made
    Time time;
    uint64_t size = 0;  // bytes of guest disk
    uint64_t number = 0;  // views are numbered as they are added
};

class DiskState {
  public:
    ExtentMap map;          // of the newest applied batch; holes are absent
    uint64_t size = 0;      // bytes of guest disk
    Sequence sequence;      // newest applied batch
    Time time;              // of that batch
    uint64_t entries_applied = 0;  // since open

    // Views that follow changes. The pointer is valid until removed.
    void add_view(FrozenState* view) {
        view->number = next_view_++;
        views_.insert(view);
    }
    void remove_view(FrozenState* view) { views_.erase(view); }
    size_t view_count() const { return views_.size(); }
    uint64_t next_view() const { return next_view_; }
    // The oldest state whose data in the log they need, and the number of the oldest one; the highest there is if
    // there are none.
    Sequence oldest_view() const;
    uint64_t oldest_view_number() const;

    // Maps the extent. If `undo` is given, what it replaces is appended to it, holes included.
    void apply(const Extent& extent, std::vector<format::PackedExtent>* undo);

    // The extent's data, that was at `from`, is at another place now: no state changes. False, and nothing is done,
    // unless all of it was there (or is at its new place already: a checkpoint made since may know of it).
    // `replaced` is what the range held.
    bool move(const Extent& extent, Place from, std::vector<Extent>* replaced);

    // Maps extents that ascend and do not overlap; holes remove what they cover. No undo is kept.
    void apply_piece(std::span<const Extent> piece);

    // Appends the extents of a state (of the current one if `view` is null) in [from, to), in order,
    // holes left out. Stops after about `limit`; returns up to where the answer is complete.
    Sector lookup(const FrozenState* view, Sector from, Sector to, size_t limit,
                  std::vector<Extent>* found) const;

  private:
    void save(std::span<const Extent> replaced);

    std::unordered_set<FrozenState*> views_;
    uint64_t next_view_ = 0;
    std::vector<Extent> replaced_, whole_, absent_, present_;  // scratch
};

// Calls visit(from, to) for the parts of [from, to) that no extent of the ordered list covers.
template <typename Visit>
void for_each_gap(const std::vector<Extent>& extents, Sector from, Sector to, Visit visit) {
    for (const Extent& extent : extents) {
        if (extent.start > from) {
            visit(from, extent.start);
        }
        from = extent.end();
    }
    if (from < to) {
        visit(from, to);
    }
}

}  // namespace predsnap
