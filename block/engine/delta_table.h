// SPDX-License-Identifier: GPL-2.0-or-later
//
// The deltas that the current map refers to, and what they need: segments that hold what they are based on, which
// the map does not refer to any more. Segment::pins counts them.
//
// A delta enters with the batch that brings it, and leaves when no part of it is mapped any more. What the map has
// after the image was opened, or after a rollback, is not known here before somebody has looked (Engine::Impl::
// learn_deltas_step); until then nothing may be given away. Not synchronised: Core::mutex guards it.
#pragma once

#include <deque>
#include <unordered_map>
#include <vector>

#include "delta.h"

namespace predsnap {

class DeltaTable {
  public:
    // More are not written.
    static constexpr size_t kMaxDeltas = 256 << 10;

    struct Known {
        DeltaChain chain;
        uint32_t mapped = 0;  // sectors of it
        Sequence death;       // the newest batch that took some of it from states in the history
    };

    // Null if it is not known.
    Known* find(Place unit);
    const Known* find(Place unit) const { return const_cast<DeltaTable*>(this)->find(unit); }
    Known& insert(Place unit, const DeltaChain& chain) { return known_[unit.value] = {chain, 0, {}}; }
    void erase(Place unit) { known_.erase(unit.value); }
    size_t size() const { return known_.size(); }
    bool full() const { return known_.size() >= kMaxDeltas; }

    // Whether all that the map has are known.
    bool complete() const { return learnt_to_ >= kSectorLimit; }
    // Forgets all. What the map has is to be learnt from its beginning.
    void forget();
    Sector learnt_to() const { return learnt_to_; }
    void set_learnt_to(Sector to) { learnt_to_ = to; }
    // Changes whenever all is forgotten.
    uint64_t generation() const { return generation_; }
    // The newest batch that replaced any that was not known: what it needed is not known either.
    Sequence last_unknown_death;

    // As deep as can be: to be written out in the background if they are not replaced soon. Oldest first.
    struct Deep {
        Place unit;
        Sector block;
        Time since;
    };
    static constexpr size_t kMaxDeep = 16 << 10;
    std::deque<Deep> deep;

    // Looks through some, from `*position` on (0 at first): adds those that need the segment. False at the end.
    struct Dependent {
        Sector block;
        Place unit;
    };
    bool find_dependents(SegmentId segment, size_t* position, std::vector<Dependent>* found) const;

  private:
    std::unordered_map<uint64_t, Known> known_;
    Sector learnt_to_;
    uint64_t generation_ = 0;
};

}  // namespace predsnap
