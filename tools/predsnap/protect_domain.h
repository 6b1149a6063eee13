// SPDX-License-Identifier: GPL-2.0-or-later
//
// What protect and unprotect share: the domain as libvirt has it, its definition as the hook reads it.
#pragma once

#include <optional>
#include <string>

#include "libvirt-hooks/config.h"
#include "libvirt-hooks/domain.h"
#include "options.h"
#include "tools/virt/connection.h"

namespace predsnap::protect {

// --domain, --disk, --connect; or the domain, or DOMAIN:DISK, as the first argument. After parsing; false: it was said what is wrong.
Options& domain_options(Options& options, TargetOptions& target);
bool take_domain(Options& options, TargetOptions& target);

// A domain and one of its disks. The definition is that of the next start.
struct Work {
    virt::Connection connection;
    virt::Domain domain;
    std::string xml;  // persistent, secrets included: it is what gets defined again
    hook::Domain definition;
    std::string target;
    hook::Config config;

    // The disk as the metadata has it; null if it is not protected.
    const hook::ProtectedDisk* protected_disk() const;
    std::string name() const { return "domain '" + domain.name() + "', disk '" + target + "'"; }
    // The device's name in the running QEMU.
    Result<std::string> live_alias() const;

    // Replaces the persistent definition, and reads it back.
    Result<void> define(const std::string& xml);
    // The metadata of the running domain, for who looks at it (hook, predsnapd), as the definition has it.
    Result<void> publish_metadata() const;
};

// Errors name what is not there. `persistent` domains only.
Result<Work> open_work(const TargetOptions& options);

// The error with the disk's name before it.
Error about(const Work& work, const Error& error);

}  // namespace predsnap::protect
