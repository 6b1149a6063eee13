// SPDX-License-Identifier: GPL-2.0-or-later
//
// The B+ tree behind ExtentMap. Internal to the extent map's own files.
//
// A full leaf first shares with its neighbours, and only three full leaves become four; leaves that
// have run empty merge three into two. So leaves are 5/6 full under random inserts, where plain
// splitting leaves them 2/3 full.
#pragma once

#include <vector>

#include "extent_arena.h"
#include "extent_map.h"
#include "extent_node.h"

namespace predsnap {

struct ExtentMap::Tree {
    using Leaf = ExtentLeaf;
    using Inner = ExtentInner;
    using Replaced = std::vector<Extent>*;

    // 63 children a node: enough for any memory there is.
    static constexpr unsigned kHeightMax = 12;

    // A place in the tree, valid until the next structural change.
    struct Path {
        struct Step {
            Inner* node;
            unsigned index;
        };
        Step steps[kHeightMax];  // from the root
        Leaf* leaf = nullptr;
        unsigned slot = 0;
    };

    // extent_tree.cc: walking
    void descend(Sector at, Path* path) const;
    bool seek(Sector at, Path* path) const;
    void prefetch(Sector at) const;
    void rightmost(Path* path) const;
    bool next_leaf(Path* path) const;
    bool previous_leaf(Path* path) const;
    bool is_rightmost(const Path& path) const;
    Sector next_key(const Path& path) const;
    void descend_edge(Path* path, unsigned level, bool last) const;

    // extent_tree.cc: keeping the shape
    void place(const Extent& extent);
    bool try_place(const Path& path, const Extent& extent);
    void removed(const Path& path, unsigned count_before);
    bool parent_has_room(const Path& path);
    void split_inner(const Path& path, unsigned level);
    void grow();
    void add_leaf(const Path& path, const Extent& extent);
    void remove_child(const Path& path, unsigned level, unsigned index);
    void merge_inner(const Path& path, unsigned level);
    void collapse();
    void spread(const Path& path, const Extent& extent);
    void gather(const Path& path);

    // extent_map.cc: cutting what a new extent covers
    bool overwrite(const Extent& extent, Replaced replaced);
    void insert_plain(const Extent& extent);
    void carve(Sector from, Sector to, Replaced replaced);
    bool carve_front(Path* path, Sector from, Sector to, Replaced replaced);
    bool carve_leaf(Path* path, Sector to, Replaced replaced);
    void clear();

    // extent_merge.cc: many extents at once
    // The way to the leaf of the next extent; no structural change may lie between.
    struct Next {
        Path path;
        bool ready = false;
    };
    void approach(Sector at, Path* path) const;
    size_t append_some(Leaf& leaf, std::span<const Extent> extents, Holes holes);
    size_t patch(Leaf& leaf, unsigned slot, std::span<const Extent> extents, Holes holes, Replaced replaced);
    bool stands_alone(const Path& path, const Extent& extent) const;
    size_t merge(std::span<const Extent> extents, Holes holes, Replaced replaced, Next* next);

    // Counters of what is mapped.
    void add(const PackedExtent& packed) {
        ++extents_;
        data_sectors_ += packed.is_data() ? packed.sectors() : 0;
    }
    void drop(const PackedExtent& packed) {
        --extents_;
        data_sectors_ -= packed.is_data() ? packed.sectors() : 0;
    }
    void replace(const Path& path, unsigned slot, const Extent& extent) {
        drop(path.leaf->packed(slot));
        path.leaf->set(slot, extent);
        add(path.leaf->packed(slot));
    }

    NodeArena arena_;
    void* root_ = nullptr;  // null if and only if nothing is mapped
    unsigned height_ = 0;   // inner levels above the leaves
    uint64_t extents_ = 0;
    uint64_t data_sectors_ = 0;
};

}  // namespace predsnap
