// SPDX-License-Identifier: GPL-2.0-or-later
//
// predsnap nodes as QEMU takes them, and whether a domain that should have one in its own QEMU really does.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config.h"
#include "domain.h"

namespace predsnap::hook {

// The predsnap node of a disk, as blockdev-add and -blockdev take it. backing: the node below; none: null, for a node that is
// slid in. direct: past the host's page cache.
std::string node_json(const ProtectedDisk& disk, const std::optional<std::string>& backing, bool direct);
// The --blockdev arguments of a storage daemon, JSON each, lowest node first.
std::vector<std::string> daemon_nodes(const ProtectedDisk& disk);

// Way node: the emulator has the driver, <qemu:commandline> has the node over that image, and the guest's disk is on it. A guest that
// was started without it would write past its history, and find its disk as it once was. Errors name domain and disk.
Result<void> check_node(const Domain& domain, const ProtectedDisk& disk);

// The part of that which needs no emulator.
Result<void> check_command_line(const Domain& domain, const ProtectedDisk& disk);

// Whether an argument of QEMU's is the -blockdev of a node by that name.
bool names_node(const std::string& argument, const std::string& node);

// Folder of a disk's access log, which the driver makes and rotates: there, and QEMU's to write to.
Result<void> prepare_access_log(const ProtectedDisk& disk, const Owner& owner);

}  // namespace predsnap::hook
