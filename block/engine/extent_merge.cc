// SPDX-License-Identifier: GPL-2.0-or-later
//
// Many extents at once. To search the tree for each and make room for it costs several times what it takes to
// write it down: so those that fall into one leaf are merged with what the leaf holds, in one pass.
#include <algorithm>

#include "extent_tree.h"

namespace predsnap {

namespace {

using Replaced = std::vector<Extent>*;

constexpr unsigned kCapacity = ExtentLeaf::kCapacity;
// The most extents that one leaf is asked to take at once.
constexpr size_t kRunMax = 2 * kCapacity;

// What a leaf holds from its extent `first` on, with other extents laid over it in ascending order.
class LeafMerge {
  public:
    LeafMerge(ExtentLeaf& leaf, unsigned first) : leaf_(leaf), first_(first), next_(first) {}

    // False, and nothing is laid, if the leaf may be too small for it.
    bool lay(const Extent& extent, bool store, Replaced replaced);
    // Writes the result into the leaf.
    void finish();
    int64_t data_sectors_added() const { return data_sectors_added_; }

  private:
    bool has_old() const { return rest_.count > 0 || next_ < leaf_.count(); }
    Extent old() const { return rest_.count > 0 ? rest_ : leaf_.get(next_); }
    void skip_old() { rest_.count > 0 ? void(rest_.count = 0) : void(++next_); }
    bool has_room_beside(const Extent& extent) const;
    void keep_until(Sector at);
    void cover(const Extent& extent, Replaced replaced);
    bool extends_last(const Extent& extent) const;
    void put(const Extent& extent);
    Sector start(unsigned i) const { return Sector(leaf_.base() + deltas_[i]); }

