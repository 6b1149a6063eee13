// SPDX-License-Identifier: GPL-2.0-or-later
#include "domain_disks.h"

#include <algorithm>

#include "config.h"
#include "tools/qmp/json.h"
#include "tools/virt/xml.h"

namespace predsnap::predict {
namespace {

constexpr char kDisks[] = "//*[local-name()='disks' and namespace-uri()='urn:predsnap:libvirt:1']"
                          "/*[local-name()='disk']";
constexpr char kBlockdevs[] = "//qemu:commandline/qemu:arg[preceding-sibling::qemu:arg[1]/@value='-blockdev']";

// --- metadata ---

std::string of_child(const virt::XmlDocument& document, xmlNode* disk, const char* child, const char* name) {
    const std::string path = "*[local-name()='" + std::string(child) + "']";
    return virt::attribute(document.first(path.c_str(), disk), name);
}

Result<DiskConfig> in_metadata(const std::string& domain, const virt::XmlDocument& document, xmlNode* element) {
    const std::string target = virt::attribute(element, "target");
    if (target.empty()) {
        return Error{EINVAL, "a disk has no target"};
    }
    DiskConfig disk;
    disk.name = domain + "-" + target;
    disk.node = virt::attribute(element, "node");
    disk.node = disk.node.empty() ? "predsnap-" + target : disk.node;
    disk.log = of_child(document, element, "access-log", "file");
    disk.qmp = of_child(document, element, "monitor", "socket");
    disk.domain = domain;
    if (const std::string weight = virt::attribute(element, "weight"); !weight.empty()) {
        TRY_ASSIGN(disk.weight, parse_weight(weight));
    }
    if (disk.qmp.empty() && virt::attribute(element, "way") == "daemon") {
        disk.domain.clear();
        disk.node.clear();
    }
    return disk;
}

// --- command line ---

// Of "driver=predsnap,node-name=disk0,...", where a comma in a value is doubled.
std::string value_of(const std::string& options, const std::string& key) {
    size_t begin = 0;
    while (begin < options.size()) {
        std::string option;
        size_t end = begin;
        for (; end < options.size() && (options[end] != ',' || options.substr(end, 2) == ",,"); ++end) {
            option += options[end];
            end += options[end] == ',' ? 1 : 0;
        }
        if (option.starts_with(key + "=")) {
            return option.substr(key.size() + 1);
        }
        begin = end + 1;
    }
    return "";
}

// A node without a name has none that it can be spoken of by.
void add_node(const std::string& domain, const std::string& blockdev, std::vector<DiskConfig>& disks) {
    std::string driver, node, log;
    if (blockdev.starts_with('{')) {
        const Result<Json> json = Json::parse(blockdev);
        const Json options = json.ok() ? json.value() : Json();
        driver = options["driver"].string();
        node = options["node-name"].string();
        log = options["access-log"].string();
    } else {
        driver = value_of(blockdev, "driver");
        node = value_of(blockdev, "node-name");
        log = value_of(blockdev, "access-log");
        if (driver.empty()) {
            driver = blockdev.substr(0, blockdev.find(','));  // which may stand alone
        }
    }
    const bool known = std::any_of(disks.begin(), disks.end(), [&](const DiskConfig& disk) { return disk.node == node; });
    if (driver == "predsnap" && !node.empty() && !known) {
        disks.push_back({.name = domain + "-" + node, .log = log, .qmp = "", .domain = domain, .node = node});
    }
}

}  // namespace

Result<std::vector<DiskConfig>> disks_of_domain(const std::string& domain, const std::string& xml) {
    TRY_ASSIGN(const virt::XmlDocument document, virt::XmlDocument::parse(xml));
    std::vector<DiskConfig> disks;
    for (xmlNode* element : document.select(kDisks)) {
        Result<DiskConfig> disk = in_metadata(domain, document, element);
        if (!disk.ok()) {
            return Error{EINVAL, "domain '" + domain + "', metadata: " + disk.error().message};
        }
        if (!disk.value().log.empty() || !disk.value().node.empty()) {
            disks.push_back(disk.take());
        }
    }
    for (xmlNode* argument : document.select(kBlockdevs)) {
        add_node(domain, virt::attribute(argument, "value"), disks);
    }
    return disks;
}

}  // namespace predsnap::predict
