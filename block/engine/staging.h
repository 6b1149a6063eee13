// SPDX-License-Identifier: GPL-2.0-or-later
//
// The staging cache: copies of blocks that are likely to be needed as they are now, so that the next write to them
// can be a delta, and deltas can be read at once.
//
// Each entry says of what it is a copy: it is valid as long as the map has just that. Bounded in bytes. Of the least
// recently used entries (what was fetched ahead of time counts as such again once it was used) the one with the lowest score makes room, unless that is higher than the score of what is to come
// in; then they count for less the next time. Memory is taken as it is needed, a megabyte at a time. Not synchronised: Core::mutex guards all but the
// content of slots that are pinned.
#pragma once

#include <functional>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "buffer.h"
#include "engine.h"
#include "extent.h"
#include "forecast.h"

namespace predsnap {

class Staging {
  public:
    using Slot = uint32_t;
    // What an entry is a copy of: an extent of a whole block, and the use of its segment that its place is of.
    struct Source {
        Extent extent;
        uint64_t ordinal = 0;
        bool operator==(const Source&) const = default;
    };

    // Drops everything if that changes.
    void set_limit(uint64_t bytes);
    uint64_t limit() const { return limit_ * kBlockSize; }

    // A slot to be filled, pinned; none if nothing may make room for it. Then put() or give_back().
    std::optional<Slot> take(float score, Staged purpose = Staged::rewrite);
    uint8_t* content(Slot slot) { return arena_[slot / kSlotsPerPiece].data() + slot % kSlotsPerPiece * kBlockSize; }
    void put(Slot slot, Sector block, const Source& source, float score, Staged purpose = Staged::rewrite);
    void give_back(Slot slot) { unpin(slot); }

    // The copy of the block if it is of that source, pinned until unpin(); it becomes the most recently used.
    std::optional<Slot> find(Sector block, const Source& source, Staged asked = Staged::rewrite);
    // The same for readers, who may ask for what the block held long ago: what it holds now stays.
    std::optional<Slot> peek(Sector block, const Source& source);
    bool contains(Sector block) const { return !by_block_.empty() && by_block_.contains(block.value); }
    bool holds(Sector block, const Source& source) const {
        const auto found = by_block_.find(block.value);
        return found != by_block_.end() && entries_[found->second].source == source;
    }
    // Whose copy is not there: counted as a miss of those who looked.
    void missed(Staged asked) { ++use(asked).misses; }
    // What was not even tried, as it is below the threshold.
    void refuse(Staged purpose) { ++use(purpose).refused; }
    // What is said of a block now, in place of the score that it came in with; may be null, and may say nothing.
    using Scorer = std::function<std::optional<float>(Sector block, Staged purpose, bool used)>;
    void set_scorer(Scorer scorer) { scorer_ = std::move(scorer); }
    void unpin(Slot slot);
    // What the block held at a place is of another source now. Does nothing if the copy is of something else, such as
    // what was at that place when its segment was used for something else.
    void moved(Sector block, Place from, uint64_t ordinal, const Source& source);
    // The block was overwritten.
    void invalidate(Sector block);
    // Looks at some entries in turn and drops those that are no longer valid. Returns how many.
    template <typename Valid>
    size_t sweep(size_t count, Valid valid);

    bool empty() const { return by_block_.empty(); }
    // Entries that are there for that.
    uint64_t count(Staged purpose) const { return stats_.by_purpose[static_cast<size_t>(purpose)].entries; }
    // Of these, entries that nobody has found yet.
    uint64_t unused(Staged purpose) const { return stats_.by_purpose[static_cast<size_t>(purpose)].unused; }
    StagingStats stats() const;

  private:
    static constexpr Slot kSlotsPerPiece = (1 << 20) / kBlockSize;
    struct Entry {
        Sector block;
        Source source;
        float score = 0;
        float patience = 1;  // less whenever something else was refused for its sake
        uint32_t pins = 0;
        Staged purpose = Staged::rewrite;
        bool listed = false;
        bool used = false;   // somebody has found it
        std::list<Slot>::iterator used_at;
    };
    StagingUse& use(Staged purpose) { return stats_.by_purpose[static_cast<size_t>(purpose)]; }
    float score_now(const Entry& entry) const;
    void invalidated(Slot slot);
    bool make_room(float score);
    void drop(Slot slot);
    void release(Slot slot);

    uint64_t limit_ = 0;  // in slots
    std::vector<AlignedBuffer> arena_;
    std::vector<Entry> entries_;  // by slot
    std::vector<Slot> free_;
    std::list<Slot> recent_;      // most recently used first
    std::unordered_map<uint64_t, Slot> by_block_;
    size_t sweep_at_ = 0;
    Scorer scorer_;
    StagingStats stats_;  // of the purposes; the rest is added up when somebody asks
};

template <typename Valid>
size_t Staging::sweep(size_t count, Valid valid) {
    size_t dropped = 0;
    for (size_t i = 0; i < std::min(count, entries_.size()); ++i) {
        sweep_at_ = sweep_at_ + 1 < entries_.size() ? sweep_at_ + 1 : 0;
        const Entry& entry = entries_[sweep_at_];
        if (entry.listed && !valid(entry.block, entry.source)) {
            invalidated(static_cast<Slot>(sweep_at_));
            ++dropped;
        }
    }
    return dropped;
}

}  // namespace predsnap
