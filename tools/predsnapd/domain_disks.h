// SPDX-License-Identifier: GPL-2.0-or-later
//
// Which disks of a libvirt domain have predsnap on them: by its metadata (libvirt-hooks/predsnap.rng), and by the nodes
// in its <qemu:commandline> that the metadata do not name.
//
// A disk whose metadata name a monitor socket is reached by that. Any other is reached through libvirt, which
// marks its domain as tainted (custom-monitor); but not one of way='daemon': its node is not in the domain's QEMU.
#pragma once

#include <string>
#include <vector>

#include "disk_watch.h"

namespace predsnap::predict {

// `xml`: of the running domain. Errors name the domain.
Result<std::vector<DiskConfig>> disks_of_domain(const std::string& domain, const std::string& xml);

}  // namespace predsnap::predict
