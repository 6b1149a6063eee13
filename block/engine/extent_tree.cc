// SPDX-License-Identifier: GPL-2.0-or-later
#include "extent_tree.h"

#include <algorithm>
#include <new>

namespace predsnap {

namespace {

constexpr unsigned kWindow = 3;  // leaves that share
// Sharing must leave this many free slots a leaf, or it would soon be needed again.
constexpr unsigned kFreeAfterShare = ExtentLeaf::kCapacity / 16;
// Leaves merge to this fill, and are looked at for merging below that.
constexpr unsigned kMergedFill = ExtentLeaf::kCapacity * 9 / 10;
constexpr unsigned kSparse = ExtentLeaf::kCapacity * 2 / 3;

// The leaves that share with one leaf: children [first, first + leaves) of the parent.
struct Window {
    ExtentInner* parent;
    unsigned first;
    unsigned leaves;

    ExtentLeaf* leaf(unsigned i) const {
        return static_cast<ExtentLeaf*>(parent->child(first + i));
    }
};

Window window_around(ExtentInner* parent, unsigned index) {
    const unsigned n = std::min(kWindow, parent->count());
    const unsigned low = index > 0 ? index - 1 : 0;
    return Window{parent, std::min(low, parent->count() - n), n};
}

// True if any split of the window's extents, and of one at `extra`, into leaves is within the span.
bool spans_allow(const Window& window, Sector extra) {
    const ExtentLeaf* last_leaf = window.leaf(window.leaves - 1);
    const Sector first = std::min(extra, window.leaf(0)->start(0));
    const Sector last = std::max(extra, last_leaf->start(last_leaf->count() - 1));
    return last - first <= ExtentLeaf::kSpanMax;
}

// The extents of a window, taken out of their leaves and dealt out again.
class Deal {
  public:
    void take(const ExtentLeaf& leaf, unsigned from, unsigned to) {
        for (unsigned i = from; i < to; ++i) {
            add(leaf.start(i), leaf.packed(i));
        }
    }
    void add(Sector start, const PackedExtent& packed) {
        starts_[count_] = start;
        packed_[count_++] = packed;
    }
    unsigned count() const { return count_; }
    Sector next_start() const { return starts_[dealt_]; }
    void give(ExtentLeaf* leaf, unsigned n) {
        leaf->reset(next_start());
        for (; n > 0; --n, ++dealt_) {
            leaf->append(starts_[dealt_], packed_[dealt_]);
        }
    }

