// SPDX-License-Identifier: GPL-2.0-or-later
#include "ext_files.h"

#include <algorithm>
#include <unordered_set>

#include "ext_paths.h"

namespace predsnap {
namespace {

constexpr uint32_t kStep = 4096;  // inodes between two looks at the progress

// The inodes in use, one after the other.
class Inodes {
  public:
    explicit Inodes(ExtDevice& device) : device_(device) {}
    Inodes(const Inodes&) = delete;
    ~Inodes() {
        if (scan_ != nullptr) {
            ext2fs_close_inode_scan(scan_);
        }
    }

    Result<void> begin() {
        const errcode_t code = ext2fs_open_inode_scan(device_.fs(), 0, &scan_);
        return code == 0 ? next() : ext_error(code, "its inodes");
    }
    bool more() const { return number_ != 0; }
    ext2_ino_t number() const { return more() ? number_ : UINT32_MAX; }
    const ext2_inode_large& inode() const { return inode_; }
    bool is_folder() const { return LINUX_S_ISDIR(inode_.i_mode); }
    // Of all folders that went by.
    const std::vector<ext2_ino_t>& folders() const { return folders_; }

    // Past those that are free, and those that are the file system's own.
    Result<void> next() {
        do {
            const errcode_t code = ext2fs_get_next_inode_full(scan_, &number_, reinterpret_cast<ext2_inode*>(&inode_), sizeof(inode_));
            if (code != 0 && code != EXT2_ET_BAD_BLOCK_IN_INODE_TABLE) {
                return ext_error(code, "inode " + std::to_string(number_));
            }
        } while (more() && (inode_.i_links_count == 0 || (number_ < EXT2_FIRST_INO(device_.fs()->super) && number_ != EXT2_ROOT_INO)));
        if (more() && is_folder()) {
            folders_.push_back(number_);
        }
        return {};
    }

  private:
    ExtDevice& device_;
    ext2_inode_scan scan_ = nullptr;
    ext2_ino_t number_ = 0;
    ext2_inode_large inode_{};
    std::vector<ext2_ino_t> folders_;
};

// What differs, in blocks of the file system.
class Differing {
  public:
    Differing(const std::vector<ByteRange>& ranges, uint32_t block_size) : ranges_(ranges), block_size_(block_size) {}

    bool touches(blk64_t block, uint64_t count) const {
        const uint64_t begin = block * block_size_, end = begin + count * block_size_;
        const auto next = std::upper_bound(ranges_.begin(), ranges_.end(), begin, [](uint64_t at, const ByteRange& range) { return at < range.offset + range.length; });
        return next != ranges_.end() && next->offset < end;
    }

  private:
    const std::vector<ByteRange>& ranges_;
    const uint64_t block_size_;
};

bool any_extent_differs(ExtDevice& device, ext2_ino_t number, ext2_inode* inode, const Differing& differing) {
    ext2_extent_handle_t handle = nullptr;
    if (ext2fs_extent_open2(device.fs(), number, inode, &handle) != 0) {
        return false;
    }
    bool differs = false;
    ext2fs_extent extent{};
    for (int where = EXT2_EXTENT_ROOT; !differs && ext2fs_extent_get(handle, where, &extent) == 0; where = EXT2_EXTENT_NEXT) {
        const bool leaf = (extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) != 0, written = (extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT) == 0;
        differs = leaf && written && differing.touches(extent.e_pblk, extent.e_len);
    }
    ext2fs_extent_free(handle);
    return differs;
}

struct Search {
    const Differing* differing;
    bool differs;

