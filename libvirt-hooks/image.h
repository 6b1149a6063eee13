// SPDX-License-Identifier: GPL-2.0-or-later
//
// The predsnap image of a disk: made before the domain starts if it is not there, else held against what it should be.
// Looking takes milliseconds whatever the size of the image and whoever has it open: only its superblock is read.
#pragma once

#include <string>

#include "config.h"
#include "domain.h"

namespace predsnap::hook {

struct ImageFacts {
    std::string uuid;
    uint64_t size = 0;         // bytes of the guest's disk
    std::string backing_file;  // as recorded; empty: none
};

// The domain's own disk below a node, or what the metadata names for a daemon.
struct Base {
    std::string file;  // empty: nothing, or nothing with a path
    std::string format;
};
Base base_of(const Domain& domain, const ProtectedDisk& disk);
// In bytes, as qemu-img sees it, also while it is in use.
Result<uint64_t> base_size(const Config& config, const Base& base);

// Errors name the image.
Result<ImageFacts> read_image(const std::string& path);

// Makes the image and the capacity file, or checks them; both belong to `owner` then. Under a lock of the image. An image that is
// made appears under its name complete. Errors name domain, disk, image.
Result<void> ensure_image(const Config& config, const Domain& domain, const ProtectedDisk& disk, const Owner& owner);

}  // namespace predsnap::hook
