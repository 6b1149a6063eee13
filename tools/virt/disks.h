// SPDX-License-Identifier: GPL-2.0-or-later
//
// The disks of a domain, as its XML has them.
#pragma once

#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::virt {

struct Disk {
    std::string target;       // vda
    std::string device;       // disk, cdrom, lun
    std::string source;       // path, or name of what the network has; empty if there is none
    std::string alias;        // of the device in QEMU; a domain that does not run has one only if the user named it
};

// All kinds, in order. Errors: EINVAL for what is not XML.
Result<std::vector<Disk>> disks_of(const std::string& domain_xml);

// By target, alias or source. Without a name: the only one that is a disk and not a CD, or an error. Errors
// name the domain, and what there is.
Result<Disk> choose_disk(const std::vector<Disk>& disks, const std::string& name, const std::string& domain);

}  // namespace predsnap::virt