    static int block(ext2_filsys, blk64_t* number, e2_blkcnt_t, blk64_t, int, void* opaque) {
        auto& search = *static_cast<Search*>(opaque);
        search.differs = search.differing->touches(*number, 1);
        return search.differs ? BLOCK_ABORT : 0;
    }
};

// Whether what the blocks of a file hold differs.
bool any_block_differs(ExtDevice& device, const Inodes& at, const Differing& differing) {
    ext2_inode_large copy = at.inode();
    auto* inode = reinterpret_cast<ext2_inode*>(&copy);
    if (ext2fs_inode_has_valid_blocks2(device.fs(), inode) == 0) {
        return false;
    }
    if ((copy.i_flags & EXT4_EXTENTS_FL) != 0) {
        return any_extent_differs(device, at.number(), inode, differing);
    }
    Search search{&differing, false};
    static_cast<void>(ext2fs_block_iterate3(device.fs(), at.number(), BLOCK_FLAG_READ_ONLY | BLOCK_FLAG_DATA_ONLY, nullptr, Search::block, &search));
    return search.differs;
}

bool same_attributes(const ext2_inode_large& a, const ext2_inode_large& b) {
    return a.i_mode == b.i_mode && inode_uid(a) == inode_uid(b) && inode_gid(a) == inode_gid(b) && a.i_flags == b.i_flags;
}

// Without the time of the last look at it.
bool same_times(const ext2_inode_large& a, const ext2_inode_large& b) {
    return a.i_mtime == b.i_mtime && a.i_ctime == b.i_ctime && a.i_mtime_extra == b.i_mtime_extra && a.i_ctime_extra == b.i_ctime_extra;
}

struct Found {
    FileChange::Kind kind;
    ext2_ino_t inode;
    bool folder;
    uint64_t size;
};

Found found_at(const Inodes& at, FileChange::Kind kind) {
    return {kind, at.number(), at.is_folder(), EXT2_I_SIZE(&at.inode())};
}

// Of an inode that is in use at both moments.
void compare(const Inodes& from, const Inodes& to, ExtDevice& device, const Differing& differing, std::vector<Found>* found) {
    using Kind = FileChange::Kind;
    const ext2_inode_large &a = from.inode(), &b = to.inode();
    if (a.i_generation != b.i_generation || (a.i_mode & LINUX_S_IFMT) != (b.i_mode & LINUX_S_IFMT)) {
        found->push_back(found_at(from, Kind::removed));
        found->push_back(found_at(to, Kind::added));
        return;
    }
    const bool attributes = !same_attributes(a, b), times = !same_times(a, b);
    const bool rewritten = EXT2_I_SIZE(&a) != EXT2_I_SIZE(&b) || a.i_mtime != b.i_mtime || a.i_mtime_extra != b.i_mtime_extra;
    if (!to.is_folder() && (rewritten || any_block_differs(device, to, differing))) {
        found->push_back(found_at(to, Kind::content));
    } else if (attributes) {
        found->push_back(found_at(to, Kind::attributes));
    } else if (times) {
        found->push_back(found_at(to, Kind::moved));  // or linked, or given other extended attributes: paths will tell
    }
}

Result<std::vector<Found>> compare_all(Inodes& from, Inodes& to, ExtDevice& device, const Differing& differing,
                                       const std::function<bool(double)>& progress) {
    std::vector<Found> found;
    const double count = device.fs()->super->s_inodes_count;
    TRY(from.begin());
    TRY(to.begin());
    for (uint32_t looked = 0; from.more() || to.more(); ++looked) {
        const ext2_ino_t a = from.number(), b = to.number();
        if (looked % kStep == 0 && !progress(std::min(a, b) / count)) {
            return Error{EINTR, "interrupted"};
        }
        if (a == b) {
            compare(from, to, device, differing, &found);
        } else {
            found.push_back(a < b ? found_at(from, FileChange::Kind::removed) : found_at(to, FileChange::Kind::added));
        }
        TRY(a <= b ? from.next() : Result<void>());
        TRY(b <= a ? to.next() : Result<void>());
    }
    return found;
}

}  // namespace

Result<std::vector<FileChange>> changed_files(ExtDevice& from, ExtDevice& to, const std::vector<ByteRange>& differ,
                                              const std::function<bool(double)>& progress) {
    using Kind = FileChange::Kind;
    Inodes older(from), newer(to);
    TRY_ASSIGN(const std::vector<Found> found, compare_all(older, newer, to, Differing(differ, to.block_size()), progress));
    std::unordered_set<ext2_ino_t> wanted;
    for (const Found& one : found) {
        wanted.insert(one.inode);
    }
    if (wanted.empty()) {
        return std::vector<FileChange>();
    }
    const ExtPaths before(from, older.folders(), wanted), after(to, newer.folders(), wanted);
    std::vector<FileChange> changes;
    for (const Found& one : found) {
        FileChange change{one.kind, (one.kind == Kind::removed ? before : after).of(one.inode), "", one.inode, one.folder, one.size};
        const bool both = one.kind != Kind::removed && one.kind != Kind::added;
        const std::string was = both ? before.of(one.inode) : "";
        change.before = both && was != change.path ? was : "";
        if (one.kind == Kind::moved && change.before.empty()) {
            if (one.folder) {
                continue;  // its files came and went
            }
            change.kind = Kind::attributes;
        }
        changes.push_back(std::move(change));
    }
    std::sort(changes.begin(), changes.end(), [](const FileChange& a, const FileChange& b) { return a.path < b.path; });
    return changes;
}

}  // namespace predsnap
