// SPDX-License-Identifier: GPL-2.0-or-later
#include "chunk_set.h"

#include <algorithm>

namespace predsnap {

void ChunkSet::append(uint32_t first, uint32_t last) {
    if (!runs_.empty() && first <= uint64_t{runs_.back().last} + 1) {
        runs_.back().last = std::max(runs_.back().last, last);
    } else {
        runs_.push_back({first, last});
    }
}

uint64_t ChunkSet::count() const {
    uint64_t count = 0;
    for (const Run& run : runs_) {
        count += uint64_t{run.last} - run.first + 1;
    }
    return count;
}

bool ChunkSet::contains(uint32_t chunk) const {
    const auto found = std::lower_bound(runs_.begin(), runs_.end(), chunk,
                                        [](const Run& run, uint32_t c) { return run.last < c; });
    return found != runs_.end() && found->first <= chunk;
}

ChunkSet operator|(const ChunkSet& a, const ChunkSet& b) {
    ChunkSet result;
    auto x = a.runs_.begin(), y = b.runs_.begin();
    while (x != a.runs_.end() || y != b.runs_.end()) {
        const bool from_a = y == b.runs_.end() || (x != a.runs_.end() && x->first <= y->first);
        const ChunkSet::Run run = from_a ? *x++ : *y++;
        result.append(run.first, run.last);
    }
    return result;
}

ChunkSet operator&(const ChunkSet& a, const ChunkSet& b) {
    ChunkSet result;
    auto x = a.runs_.begin(), y = b.runs_.begin();
    while (x != a.runs_.end() && y != b.runs_.end()) {
        const uint32_t first = std::max(x->first, y->first), last = std::min(x->last, y->last);
        if (first <= last) {
            result.append(first, last);
        }
        x->last < y->last ? ++x : ++y;
    }
    return result;
}

ChunkSet operator-(const ChunkSet& a, const ChunkSet& b) {
    ChunkSet result;
    auto y = b.runs_.begin();
    for (const ChunkSet::Run& run : a.runs_) {
        uint64_t next = run.first;  // of what is left of the run
        while (y != b.runs_.end() && y->last < next) {
            ++y;
        }
        for (auto cut = y; cut != b.runs_.end() && cut->first <= run.last; ++cut) {
            if (cut->first > next) {
                result.append(static_cast<uint32_t>(next), cut->first - 1);
            }
            next = uint64_t{cut->last} + 1;
        }
        if (next <= run.last) {
            result.append(static_cast<uint32_t>(next), run.last);
        }
    }
    return result;
}

}  // namespace predsnap
