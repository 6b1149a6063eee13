// SPDX-License-Identifier: GPL-2.0-or-later
//
// `predsnap diff --files`: which files of the file systems on a disk differ between two of its states.
#pragma once

#include <optional>
#include <vector>

#include "ext_files.h"
#include "target.h"

namespace predsnap {

struct FileSystemChanges {
    enum class State { compared, gone, made, made_anew };
    int partition = 0;  // 0: the whole disk
    uint64_t offset = 0;
    State state = State::compared;
    std::vector<FileChange> files;  // if it was compared

    Json json() const;
    // "partition 2"
    std::string name() const;
};

// `from`, `to`: sequence numbers; `differ`: what differs on the disk, ascending. Of ext2, ext3 and ext4, on the disk as a whole
// or in its partitions. Shows how far it is. Errors: ENOENT if there is no such file system at either state.
Result<std::vector<FileSystemChanges>> changed_files(Target& target, const TargetOptions& options, int64_t from, int64_t to,
                                                     const std::vector<ByteRange>& differ);

void print(const FileSystemChanges& changes, int64_t limit);

}  // namespace predsnap
