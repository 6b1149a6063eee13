// SPDX-License-Identifier: GPL-2.0-or-later
#include "domain.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>

#include <cstring>
#include <memory>

#include "metadata.h"
#include "xml.h"

namespace predsnap::hook {
namespace {

constexpr char kQemuNamespace[] = "http://libvirt.org/schemas/domain/qemu/1.0";

// libvirt numbers the devices of a bus by their targets: vda is virtio-disk0, vdb virtio-disk1, vdaa virtio-disk26.
std::string default_alias(const Disk& disk) {
    const size_t letters = disk.target.find_first_of("abcdefghijklmnopqrstuvwxyz", 2);
    if (disk.bus != "virtio" || letters != 2) {
        return "";
    }
    int index = 0;
    for (size_t i = 2; i < disk.target.size() && disk.target[i] >= 'a' && disk.target[i] <= 'z'; ++i) {
        index = index * 26 + (disk.target[i] - 'a') + 1;
    }
    return "virtio-disk" + std::to_string(index - 1);
}

Disk parse_disk(const xml::Node& node) {
    Disk disk;
    disk.type = node.attribute("type");
    disk.line = node.line();
    if (const xml::Node target = node.child("target")) {
        disk.target = target.attribute("dev");
        disk.bus = target.attribute("bus");
    }
    if (const xml::Node driver = node.child("driver")) {
        disk.format = driver.attribute("type");
    }
    if (const xml::Node source = node.child("source")) {
        const char* name = disk.type == "file" ? "file" : disk.type == "block" ? "dev" : "path";
        disk.source = source.attribute(name);
    }
    if (const xml::Node alias = node.child("alias")) {
        disk.alias = alias.attribute("name");
    }
    if (disk.alias.empty()) {
        disk.alias = default_alias(disk);
    }
    return disk;
}

void parse_devices(const xml::Node& devices, Domain& domain) {
    domain.emulator = devices.child("emulator").text();
    for (const xml::Node& node : devices.children("disk")) {
        domain.disks.push_back(parse_disk(node));
    }
}

void parse_qemu(const xml::Node& root, Domain& domain) {
    if (const xml::Node line = root.child("commandline", kQemuNamespace)) {
        for (const xml::Node& arg : line.children("arg", kQemuNamespace)) {
            domain.qemu_args.push_back(arg.attribute("value"));
        }
    }
    const xml::Node override_ = root.child("override", kQemuNamespace);
    if (!override_) {
        return;
    }
    for (const xml::Node& device : override_.children("device", kQemuNamespace)) {
        const xml::Node frontend = device.child("frontend", kQemuNamespace);
        for (const xml::Node& property : frontend.children("property", kQemuNamespace)) {
            domain.overrides.push_back(
                {device.attribute("alias"), property.attribute("name"), property.attribute("value")});
        }
    }
}

void parse_labels(const xml::Node& root, Domain& domain) {
    for (const xml::Node& label : root.children("seclabel")) {
        if (label.attribute("model") == "dac" && label.attribute("type") == "static") {
            domain.dac_label = label.child("label").text();
        }
    }
}

Result<void> check_targets(const Domain& domain) {
    for (const ProtectedDisk& disk : domain.protected_disks) {
        if (domain.find_disk(disk.target) == nullptr) {
            return Error{EINVAL, name_of(domain, disk) + ", line " + std::to_string(disk.line) +
                                     ": the domain has no disk with this target; see virsh domblklist"};
        }
        for (const ProtectedDisk& other : domain.protected_disks) {
            if (&other != &disk && (other.target == disk.target || other.image == disk.image)) {
                return Error{EINVAL, name_of(domain, disk) + ", line " + std::to_string(other.line) +
                                         ": two <predsnap:disk> have the same " +
                                         (other.target == disk.target ? "target" : "image")};
            }
        }
    }
    return {};
}

}  // namespace

const Disk* Domain::find_disk(const std::string& target) const {
    for (const Disk& disk : disks) {
        if (disk.target == target) {
            return &disk;
        }
    }
    return nullptr;
}

const std::string* Domain::overridden(const std::string& alias, const std::string& property) const {
    for (const Override& entry : overrides) {
        if (!alias.empty() && entry.alias == alias && entry.property == property) {
            return &entry.value;
        }
    }
    return nullptr;
}

std::string name_of(const Domain& domain, const ProtectedDisk& disk) {
    return "domain '" + domain.name + "', disk '" + disk.target + "'";
}

Result<Domain> parse_domain(const std::string& text) {
    TRY_ASSIGN(const xml::Document document, xml::Document::parse(text));
    const xml::Node root = document.root();
    if (root.name() != "domain") {
        return Error{EINVAL, "what came on standard input is no domain's XML: libvirt runs this program as a hook"};
    }
    Domain domain;
    domain.name = root.child("name").text();
    domain.uuid = root.child("uuid").text();
    if (domain.name.empty() || domain.name.find('/') != std::string::npos) {
        return Error{EINVAL, "the domain's XML has no usable <name>"};
    }
    if (const xml::Node access = root.child("memoryBacking").child("access")) {
        domain.shared_memory = access.attribute("mode") == "shared";
    }
    parse_devices(root.child("devices"), domain);
    parse_qemu(root, domain);
    parse_labels(root, domain);
    TRY_ASSIGN(domain.protected_disks, parse_metadata(domain.name, root.child("metadata")));
    TRY(check_targets(domain));
    return domain;
}

}  // namespace predsnap::hook
