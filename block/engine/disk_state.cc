// SPDX-License-Identifier: GPL-2.0-or-later
#include "disk_state.h"

#include <algorithm>

namespace predsnap {

namespace {

constexpr size_t kNoLimit = SIZE_MAX;

Extent hole(Sector from, Sector to) {
    Extent extent;
    extent.start = from;
    extent.count = to - from;
    return extent;
}

// Replaces a list of mapped extents by one that covers [from, to), with holes explicit.
void fill_holes(std::vector<Extent>& extents, Sector from, Sector to) {
    std::vector<Extent> holes;
    for_each_gap(extents, from, to, [&](Sector a, Sector b) { holes.push_back(hole(a, b)); });
    if (holes.empty()) {
        return;
    }
    extents.insert(extents.end(), holes.begin(), holes.end());
    std::sort(extents.begin(), extents.end(),
              [](const Extent& a, const Extent& b) { return a.start < b.start; });
}

// Stores the parts of the extent that the map does not cover yet.
void insert_absent(ExtentMap& map, const Extent& extent) {
    std::vector<Extent> present;
    map.lookup(extent.start, extent.end(), kNoLimit, &present);
    for_each_gap(present, extent.start, extent.end(),
                 [&](Sector a, Sector b) { map.insert(extent.slice(a, b)); });
}

}  // namespace

void DiskState::apply(const Extent& extent, std::vector<format::PackedExtent>* undo) {
    ++entries_applied;
    const bool keep = undo != nullptr || !views_.empty();
    replaced_.clear();
    std::vector<Extent>* replaced = keep ? &replaced_ : nullptr;
    if (extent.kind == ExtentKind::hole) {
        map.erase(extent.start, extent.end(), replaced);
    } else {
        map.insert(extent, replaced);
    }
    if (!keep) {
        return;
    }
#if PREDSNAP_CANARY != 4  // a known bug: going back forgets that there was nothing
    fill_holes(replaced_, extent.start, extent.end());
#endif
    for (const Extent& old : replaced_) {
        if (undo != nullptr) {
            undo->push_back(format::pack(old));
        }
        for (FrozenState* view : views_) {
            insert_absent(view->difference, old);
        }
    }
}

Sector DiskState::lookup(const FrozenState* view, Sector from, Sector to, size_t limit,
                         std::vector<Extent>* found) const {
    if (view == nullptr) {
        return map.lookup(from, to, limit, found);
    }
    std::vector<Extent> over;
    to = view->difference.lookup(from, to, limit, &over);
    // The current map shows through the gaps of the difference.
    std::vector<Extent> merged;
    size_t next = 0;
    Sector complete = to;
    for_each_gap(over, from, to, [&](Sector a, Sector b) {
        if (complete < to) {
            return;
        }
        for (; next < over.size() && over[next].start < a; ++next) {
            merged.push_back(over[next]);
        }
        const Sector reached = map.lookup(a, b, limit, &merged);
        if (reached < b) {
            complete = reached;
        }
    });
    for (; complete == to && next < over.size(); ++next) {
        merged.push_back(over[next]);
    }
    for (const Extent& extent : merged) {
        if (extent.kind != ExtentKind::hole) {
            found->push_back(extent);
        }
    }
    return complete;
}

}  // namespace predsnap