  private:
    static constexpr unsigned kMax = kWindow * ExtentLeaf::kCapacity + 1;
    Sector starts_[kMax];
    PackedExtent packed_[kMax];
    unsigned count_ = 0;
    unsigned dealt_ = 0;
};

// Deals evenly to the first `leaves` children of the window, and sets their keys.
void deal_out(Deal* deal, const Window& window, unsigned leaves) {
    for (unsigned i = 0; i < leaves; ++i) {
        const unsigned n = (deal->count() + i) / leaves;
        window.parent->set_key(window.first + i, deal->next_start());
        deal->give(window.leaf(i), n);
    }
}

}  // namespace

void ExtentMap::Tree::descend(Sector at, Path* path) const {
    void* node = root_;
    for (unsigned level = 0; level < height_; ++level) {
        Inner* inner = static_cast<Inner*>(node);
        path->steps[level] = {inner, inner->index_of(at)};
        node = inner->child(path->steps[level].index);
        prefetch_node(node);
    }
    path->leaf = static_cast<Leaf*>(node);
    path->slot = path->leaf->count_until(at);
}

// The nodes above the leaves are few: it is the leaf that is far away.
void ExtentMap::Tree::prefetch(Sector at) const {
    void* node = root_;
    for (unsigned level = 0; level < height_; ++level) {
        Inner* inner = static_cast<Inner*>(node);
        node = inner->child(inner->index_of(at));
    }
    prefetch_node(node);
}

// Finds the first extent that ends after `at`.
bool ExtentMap::Tree::seek(Sector at, Path* path) const {
    if (root_ == nullptr) {
        return false;
    }
    descend(at, path);
    if (path->slot > 0) {
        if (path->leaf->end(path->slot - 1) > at) {
            --path->slot;
            return true;
        }
    } else if (Path before = *path; previous_leaf(&before)) {
        // Rare: `at` lies between the parent's key and the first extent of the leaf.
        before.slot = before.leaf->count() - 1;
        if (before.leaf->end(before.slot) > at) {
            *path = before;
            return true;
        }
    }
    return path->slot < path->leaf->count() || next_leaf(path);
}

// Completes a path whose steps above `level` are set, along the first or last children.
void ExtentMap::Tree::descend_edge(Path* path, unsigned level, bool last) const {
    for (; level < height_; ++level) {
        const Path::Step above = level > 0 ? path->steps[level - 1] : Path::Step{nullptr, 0};
        void* node = level > 0 ? above.node->child(above.index) : root_;
        Inner* inner = static_cast<Inner*>(node);
        path->steps[level] = {inner, last ? inner->count() - 1 : 0};
    }
    const Path::Step parent = height_ > 0 ? path->steps[height_ - 1] : Path::Step{nullptr, 0};
    path->leaf = static_cast<Leaf*>(height_ > 0 ? parent.node->child(parent.index) : root_);
    path->slot = last ? path->leaf->count() : 0;
}

void ExtentMap::Tree::rightmost(Path* path) const {
    descend_edge(path, 0, true);
}

// To the start of the next leaf; false, and the path as it was, if there is none.
bool ExtentMap::Tree::next_leaf(Path* path) const {
    for (unsigned level = height_; level-- > 0;) {
        Path::Step& step = path->steps[level];
        if (step.index + 1 < step.node->count()) {
            ++step.index;
            descend_edge(path, level + 1, false);
            const Path::Step& parent = path->steps[height_ - 1];
            if (parent.index + 1 < parent.node->count()) {
                prefetch_node(parent.node->child(parent.index + 1));  // likely wanted next
            }
            return true;
        }
    }
    return false;
}

// To the end of the previous leaf; false, and the path as it was, if there is none.
bool ExtentMap::Tree::previous_leaf(Path* path) const {
    for (unsigned level = height_; level-- > 0;) {
        Path::Step& step = path->steps[level];
        if (step.index > 0) {
            --step.index;
            descend_edge(path, level + 1, true);
            return true;
        }
    }
    return false;
}

bool ExtentMap::Tree::is_rightmost(const Path& path) const {
    return path.slot == path.leaf->count() && next_key(path) == kSectorLimit;
}

// No extent of a later leaf starts before this.
Sector ExtentMap::Tree::next_key(const Path& path) const {
    for (unsigned level = height_; level-- > 0;) {
        const Path::Step& step = path.steps[level];
        if (step.index + 1 < step.node->count()) {
            return step.node->key(step.index + 1);
        }
    }
    return kSectorLimit;
}

// Stores an extent whose range is free.
void ExtentMap::Tree::place(const Extent& extent) {
    if (root_ == nullptr) {
        root_ = new (arena_.allocate()) Leaf(extent.start);
    }
    Path path;
    do {
        descend(extent.start, &path);
    } while (!try_place(path, extent));
}

// False if room was made above the leaf instead, so that the path is stale: descend again.
bool ExtentMap::Tree::try_place(const Path& path, const Extent& extent) {
    const bool admitted = path.leaf->admit(extent.start);
    if (admitted && !path.leaf->full()) {
        path.leaf->insert(path.slot, extent);
    } else if (!parent_has_room(path)) {
        return false;
    } else if (!admitted || is_rightmost(path)) {
        add_leaf(path, extent);
    } else {
        spread(path, extent);
    }
    add(PackedExtent::pack(extent));
    return true;
}

// Whether the leaf's parent can take another child. If not, brings that nearer by one step.
bool ExtentMap::Tree::parent_has_room(const Path& path) {
    unsigned level = height_;
    while (level > 0 && path.steps[level - 1].node->full()) {
        --level;
    }
    if (level == height_ && level > 0) {
        return true;
    }
    if (level == 0) {
        grow();
    } else {
        split_inner(path, level);
    }
    return false;
}

void ExtentMap::Tree::grow() {
    assert(height_ < kHeightMax);
    Inner* root = new (arena_.allocate()) Inner;
    root->insert(0, Sector(0), root_);
    root_ = root;
    ++height_;
}

// Splits the full node at `level`, whose parent has room: in half, or at its end when it grows
// there.
void ExtentMap::Tree::split_inner(const Path& path, unsigned level) {
    const Path::Step step = path.steps[level];
    const Path::Step above = path.steps[level - 1];
    const unsigned keep =
        step.index + 1 == step.node->count() ? step.index : step.node->count() / 2;
    const Sector key = step.node->key(keep);
    Inner* right = new (arena_.allocate()) Inner;
    step.node->move_children(keep, right, key);
    above.node->insert(above.index + 1, key, right);
}

// A leaf of its own for an extent at the end of the map, or too far from those of the path's leaf.
void ExtentMap::Tree::add_leaf(const Path& path, const Extent& extent) {
    const Path::Step parent = path.steps[height_ - 1];
    Leaf* leaf = new (arena_.allocate()) Leaf(extent.start);
    leaf->insert(0, extent);
    if (path.slot > 0) {
        assert(path.slot == path.leaf->count());
        parent.node->insert(parent.index + 1, extent.start, leaf);
        return;
    }
    // The old leaf keeps what lies from its first extent on; the new one takes over its key.
    parent.node->insert(parent.index, parent.node->key(parent.index), leaf);
    parent.node->set_key(parent.index + 1, path.leaf->start(0));
}

// Adds an extent to a full leaf whose parent has room: shares with the neighbours, or makes a leaf
// more.
void ExtentMap::Tree::spread(const Path& path, const Extent& extent) {
    const Path::Step parent = path.steps[height_ - 1];
    Window window = window_around(parent.node, parent.index);
    if (!spans_allow(window, extent.start)) {
        window = Window{parent.node, parent.index, 1};
    }
    Deal deal;
    for (unsigned i = 0; i < window.leaves; ++i) {
        const Leaf& leaf = *window.leaf(i);
        const bool target = &leaf == path.leaf;
        deal.take(leaf, 0, target ? path.slot : leaf.count());
        if (target) {
            deal.add(extent.start, PackedExtent::pack(extent));
            deal.take(leaf, path.slot, leaf.count());
        }
    }
    unsigned leaves = window.leaves;
    if (deal.count() > leaves * (Leaf::kCapacity - kFreeAfterShare)) {
        void* added = new (arena_.allocate()) Leaf(extent.start);
        parent.node->insert(window.first + leaves, kSectorLimit, added);
        ++leaves;
    }
    deal_out(&deal, window, leaves);
}

// Restores the shape after extents were removed from the path's leaf.
void ExtentMap::Tree::removed(const Path& path, unsigned count_before) {
    const unsigned count = path.leaf->count();
    if (count == 0) {
        remove_child(path, height_, height_ > 0 ? path.steps[height_ - 1].index : 0);
    } else if (height_ > 0 && count < kSparse && count / 4 != count_before / 4) {
        // Not at each removal: to look at the neighbours costs cache misses.
        gather(path);
    }
}

// Merges the leaf and its neighbours into one leaf fewer, if they fit well.
void ExtentMap::Tree::gather(const Path& path) {
    const Path::Step parent = path.steps[height_ - 1];
    const Window window = window_around(parent.node, parent.index);
    unsigned total = 0;
    for (unsigned i = 0; i < window.leaves; ++i) {
        total += window.leaf(i)->count();
    }
    if (total > (window.leaves - 1) * kMergedFill || !spans_allow(window, path.leaf->start(0))) {
        return;
    }
    Deal deal;
    for (unsigned i = 0; i < window.leaves; ++i) {
        deal.take(*window.leaf(i), 0, window.leaf(i)->count());
    }
    deal_out(&deal, window, window.leaves - 1);
    remove_child(path, height_, window.first + window.leaves - 1);
}

// Frees the node at `level` (height_ for a leaf) that is child `index` of the path's node above.
void ExtentMap::Tree::remove_child(const Path& path, unsigned level, unsigned index) {
    if (level == 0) {
        arena_.release(root_);
        root_ = nullptr;
        height_ = 0;
        return;
    }
    Inner* parent = path.steps[level - 1].node;
    arena_.release(parent->child(index));
    parent->remove(index);
    if (parent->count() == 0) {
        remove_child(path, level - 1, level > 1 ? path.steps[level - 2].index : 0);
    } else if (parent->count() < Inner::kCapacity / 2 && level > 1) {
        merge_inner(path, level - 1);
    }
    collapse();
}

// Merges the sparse node at `level` with a neighbour, if they fit well.
void ExtentMap::Tree::merge_inner(const Path& path, unsigned level) {
    const Path::Step above = path.steps[level - 1];
    if (above.node->count() < 2) {
        return;
    }
    const unsigned left_index = above.index > 0 ? above.index - 1 : 0;
    Inner* left = static_cast<Inner*>(above.node->child(left_index));
    Inner* right = static_cast<Inner*>(above.node->child(left_index + 1));
    if (left->count() + right->count() <= Inner::kCapacity * 3 / 4) {
        right->move_children(0, left, above.node->key(left_index + 1));
        remove_child(path, level, left_index + 1);
    }
}

void ExtentMap::Tree::collapse() {
    while (height_ > 0 && static_cast<Inner*>(root_)->count() == 1) {
        Inner* root = static_cast<Inner*>(root_);
        root_ = root->child(0);
        arena_.release(root);
        --height_;
    }
}

}  // namespace predsnap
