// SPDX-License-Identifier: GPL-2.0-or-later
//
// The journal of ext3 and ext4 (jbd2): blocks of metadata that are committed, and not yet where they belong.
#pragma once

#include "block/engine/result.h"

namespace predsnap {

class ExtDevice;

// Replaces in the device what its journal has newer. What is not sound ends it there, as it does when the file system is mounted.
// Journals on other devices, and fast commits, are left out.
Result<void> read_journal(ExtDevice& device);

}  // namespace predsnap