    ExtentLeaf& leaf_;
    const unsigned first_;
    unsigned next_;  // of the leaf's extents that come after those in the result
    Extent rest_;    // of an old extent, the part behind a new one, if its count is not 0
    unsigned count_ = 0;
    uint32_t deltas_[kCapacity];  // as in the leaf
    PackedExtent packed_[kCapacity];
    int64_t data_sectors_added_ = 0;
};

bool LeafMerge::lay(const Extent& extent, bool store, Replaced replaced) {
    keep_until(extent.start);
    if (!has_room_beside(extent)) {
        return false;
    }
    cover(extent, replaced);
    if (store) {
        put(extent);
        data_sectors_added_ += extent.is_data() ? static_cast<int64_t>(extent.count) : 0;
    }
    return true;
}

// An extent adds itself, and one more if it splits an old one; none if it takes the place of one.
bool LeafMerge::has_room_beside(const Extent& extent) const {
    const unsigned now = first_ + count_ + (leaf_.count() - next_) + (rest_.count > 0 ? 1 : 0);
    if (now + 2 <= kCapacity || (now < kCapacity && !has_old())) {
        return true;
    }
    if (!has_old()) {
        return false;
    }
    const Extent next = old();
    return next.start == extent.start && next.end() <= extent.end();
}

// Takes over what ends at or before `at`.
void LeafMerge::keep_until(Sector at) {
    if (rest_.count > 0) {
        if (rest_.end() > at) {
            return;
        }
        put(rest_);
        rest_.count = 0;
    }
    unsigned end = next_;
    while (end < leaf_.count() && leaf_.start(end) < at) {
        ++end;
    }
    if (end > next_ && leaf_.end(end - 1) > at) {
        --end;  // reaches beyond
    }
    if (end > next_) {
        put(leaf_.get(next_++));  // may join what was laid
        leaf_.copy_out(next_, end, &deltas_[count_], &packed_[count_]);
        count_ += end - next_;
        next_ = end;
    }
}

// Removes what the extent's range holds.
void LeafMerge::cover(const Extent& extent, Replaced replaced) {
    while (has_old()) {
        const Extent covered = old();
        if (covered.start >= extent.end()) {
            return;
        }
        skip_old();
        if (covered.start < extent.start) {
            put(covered.slice(covered.start, extent.start));
        }
        const Sector from = std::max(covered.start, extent.start);
        const Sector to = std::min(covered.end(), extent.end());
        data_sectors_added_ -= covered.is_data() ? static_cast<int64_t>(to - from) : 0;
        if (replaced != nullptr) {
            replaced->push_back(covered.slice(from, to));
        }
        if (covered.end() > extent.end()) {
            rest_ = covered.slice(extent.end(), covered.end());
            return;
        }
    }
}

// Plain extents of one kind that touch are one. Not before the later one is put: until then it may still be cut.
bool LeafMerge::extends_last(const Extent& extent) const {
    if (extent.is_data() || count_ == 0 || packed_[count_ - 1].kind() != extent.kind) {
        return false;
    }
    return start(count_ - 1) + packed_[count_ - 1].sectors() == extent.start;
}

void LeafMerge::put(const Extent& extent) {
    Extent whole = extent;
    if (extends_last(extent)) {
        --count_;
        whole.start = start(count_);
        whole.count += packed_[count_].sectors();
    }
    assert(count_ < kCapacity && leaf_.admits(whole.start));
    deltas_[count_] = static_cast<uint32_t>(whole.start.value - leaf_.base());
    packed_[count_++] = PackedExtent::pack(whole);
}

void LeafMerge::finish() {
    if (rest_.count > 0) {
        put(rest_);
        rest_.count = 0;
    }
    if (next_ < leaf_.count() && extends_last(leaf_.get(next_))) {
        put(leaf_.get(next_++));
    }
    leaf_.splice(first_, next_, deltas_, packed_, count_);
}

}  // namespace

// Finds the leaf that an extent belongs to and begins to fetch it: path->slot is not set.
void ExtentMap::Tree::approach(Sector at, Path* path) const {
    void* node = root_;
    for (unsigned level = 0; level < height_; ++level) {
        Inner* inner = static_cast<Inner*>(node);
        path->steps[level] = {inner, inner->index_of(at)};
        node = inner->child(path->steps[level].index);
    }
    path->leaf = static_cast<Leaf*>(node);
    prefetch_node(node);
}

// Whether no extent before the path's leaf matters to one that is stored there.
bool ExtentMap::Tree::stands_alone(const Path& path, const Extent& extent) const {
    if (path.slot > 0 && (extent.is_data() || path.leaf->start(0) < extent.start)) {
        return true;
    }
    Path before = path;
    if (!previous_leaf(&before)) {
        return true;
    }
    const Extent last = before.leaf->get(before.leaf->count() - 1);
    return last.end() < extent.start || (last.end() == extent.start && extent.is_data());
}

// Adds the first ones of the extents to the end of the map, as many as the last leaf can take as they are.
size_t ExtentMap::Tree::append_some(Leaf& leaf, std::span<const Extent> extents, Holes holes) {
    size_t done = 0;
    for (; done < extents.size(); ++done) {
        const Extent& extent = extents[done];
        if (extent.kind == ExtentKind::hole && holes == Holes::erase) {
            continue;
        }
        const unsigned last = leaf.count() - 1;
        const bool joins = leaf.packed(last).kind() == extent.kind && !extent.is_data() &&
                           leaf.end(last) == extent.start;
        if (leaf.full() || !leaf.admits(extent.start) || joins) {
            break;
        }
        const PackedExtent packed = PackedExtent::pack(extent);
        leaf.append(extent.start, packed);
        add(packed);
    }
    return done;
}

// Puts the first ones of the extents in the place of what the leaf holds, as long as each takes exactly the place of
// one there, by itself or with a hole behind it that is not stored. Returns how many.
size_t ExtentMap::Tree::patch(Leaf& leaf, unsigned slot, std::span<const Extent> extents, Holes holes,
                              Replaced replaced) {
    size_t done = 0;
    while (done < extents.size() && extents[done].is_data()) {
        const Extent& extent = extents[done];
        while (slot < leaf.count() && leaf.start(slot) < extent.start) {
            ++slot;
        }
        if (slot == leaf.count() || leaf.start(slot) != extent.start) {
            break;
        }
        const Sector end = leaf.end(slot);
        const bool alone = extent.end() == end;
        if (!alone && (holes == Holes::keep || extent.end() > end || done + 1 == extents.size() ||
                       extents[done + 1].kind != ExtentKind::hole || extents[done + 1].start != extent.end() ||
                       extents[done + 1].end() != end)) {
            break;
        }
        if (replaced != nullptr) {
            const Extent old = leaf.get(slot);
            replaced->push_back(old.slice(old.start, extent.end()));
            if (!alone) {
                replaced->push_back(old.slice(extent.end(), end));
            }
        }
        drop(leaf.packed(slot));
        leaf.set(slot, extent);
        add(leaf.packed(slot));
        done += alone ? 1 : 2;
    }
    return done;
}

// Lays the first ones of the extents over the leaf that they fall into. Returns how many: 0 if the first one
// needs more than this leaf. `next` leads to the leaf of the first one if it is ready, and is made so for the next.
size_t ExtentMap::Tree::merge(std::span<const Extent> extents, Holes holes, Replaced replaced, Next* next) {
    if (!next->ready) {
        approach(extents.front().start, &next->path);
    }
    next->ready = false;
    Path path = next->path;
    Leaf& leaf = *path.leaf;
    path.slot = leaf.count_until(extents.front().start);
    const Sector end = next_key(path);
    if (end == kSectorLimit && path.slot == leaf.count() && leaf.end(path.slot - 1) <= extents.front().start) {
        return append_some(leaf, extents, holes);
    }
    size_t run = 1;
    while (run < std::min(extents.size(), kRunMax) && extents[run].start < end) {
        ++run;
    }
    if (run < extents.size()) {
        approach(extents[run].start, &next->path);
    }
    if (path.slot > 0) {
        if (const size_t done = patch(leaf, path.slot - 1, extents.first(run), holes, replaced); done > 0) {
            next->ready = done < extents.size();
            if (done < run) {
                next->path = path;
            }
            return done;
        }
    }
    if (!stands_alone(path, extents.front()) || !leaf.admit(extents.front().start)) {
        return 0;
    }
    // From two extents before: the one before may be covered wholly, and a plain one joins that before it.
    LeafMerge merge(leaf, path.slot > 1 ? path.slot - 2 : 0);
    const unsigned count_before = leaf.count();
    size_t done = 0;
    for (; done < run; ++done) {
        const Extent& extent = extents[done];
        // What is cut must begin in this leaf too.
        const bool within = extent.end() < end || end == kSectorLimit;
        const bool store = holes == Holes::keep || extent.kind != ExtentKind::hole;
        if (!within || !leaf.admits(extent.end()) || !merge.lay(extent, store, replaced)) {
            break;
        }
    }
    if (done == 0) {
        return 0;
    }
    merge.finish();
    extents_ += leaf.count() - uint64_t{count_before};
    data_sectors_ += static_cast<uint64_t>(merge.data_sectors_added());
    next->ready = done == run && run < extents.size() && leaf.count() >= count_before;
    if (leaf.count() < count_before) {
        removed(path, count_before);
    }
    return done;
}

void ExtentMap::insert_all(std::span<const Extent> extents, Holes holes, std::vector<Extent>* replaced) {
    Tree::Next next;
    while (!extents.empty()) {
        size_t done = tree_->root_ != nullptr ? tree_->merge(extents, holes, replaced, &next) : 0;
        if (done == 0) {
            const Extent& extent = extents.front();
            if (extent.kind == ExtentKind::hole && holes == Holes::erase) {
                erase(extent.start, extent.end(), replaced);
            } else {
                insert(extent, replaced);
            }
            done = 1;
        }
        extents = extents.subspan(done);
    }
}

void ExtentMap::for_each_piece(const std::function<void(std::span<const Extent>)>& visit) const {
    constexpr size_t kPiece = 256;
    std::vector<Extent> piece;
    piece.reserve(kPiece + kCapacity);
    Tree::Path path;
    if (tree_->root_ == nullptr) {
        return;
    }
    tree_->descend_edge(&path, 0, false);
    do {
        for (unsigned slot = 0; slot < path.leaf->count(); ++slot) {
            piece.push_back(path.leaf->get(slot));
        }
        if (piece.size() >= kPiece) {
            visit(piece);
            piece.clear();
        }
    } while (tree_->next_leaf(&path));
    if (!piece.empty()) {
        visit(piece);
    }
}

}  // namespace predsnap
