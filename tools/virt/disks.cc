// SPDX-License-Identifier: GPL-2.0-or-later
#include "disks.h"

#include "xml.h"

namespace predsnap::virt {
namespace {

std::string source_of(xmlNode* source) {
    for (const char* name : {"file", "dev", "name", "volume", "path"}) {
        std::string value = attribute(source, name);
        if (!value.empty()) {
            return value;
        }
    }
    return "";
}

std::string names_of(const std::vector<Disk>& disks) {
    std::string names;
    for (const Disk& disk : disks) {
        names += (names.empty() ? "'" : ", '") + disk.target + "'";
    }
    return names.empty() ? "it has none" : "it has " + names;
}

}  // namespace

Result<std::vector<Disk>> disks_of(const std::string& domain_xml) {
    TRY_ASSIGN(const XmlDocument document, XmlDocument::parse(domain_xml));
    std::vector<Disk> disks;
    for (xmlNode* element : document.select("/domain/devices/disk")) {
        xmlNode* target = document.first("target", element);
        disks.push_back({.target = attribute(target, "dev"),
                         .device = attribute(element, "device"),
                         .source = source_of(document.first("source", element)),
                         .alias = attribute(document.first("alias", element), "name")});
    }
    return disks;
}

Result<Disk> choose_disk(const std::vector<Disk>& disks, const std::string& name, const std::string& domain) {
    const Disk* chosen = nullptr;
    size_t candidates = 0;
    for (const Disk& disk : disks) {
        const bool named = disk.target == name || disk.alias == name || (disk.source == name && !name.empty());
        if (name.empty() ? disk.device == "disk" || disk.device.empty() : named) {
            chosen = &disk;
            ++candidates;
        }
    }
    if (candidates == 1) {
        return *chosen;
    }
    if (name.empty() && candidates > 1) {
        return Error{EINVAL, "domain '" + domain + "' has several disks, name one: " + names_of(disks)};
    }
    return Error{ENOENT, "domain '" + domain + "' has no disk" + (name.empty() ? "" : " '" + name + "'") + ": " + names_of(disks)};
}

}  // namespace predsnap::virt
