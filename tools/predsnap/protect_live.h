// SPDX-License-Identifier: GPL-2.0-or-later
//
// The disk of a running domain in its QEMU: putting a predsnap node on it and taking it off, under the guest's I/O. Errors name
// nothing: who calls says which domain and disk.
#pragma once

#include <functional>
#include <string>

#include "libvirt-hooks/domain.h"
#include "tools/qmp/monitor.h"

namespace predsnap::protect {

struct LiveDisk {
    std::string root;     // the node that the guest's device is on
    bool direct = false;  // past the host's page cache
    bool node_exists = false;  // our node, on top or not
    bool merging = false;      // a job of an earlier call runs
};

// `alias`: the device's id. Errors: ENOENT if there is no such device, ENOTSUP if this QEMU has no predsnap driver.
Result<LiveDisk> look(qmp::Monitor& monitor, const std::string& alias, const hook::ProtectedDisk& disk);

// If a merge is about to end, as an earlier call or somebody else told it: waits for that. Errors: the merge's own.
Result<void> end_merge(qmp::Monitor& monitor, const hook::ProtectedDisk& disk);

// The image must be there. Goes on where an earlier call left off.
Result<void> slide_in(qmp::Monitor& monitor, const LiveDisk& live, const hook::ProtectedDisk& disk);

// Copies what the image has to the disk below until both are the same, and keeps them so; goes on with a job that runs. `progress`
// is told bytes done, and in all. Errors, of settle() too: ECANCELED if the job ends without having been told here.
Result<void> merge(qmp::Monitor& monitor, const LiveDisk& live, const hook::ProtectedDisk& disk,
                   const std::function<void(int64_t, int64_t)>& progress);
// After merge(), with the guest paused: the disk below has everything, durably.
Result<void> settle(qmp::Monitor& monitor, const hook::ProtectedDisk& disk);
// After settle(): the device is on the disk below, and our node is gone.
Result<void> slide_out(qmp::Monitor& monitor, const hook::ProtectedDisk& disk);

}  // namespace predsnap::protect
