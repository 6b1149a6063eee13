// SPDX-License-Identifier: GPL-2.0-or-later
//
// The superblock: identity of the image and where recovery starts. Two slots are written in turn, so
// that one is whole whatever happens.
#pragma once

#include <vector>

#include "device.h"
#include "format.h"
#include "result.h"

namespace predsnap {

// Sets the checksum and writes the slot that generation falls on. Not durable before a flush.
Result<void> write_superblock(Device& file, format::Superblock& superblock);

// Whether a slot is whole: magic and checksum are right.
bool intact(const format::Superblock& slot);

// Slots whose magic or checksum is wrong, by number. A power loss while a slot is written leaves one; it
// is written anew when the image is opened for writing.
Result<std::vector<uint32_t>> damaged_slots(Device& file);

// Reads the newest valid slot. Errors: EINVAL if neither slot is one of a predsnap image, ENOTSUP for
// an unknown version or incompatible feature, EIO if the slots are damaged.
Result<format::Superblock> read_superblock(Device& file);

}  // namespace predsnap
