// SPDX-License-Identifier: GPL-2.0-or-later
//
// Which of QEMU's block nodes are predsnap's, and which of them a domain's disk stands on.
#pragma once

#include <string>
#include <vector>

#include "tools/qmp/monitor.h"
#include "tools/virt/disks.h"

namespace predsnap {

// Names, in no order. Errors: ENOTSUP if it is a QEMU without predsnap; `name` is for the message.
Result<std::vector<std::string>> predsnap_nodes(qmp::Monitor& monitor, const std::string& name);

// Whether the device of a query-block entry has the alias: as its name, or as a part of its path
// (/machine/peripheral/ALIAS/virtio-backend).
bool is_device(const Json& block, const std::string& alias);

struct DomainDisk {
    std::string target;  // vda
    std::string node;    // of predsnap's
};

// The predsnap node of a disk; of the only disk that has one, if `wanted` is empty. Errors name the domain,
// and the disks that have one.
Result<DomainDisk> find_domain_disk(qmp::Monitor& monitor, const std::vector<virt::Disk>& disks, const std::string& wanted,
                                    const std::string& domain);

}  // namespace predsnap
