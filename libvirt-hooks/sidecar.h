// SPDX-License-Identifier: GPL-2.0-or-later
//
// What predsnapd is told of a domain's disks: a file for each in RUN/disks.d, in the form of its configuration. It notices when they
// come and go.
#pragma once

#include <string>

#include "config.h"
#include "domain.h"

namespace predsnap::hook {

Result<void> announce(const Config& config, const Domain& domain, const ProtectedDisk& disk);
// All disks of a domain.
Result<void> retract(const Config& config, const std::string& domain);

// Takes down FUSE mounts below RUN whose server has died.
void drop_dead_mounts(const Config& config);

}  // namespace predsnap::hook
