// SPDX-License-Identifier: GPL-2.0-or-later
//
// Where the partitions of a disk lie: GPT, or MBR with logical ones. Of what is not sound, what can be read.
#pragma once

#include <string>
#include <vector>

#include "moment_view.h"

namespace predsnap {

struct Partition {
    int number = 0;  // as Linux numbers them; 0: the whole disk
    uint64_t offset = 0, length = 0;  // bytes
};

// In the order of their numbers; none if the disk has no table.
Result<std::vector<Partition>> find_partitions(MomentView& disk);

}  // namespace predsnap
