// SPDX-License-Identifier: GPL-2.0-or-later
#include "ext_paths.h"

namespace predsnap {
namespace {

constexpr int kDepthMax = 4096;  // folders that hold each other must not keep anybody

}  // namespace

struct ExtPaths::Reading {
    ExtPaths* self;
    const std::unordered_set<ext2_ino_t>*folders, *wanted;

    static int entry(ext2_ino_t folder, int kind, struct ext2_dir_entry* found, int, int, char*, void* opaque) {
        const auto& reading = *static_cast<Reading*>(opaque);
        const bool matters = reading.folders->contains(found->inode) || reading.wanted->contains(found->inode);
        if (kind == DIRENT_OTHER_FILE && matters) {
            const auto length = static_cast<size_t>(ext2fs_dirent_name_len(found));
            reading.self->places_.try_emplace(found->inode, Place{folder, std::string(found->name, length)});
        }
        return 0;
    }
};

ExtPaths::ExtPaths(ExtDevice& device, const std::vector<ext2_ino_t>& folders, const std::unordered_set<ext2_ino_t>& wanted) {
    const std::unordered_set<ext2_ino_t> known(folders.begin(), folders.end());
    Reading reading{this, &known, &wanted};
    for (const ext2_ino_t folder : folders) {
        static_cast<void>(ext2fs_dir_iterate2(device.fs(), folder, 0, nullptr, Reading::entry, &reading));
    }
}

std::string ExtPaths::of(ext2_ino_t inode) const {
    std::string path;
    ext2_ino_t at = inode;
    for (int depth = 0; at != EXT2_ROOT_INO && depth < kDepthMax; ++depth) {
        const auto place = places_.find(at);
        if (place == places_.end()) {
            return "(inode " + std::to_string(inode) + ")";
        }
        path.insert(0, "/" + place->second.name);
        at = place->second.folder;
    }
    return path.empty() ? "/" : path;
}

}  // namespace predsnap
