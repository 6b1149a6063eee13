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
    if (undo != nullptr) {
        for (const Extent& old : replaced_) {
            undo->push_back(format::pack(old));
        }
    }
    save(replaced_);
}

Sequence DiskState::oldest_view() const {
    Sequence oldest{UINT64_MAX};
    for (const FrozenState* view : views_) {
        oldest = std::min(oldest, view->pinned);
    }
    return oldest;
}

uint64_t DiskState::oldest_view_number() const {
    uint64_t oldest = UINT64_MAX;
    for (const FrozenState* view : views_) {
        oldest = std::min(oldest, view->number);
    }
    return oldest;
}

bool DiskState::move(const Extent& extent, Place from, std::vector<Extent>* replaced) {
    replaced->clear();
    map.lookup(extent.start, extent.end(), kNoLimit, replaced);
    Sector end = extent.start;
    for (const Extent& part : *replaced) {
        const uint64_t offset = part.start - extent.start;
        const bool there = part.place == from + offset || part.place == extent.place + offset;
#if PREDSNAP_CANARY == 6  // a known bug: what was copied wins over what was written since
        static_cast<void>(there);
#else
        if (part.start != end || !part.is_data() || !there) {
            return false;
        }
#endif
        end = part.end();
    }
    if (end != extent.end()) {
        return false;
    }
    map.insert(extent);
    return true;
}

// Into each view, what of the extents, which ascend, it does not have yet.
void DiskState::save(std::span<const Extent> replaced) {
    for (FrozenState* view : views_) {
        absent_.clear();
        for (const Extent& old : replaced) {
            present_.clear();
            view->difference.lookup(old.start, old.end(), kNoLimit, &present_);
            for_each_gap(present_, old.start, old.end(),
                         [&](Sector a, Sector b) { absent_.push_back(old.slice(a, b)); });
        }
        view->difference.insert_all(absent_, ExtentMap::Holes::keep);
    }
}

void DiskState::apply_piece(std::span<const Extent> piece) {
    entries_applied += piece.size();
    if (views_.empty()) {
        map.insert_all(piece, ExtentMap::Holes::erase);
        return;
    }
    replaced_.clear();
    map.insert_all(piece, ExtentMap::Holes::erase, &replaced_);
    // With the holes that were there.
    whole_.clear();
    size_t next = 0;
    for (const Extent& extent : piece) {
        Sector from = extent.start;
        for (; next < replaced_.size() && replaced_[next].start < extent.end(); ++next) {
            if (replaced_[next].start > from) {
                whole_.push_back(hole(from, replaced_[next].start));
            }
            whole_.push_back(replaced_[next]);
            from = replaced_[next].end();
        }
        if (from < extent.end()) {
            whole_.push_back(hole(from, extent.end()));
        }
    }
    save(whole_);
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
