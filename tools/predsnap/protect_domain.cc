// SPDX-License-Identifier: GPL-2.0-or-later
#include "protect_domain.h"

#include <libvirt/libvirt.h>

#include "libvirt-hooks/metadata.h"
#include "protect_xml.h"

namespace predsnap::protect {
Options& domain_options(Options& options, TargetOptions& target) {
    return options.text("domain", &target.domain, "Domain of libvirt's", "DOMAIN")
        .text("disk", &target.disk, "One of its disks: vda (default: the only one)", "DISK")
        .text("connect", &target.connect, "libvirt's URI (default: libvirt's own)", "URI", 'c');
}

bool take_domain(Options& options, TargetOptions& target) {
    if (target.domain.empty()) {
        target.domain = options.take();
        const size_t colon = target.domain.rfind(':');
        if (colon != std::string::npos && target.disk.empty()) {
            target.disk = target.domain.substr(colon + 1);
            target.domain.resize(colon);
        }
    }
    if (target.domain.empty()) {
        options.misused("a domain must be named, such as vm1, or vm1:vda");
        return false;
    }
    return true;
}

const hook::ProtectedDisk* Work::protected_disk() const {
    for (const hook::ProtectedDisk& disk : definition.protected_disks) {
        if (disk.target == target) {
            return &disk;
        }
    }
    return nullptr;
}

Result<std::string> Work::live_alias() const {
    TRY_ASSIGN(const std::vector<virt::Disk> disks, domain.disks(virt::Xml::live));
    for (const virt::Disk& disk : disks) {
        if (disk.target == target) {
            return disk.alias;
        }
    }
    return Error{ENOENT, name() + ": the running domain has no such disk, only its definition"};
}

Result<void> Work::define(const std::string& edited) {
    TRY_ASSIGN(domain, connection.define(edited));
    TRY_ASSIGN(xml, domain.xml(virt::Xml::persistent));
    TRY_ASSIGN(definition, hook::parse_domain(xml));
    return {};
}

Result<void> Work::publish_metadata() const {
    TRY_ASSIGN(const std::string metadata, metadata_of(xml));
    TRY_ASSIGN(const std::string live, domain.xml(virt::Xml::live));
    TRY_ASSIGN(const std::string live_metadata, metadata_of(live));
    if (live_metadata == metadata) {
        return {};
    }
    const char* text = metadata.empty() ? nullptr : metadata.c_str();
    if (virDomainSetMetadata(domain.get(), VIR_DOMAIN_METADATA_ELEMENT, text, text != nullptr ? "predsnap" : nullptr,
                             hook::kNamespace, VIR_DOMAIN_AFFECT_LIVE) != 0) {
        return virt::failed(name() + ": the running domain's metadata");
    }
    return {};
}

Result<Work> open_work(const TargetOptions& options) {
    TRY_ASSIGN(const virt::Connection connection, virt::Connection::open(options.connect));
    TRY_ASSIGN(const virt::Domain domain, connection.find(options.domain));
    if (!domain.persistent()) {
        return Error{EINVAL, "domain '" + domain.name() + "' is transient: it has no definition in which predsnap could stay. Define "
                                 "it first (virsh define)"};
    }
    TRY_ASSIGN(const std::string xml, domain.xml(virt::Xml::persistent));
    TRY_ASSIGN(const std::vector<virt::Disk> disks, virt::disks_of(xml));
    TRY_ASSIGN(const virt::Disk disk, virt::choose_disk(disks, options.disk, domain.name()));
    TRY_ASSIGN(const hook::Domain definition, hook::parse_domain(xml));
    TRY_ASSIGN(const hook::Config config, hook::Config::load());
    return Work{connection, domain, xml, definition, disk.target, config};
}

Error about(const Work& work, const Error& error) {
    return error.message.starts_with("domain '") ? error : Error{error.code, work.name() + ": " + error.message};
}

}  // namespace predsnap::protect
