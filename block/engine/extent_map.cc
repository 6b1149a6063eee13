// SPDX-License-Identifier: GPL-2.0-or-later
#include "extent_map.h"

#include <algorithm>
#include <utility>

#include "extent_tree.h"

namespace predsnap {

namespace {

void assert_valid([[maybe_unused]] const Extent& extent) {
    assert(extent.count > 0 && extent.start < kSectorLimit);
    assert(extent.count <= kSectorLimit - extent.start);
    assert(!extent.is_data() || (extent.count <= kMaxDataSectors && extent.head < 8 &&
                                 extent.tail < 8 && extent.place < kPlaceLimit));
}

void report(std::vector<Extent>* replaced, const Extent& extent) {
    if (replaced != nullptr) {
        replaced->push_back(extent);
    }
}

Extent cut(const Extent& extent, Sector from, Sector to) {
    return extent.slice(std::max(extent.start, from), std::min(extent.end(), to));
}

}  // namespace

// The frequent cases of storing data, in one descent: the range is free, or was written exactly so
// before. False, with nothing done, in all others.
bool ExtentMap::Tree::overwrite(const Extent& extent, Replaced replaced) {
    Path path;
    descend(extent.start, &path);
    const Leaf& leaf = *path.leaf;
    if (path.slot == 0) {
        return false;  // an extent of the previous leaf may reach in
    }
    const unsigned before = path.slot - 1;
    if (leaf.start(before) == extent.start && leaf.end(before) == extent.end()) {
        report(replaced, leaf.get(before));
        replace(path, before, extent);
        return true;
    }
    const Sector next = path.slot < leaf.count() ? leaf.start(path.slot) : next_key(path);
    if (leaf.end(before) > extent.start || next < extent.end()) {
        return false;
    }
    if (!try_place(path, extent)) {
        place(extent);
    }
    return true;
}

// Stores a zero or hole extent as one with those of its kind that it overlaps or touches.
void ExtentMap::Tree::insert_plain(const Extent& extent) {
    Extent whole = extent;
    Path path;
    const Sector before = extent.start.value > 0 ? extent.start - 1 : extent.start;
    if (seek(before, &path)) {
        const Extent left = path.leaf->get(path.slot);
        if (left.kind == extent.kind && left.start <= extent.start) {
            whole.start = left.start;
        }
    }
    Sector end = extent.end();
    if (end < kSectorLimit && seek(end, &path)) {
        const Extent right = path.leaf->get(path.slot);
        if (right.kind == extent.kind && right.start <= end) {
            end = right.end();
        }
    }
    whole.count = end - whole.start;
    carve(whole.start, end, nullptr);
    place(whole);
}

// Unmaps [from, to).
void ExtentMap::Tree::carve(Sector from, Sector to, Replaced replaced) {
    Path path;
    while (from < to && seek(from, &path) && path.leaf->start(path.slot) < to) {
        if (carve_front(&path, from, to, replaced) || carve_leaf(&path, to, replaced)) {
            return;
        }
    }
}

// Cuts the extent at the path if it begins before `from`, and moves behind it. True if all is done.
bool ExtentMap::Tree::carve_front(Path* path, Sector from, Sector to, Replaced replaced) {
    const Extent old = path->leaf->get(path->slot);
    if (old.start >= from) {
        return false;
    }
    report(replaced, cut(old, from, to));
    replace(*path, path->slot, old.slice(old.start, from));
    ++path->slot;
    if (old.end() > to) {
        place(old.slice(to, old.end()));
    }
    return old.end() >= to;
}

// Removes what begins before `to` from the path's slot to the end of its leaf. True if all is done.
bool ExtentMap::Tree::carve_leaf(Path* path, Sector to, Replaced replaced) {
    Leaf* leaf = path->leaf;
    const unsigned count = leaf->count();
    unsigned end = path->slot;
    Extent rest;  // of the last one, which reaches beyond `to`
    for (; end < count && leaf->start(end) < to; ++end) {
        const Extent old = leaf->get(end);
        report(replaced, cut(old, old.start, to));
        if (old.end() > to) {
            rest = old.slice(to, old.end());
            // A later start may belong to the next leaf, whose key may be lower than its first
            // extent.
            if (leaf->admits(to) && (end + 1 < count || to < next_key(*path))) {
                replace(*path, end, rest);
                rest.count = 0;
                break;
            }
        }
        drop(leaf->packed(end));
    }
    const bool done = end < count;
    if (end > path->slot) {
        leaf->remove(path->slot, end);
        removed(*path, count);
    }
    if (rest.count > 0) {
        place(rest);
    }
    return done || rest.count > 0;
}

void ExtentMap::Tree::clear() {
    arena_.release_all();
    root_ = nullptr;
    height_ = 0;
    extents_ = 0;
    data_sectors_ = 0;
}

ExtentMap::ExtentMap() : tree_(std::make_unique<Tree>()) {}
ExtentMap::~ExtentMap() = default;
ExtentMap::ExtentMap(ExtentMap&& other) noexcept : ExtentMap() {
    swap(other);
}

ExtentMap& ExtentMap::operator=(ExtentMap&& other) noexcept {
    if (this != &other) {
        clear();
        swap(other);
    }
    return *this;
}

void ExtentMap::insert(const Extent& extent, std::vector<Extent>* replaced) {
    assert_valid(extent);
    if (tree_->root_ != nullptr && extent.is_data() && tree_->overwrite(extent, replaced)) {
        return;
    }
    tree_->carve(extent.start, extent.end(), replaced);
    if (extent.is_data()) {
        tree_->place(extent);
    } else {
        tree_->insert_plain(extent);
    }
}

void ExtentMap::erase(Sector from, Sector to, std::vector<Extent>* replaced) {
    tree_->carve(from, to, replaced);
}

bool ExtentMap::find(Sector at, Extent* found) const {
    Tree::Path path;
    if (!tree_->seek(at, &path)) {
        return false;
    }
    *found = path.leaf->get(path.slot);
    return true;
}

bool ExtentMap::find_whole(Sector from, Sector to, Extent* found) const {
    if (!find(from, found) || found->start > from || found->end() < to) {
        return false;
    }
    *found = found->slice(from, to);
    return true;
}

void ExtentMap::prefetch(Sector at) const {
    tree_->prefetch(at);
}

Sector ExtentMap::lookup(Sector from, Sector to, size_t limit, std::vector<Extent>* found) const {
    Tree::Path path;
    if (from >= to || !tree_->seek(from, &path)) {
        return to;
    }
    do {
        for (; path.slot < path.leaf->count(); ++path.slot, --limit) {
            const Sector start = path.leaf->start(path.slot);
            if (start >= to) {
                return to;
            }
            if (limit == 0) {
                return std::max(start, from);
            }
            found->push_back(cut(path.leaf->get(path.slot), from, to));
        }
    } while (tree_->next_leaf(&path));
    return to;
}

void ExtentMap::for_each(Sector from, const std::function<bool(const Extent&)>& visit) const {
    Tree::Path path;
    if (!tree_->seek(from, &path)) {
        return;
    }
    do {
        for (; path.slot < path.leaf->count(); ++path.slot) {
            if (!visit(path.leaf->get(path.slot))) {
                return;
            }
        }
    } while (tree_->next_leaf(&path));
}

void ExtentMap::append(const Extent& extent) {
    assert_valid(extent);
    if (tree_->root_ == nullptr) {
        tree_->place(extent);
        return;
    }
    Tree::Path path;
    tree_->rightmost(&path);
    const Extent last = path.leaf->get(path.slot - 1);
    assert(last.end() <= extent.start);
    if (!extent.is_data() && last.kind == extent.kind && last.end() == extent.start) {
        Extent whole = last;
        whole.count += extent.count;
        tree_->replace(path, path.slot - 1, whole);
    } else if (!tree_->try_place(path, extent)) {
        tree_->place(extent);
    }
}

uint64_t ExtentMap::extent_count() const {
    return tree_->extents_;
}
uint64_t ExtentMap::data_sectors() const {
    return tree_->data_sectors_;
}
uint64_t ExtentMap::memory_bytes() const {
    return sizeof(Tree) + tree_->arena_.memory_bytes();
}
void ExtentMap::use(ChunkSupply* supply) {
    tree_->arena_.use(supply);
}
void ExtentMap::clear() {
    tree_->clear();
}
void ExtentMap::swap(ExtentMap& other) {
    tree_.swap(other.tree_);
}

}  // namespace predsnap
