// SPDX-License-Identifier: GPL-2.0-or-later
#include "node.h"

#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "programs.h"
#include "tools/qmp/json.h"

namespace predsnap::hook {
namespace {

// A file, or a block device, as a node.
Json file_node(const std::string& path, bool direct) {
    struct stat found;
    const bool device = stat(path.c_str(), &found) == 0 && S_ISBLK(found.st_mode);
    JsonMap node;
    node.set("driver", device ? "host_device" : "file").set("filename", path);
    if (direct) {
        node.set("cache", JsonMap().set("direct", true).done());
    }
    return node.done();
}

void set_given(JsonMap& map, const char* name, const std::optional<int64_t>& value) {
    if (value.has_value()) {
        map.set(name, *value);
    }
}

Json retention(const std::vector<RetentionRule>& rules) {
    JsonList list;
    for (const RetentionRule& rule : rules) {
        list.add(JsonMap().set("every", rule.every_s).set("for", rule.for_s).done());
    }
    return list.done();
}

// Path of the file that a node, given inline, keeps its image in; other nodes may lie between (luks, throttle).
std::string filename_of(Json node) {
    for (int depth = 0; node && depth < 8; ++depth) {
        if (const std::string name = node["filename"].string(); !name.empty()) {
            return name;
        }
        node = node["file"];
    }
    return "";
}

struct Blockdev {
    std::string driver, node, filename;
};

// Nothing for arguments that are not JSON: `-blockdev driver=...` says the same in a form that libvirt users do not need.
Blockdev parse_blockdev(const std::string& argument) {
    const Result<Json> parsed = Json::parse(argument);
    if (!parsed.ok() || !parsed.value().is_object()) {
        return {};
    }
    const Json& node = parsed.value();
    return {node["driver"].string(), node["node-name"].string(), filename_of(node)};
}

Result<void> check_emulator(const Domain& domain) {
    const Result<std::string> version = run_program({domain.emulator, "--version"});
    if (version.ok() && version.value().find("predsnap") != std::string::npos) {
        return {};
    }
    return Error{ENOENT, "the emulator " + domain.emulator + (version.ok() ? " has no predsnap driver" : " does not run: " +
                         version.error().message) + ". Set <emulator> to the QEMU of the package qemu-predsnap "
                         "(/opt/predsnap/bin/qemu-system-x86_64)"};
}

}  // namespace

// The order of the members is that in which they were always written: `virsh edit` shows it, and a changed one would be another
// daemon (storage_daemon.cc).
std::string node_json(const ProtectedDisk& disk, const std::optional<std::string>& backing, bool direct) {
    JsonMap node;
    node.set("driver", "predsnap").set("node-name", disk.node).set("discard", "unmap").set("file", file_node(disk.image, direct));
    if (backing.has_value()) {
        node.set("backing", *backing);
    } else {
        node.set("backing", Json());
    }
    if (!disk.capacity.empty()) {
        node.set("capacity", file_node(disk.capacity, direct));
    }
    if (!disk.access_log.empty()) {
        node.set("access-log", disk.access_log);
    }
    set_given(node, "cdp-window", disk.window_s);
    set_given(node, "cdp-bytes", disk.history_bytes);
    if (!disk.retention.empty()) {
        node.set("retention", retention(disk.retention));
    }
    set_given(node, "staging-bytes", disk.staging_bytes);
    set_given(node, "weight", disk.weight);
    return node.done().text();
}

std::vector<std::string> daemon_nodes(const ProtectedDisk& disk) {
    std::vector<std::string> nodes;
    if (!disk.base.empty()) {
        const Json file = file_node(disk.base, false);
        nodes.push_back(JsonMap().set("driver", disk.base_format).set("node-name", "base").set("read-only", true).set("file", file).done().text());
    }
    nodes.push_back(node_json(disk, disk.base.empty() ? std::nullopt : std::optional<std::string>("base"), false));
    return nodes;
}

Result<void> check_command_line(const Domain& domain, const ProtectedDisk& disk) {
    const std::string remedy = "; `predsnap protect " + domain.name + " --disk " + disk.target + " --way start` writes it";
    bool found = false;
    for (const std::string& argument : domain.qemu_args) {
        const Blockdev blockdev = parse_blockdev(argument);
        if (blockdev.driver == "predsnap" && blockdev.node == disk.node) {
            if (blockdev.filename != disk.image) {
                return Error{EINVAL, "<qemu:commandline> opens node " + disk.node + " over " + blockdev.filename +
                                         ", the metadata says " + disk.image};
            }
            found = true;
        }
    }
    if (!found) {
        return Error{EINVAL, "<qemu:commandline> has no -blockdev with driver predsnap and node-name " + disk.node +
                                 ", so the guest would not see what is in " + disk.image + remedy};
    }
    const std::string* drive = domain.overridden(domain.find_disk(disk.target)->alias, "drive");
    if (drive == nullptr || *drive != disk.node) {
        return Error{EINVAL, "<qemu:override> does not set drive of device " + domain.find_disk(disk.target)->alias + " to " +
                                 disk.node + ", so the guest would write past " + disk.image + remedy};
    }
    return {};
}

bool names_node(const std::string& argument, const std::string& node) {
    const Blockdev blockdev = parse_blockdev(argument);
    return !blockdev.node.empty() && blockdev.node == node;
}

Result<void> check_node(const Domain& domain, const ProtectedDisk& disk) {
    Result<void> checked = check_emulator(domain);
    if (checked.ok()) {
        checked = check_command_line(domain, disk);
    }
    return checked.ok() ? checked : Error{checked.error().code, name_of(domain, disk) + ": " + checked.error().message};
}

Result<void> prepare_access_log(const ProtectedDisk& disk, const Owner& owner) {
    if (disk.access_log.empty()) {
        return {};
    }
    return make_folder(folder_of(disk.access_log), 0750, owner.user, owner.group);
}

}  // namespace predsnap::hook
