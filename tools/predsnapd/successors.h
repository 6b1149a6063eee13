// SPDX-License-Identifier: GPL-2.0-or-later
//
// Which chunk is written after which: a Markov chain of the first order, with few successors of each.
#pragma once

#include <algorithm>
#include <array>

#include "access.h"

namespace predsnap::predict {

class Successors {
  public:
    static constexpr size_t kKept = 4;
    struct Entry {
        uint32_t slot = UINT32_MAX;  // in the table of chunks
        float count = 0;
    };

    // The rarest one makes room, and leaves its count to the new one: so none is forgotten for good.
    void add(uint32_t slot) {
        if (total_ >= kTotalMax) {
            halve();
        }
        total_ += 1;
        Entry* rarest = &entries_[0];
        for (Entry& entry : entries_) {
            if (entry.slot == slot) {
                entry.count += 1;
                return;
            }
            rarest = entry.count < rarest->count ? &entry : rarest;
        }
        *rarest = {slot, rarest->count + 1};
    }
    float total() const { return total_; }
    const std::array<Entry, kKept>& entries() const { return entries_; }
    // After the table moved its chunks: where each is now, UINT32_MAX if it is gone.
    template <typename Moved>
    void renumber(const Moved& moved) {
        for (Entry& entry : entries_) {
            const uint32_t to = entry.slot == UINT32_MAX ? UINT32_MAX : moved(entry.slot);
            entry = to == UINT32_MAX ? Entry{} : Entry{to, entry.count};
        }
    }

  private:
    static constexpr float kTotalMax = 256;
    void halve() {
        total_ /= 2;
        for (Entry& entry : entries_) {
            entry.count /= 2;
        }
    }

    std::array<Entry, kKept> entries_{};
    float total_ = 0;
};

}  // namespace predsnap::predict
