// SPDX-License-Identifier: GPL-2.0-or-later
//
// A libvirt domain, as the XML says that a hook is given: its disks, what predsnap is to do with them, and what QEMU
// is told beyond that.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::hook {

// A <disk> of the domain.
struct Disk {
    std::string target;  // vda
    std::string bus;
    std::string type;    // of the source: file, block, vhostuser ...
    std::string source;  // path of the file, device or socket; empty for other types
    std::string format;  // of the driver; empty if not given
    std::string alias;   // of the device in QEMU: the user's, or what libvirt will make of the target
    int line = 0;
};

struct RetentionRule {
    int64_t every_s = 0;
    int64_t for_s = 0;
};

enum class Way { kNode, kDaemon };

// A <predsnap:disk> in the metadata. Valid against predsnap.rng.
struct ProtectedDisk {
    std::string target;
    Way way = Way::kNode;
    bool removing = false;  // unprotect was cut off
    bool merged = false;    // and the disk below has everything already
    bool leaving = false;   // unprotect was cut off when only its files were left to be removed
    std::string node;
    std::optional<int64_t> weight;
    std::string image;
    std::string uuid;  // empty: any
    std::string base;  // of way daemon
    std::string base_format;
    std::optional<uint64_t> size;  // bytes
    std::string capacity;
    std::optional<int64_t> window_s;
    std::optional<int64_t> history_bytes;
    std::vector<RetentionRule> retention;
    std::optional<int64_t> staging_bytes;
    std::string access_log;
    std::string monitor;
    int line = 0;
};

// <qemu:override>: a property of a device.
struct Override {
    std::string alias;
    std::string property;
    std::string value;
};

struct Domain {
    std::string name;
    std::string uuid;
    std::string emulator;
    std::string dac_label;  // "user:group" of <seclabel type='static' model='dac'>; empty if there is none
    bool shared_memory = false;
    std::vector<Disk> disks;
    std::vector<ProtectedDisk> protected_disks;  // empty: the domain is none of ours
    std::vector<std::string> qemu_args;
    std::vector<Override> overrides;

    const Disk* find_disk(const std::string& target) const;
    // Null if it is not overridden.
    const std::string* overridden(const std::string& alias, const std::string& property) const;
};

// Errors name the domain, the disk and the line of the XML as libvirt has it (virsh dumpxml).
Result<Domain> parse_domain(const std::string& xml);

// "domain 'vm1', disk 'vda'", for messages.
std::string name_of(const Domain& domain, const ProtectedDisk& disk);

}  // namespace predsnap::hook
