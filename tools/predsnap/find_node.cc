// SPDX-License-Identifier: GPL-2.0-or-later
#include "find_node.h"

#include <algorithm>
#include <set>

namespace predsnap {
namespace {

// The files of an image and of what lies below it.
std::set<std::string> files_of(Json image) {
    std::set<std::string> files;
    for (; image; image = image["backing-image"]) {
        files.insert(image["filename"].string());
    }
    return files;
}

// The predsnap node that a device's node is, or that lies below it. Empty if there is none.
std::string node_below(const Json& inserted, const Json& nodes) {
    if (inserted["drv"].string() == "predsnap") {
        return inserted["node-name"].string();
    }
    const std::set<std::string> files = files_of(inserted["image"]);
    for (size_t i = 0; i < nodes.size(); ++i) {
        if (nodes[i]["drv"].string() == "predsnap" && files.contains(nodes[i]["file"].string())) {
            return nodes[i]["node-name"].string();
        }
    }
    return "";
}

std::string list(const std::vector<DomainDisk>& disks) {
    std::string names;
    for (const DomainDisk& disk : disks) {
        names += (names.empty() ? "'" : ", '") + disk.target + "'";
    }
    return names;
}

}  // namespace

bool is_device(const Json& block, const std::string& alias) {
    const std::string path = "/" + block["qdev"].string() + "/";
    return !alias.empty() && (path.find("/" + alias + "/") != std::string::npos || block["device"].string() == alias);
}

Result<std::vector<std::string>> predsnap_nodes(qmp::Monitor& monitor, const std::string& name) {
    const Result<Json> answer = monitor.execute("query-predsnap");
    if (!answer.ok() && answer.error().code == qmp::kRefused) {
        return Error{ENOTSUP, name + " runs a QEMU without predsnap: " + answer.error().message};
    }
    TRY_ASSIGN(const Json nodes, answer);
    std::vector<std::string> names;
    for (size_t i = 0; i < nodes.size(); ++i) {
        names.push_back(nodes[i]["node-name"].string());
    }
    return names;
}

Result<DomainDisk> find_domain_disk(qmp::Monitor& monitor, const std::vector<virt::Disk>& disks, const std::string& wanted,
                                    const std::string& domain) {
    if (!wanted.empty()) {
        TRY(virt::choose_disk(disks, wanted, domain).discard());
    }
    TRY(predsnap_nodes(monitor, "domain '" + domain + "'").discard());
    TRY_ASSIGN(const Json blocks, monitor.execute("query-block"));
    TRY_ASSIGN(const Json nodes, monitor.execute("query-named-block-nodes"));
    std::vector<DomainDisk> found;
    for (const virt::Disk& disk : disks) {
        for (size_t i = 0; i < blocks.size(); ++i) {
            const std::string node = is_device(blocks[i], disk.alias) ? node_below(blocks[i]["inserted"], nodes) : "";
            if (node.empty()) {
                continue;
            }
            if (disk.target == wanted || disk.alias == wanted || disk.source == wanted) {
                return DomainDisk{disk.target, node};
            }
            found.push_back({disk.target, node});
        }
    }
    if (wanted.empty() && found.size() == 1) {
        return found[0];
    }
    if (found.empty()) {
        return Error{ENOENT, "domain '" + domain + "' has no disk with predsnap: put it on one with 'predsnap protect'"};
    }
    return wanted.empty()
               ? Error{EINVAL, "domain '" + domain + "' has several disks with predsnap, name one: " + list(found)}
               : Error{ENOENT, "disk '" + wanted + "' of domain '" + domain + "' has no predsnap: those that have are " + list(found)};
}

}  // namespace predsnap
