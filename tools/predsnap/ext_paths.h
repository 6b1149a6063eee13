// SPDX-License-Identifier: GPL-2.0-or-later
//
// Paths of files, given their inodes: what all folders of a file system hold. One thread at a time.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "ext_device.h"

namespace predsnap {

class ExtPaths {
  public:
    // `folders`: the inodes of all folders. `wanted`: what paths will be asked of, besides folders. Folders that cannot be read
    // are passed over.
    ExtPaths(ExtDevice& device, const std::vector<ext2_ino_t>& folders, const std::unordered_set<ext2_ino_t>& wanted);

    // "/etc/passwd"; "(inode 17)" if no folder has it.
    std::string of(ext2_ino_t inode) const;

  private:
    struct Place {
        ext2_ino_t folder;
        std::string name;
    };
    struct Reading;
    std::unordered_map<ext2_ino_t, Place> places_;
};

}  // namespace predsnap
