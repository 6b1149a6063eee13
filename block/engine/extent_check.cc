// SPDX-License-Identifier: GPL-2.0-or-later
//
// The walk behind ExtentMap::check().
#include "extent_tree.h"

namespace predsnap {

namespace {

// What the walk has seen so far, from left to right.
struct Seen {
    Sector end;
    size_t nodes = 0;
    uint64_t extents = 0;
    uint64_t data_sectors = 0;
};

bool check_leaf(const ExtentLeaf& leaf, Sector low, Sector high, Seen* seen) {
    ++seen->nodes;
    if (leaf.count() == 0 || leaf.count() > ExtentLeaf::kCapacity) {
        return false;
    }
    for (unsigned i = 0; i < leaf.count(); ++i) {
        const Extent extent = leaf.get(i);
        if (extent.count == 0 || extent.start < seen->end || extent.start < low ||
            extent.start >= high || extent.end() > kSectorLimit) {
            return false;
        }
        seen->end = extent.end();
        ++seen->extents;
        seen->data_sectors += extent.is_data() ? extent.count : 0;
    }
    return true;
}

// Checks the node, `height` levels above the leaves, whose extents begin in [low, high).
bool check_node(const void* node, unsigned height, Sector low, Sector high, Seen* seen) {
    if (height == 0) {
        return check_leaf(*static_cast<const ExtentLeaf*>(node), low, high, seen);
    }
    const ExtentInner& inner = *static_cast<const ExtentInner*>(node);
    ++seen->nodes;
    if (inner.count() == 0 || inner.count() > ExtentInner::kCapacity) {
        return false;
    }
    for (unsigned i = 0; i < inner.count(); ++i) {
        const Sector from = i > 0 ? inner.key(i) : low;
        const Sector to = i + 1 < inner.count() ? inner.key(i + 1) : high;
        if (from < low || to > high || from >= to ||
            !check_node(inner.child(i), height - 1, from, to, seen)) {
            return false;
        }
    }
    return true;
}

}  // namespace

bool ExtentMap::check() const {
    const Tree& tree = *tree_;
    Seen seen;
    if (tree.root_ == nullptr) {
        return tree.height_ == 0 && tree.extents_ == 0 && tree.data_sectors_ == 0 &&
               tree.arena_.live_slots() == 0;
    }
    const bool single =
        tree.height_ > 0 && static_cast<const ExtentInner*>(tree.root_)->count() < 2;
    return !single && check_node(tree.root_, tree.height_, Sector(0), kSectorLimit, &seen) &&
           seen.nodes == tree.arena_.live_slots() && seen.extents == tree.extents_ &&
           seen.data_sectors == tree.data_sectors_;
}

}  // namespace predsnap
