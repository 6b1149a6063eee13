// SPDX-License-Identifier: GPL-2.0-or-later
//
// Which files of an ext2, ext3 or ext4 file system differ between two moments. One thread at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ext_device.h"

namespace predsnap {

struct ByteRange {
    uint64_t offset, length;
};

struct FileChange {
    enum class Kind { added, removed, content, attributes, moved };
    Kind kind;
    std::string path;    // in the file system, at the newer moment if it is there; one of them, if there are several
    std::string before;  // at the older moment, if that is another
    uint32_t inode = 0;
    bool folder = false;
    uint64_t size = 0;   // bytes; of a file that is gone, those it had
};

// `differ`: what differs, from where the file system begins, ascending. In order of paths. `progress` is told the share that is
// done, and says whether to go on. Of folders only those that came, went or changed themselves, not those whose files did.
// Errors: EINTR if it was told to stop; EIO for what cannot be read.
Result<std::vector<FileChange>> changed_files(ExtDevice& from, ExtDevice& to, const std::vector<ByteRange>& differ,
                                              const std::function<bool(double)>& progress);

}  // namespace predsnap
