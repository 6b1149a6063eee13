// SPDX-License-Identifier: GPL-2.0-or-later
#include "target.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "find_node.h"
#include "views.h"

namespace predsnap {
namespace {

constexpr unsigned kAnswerSeconds = 600;
constexpr char kImageNode[] = "disk";

std::string quoted(const std::string& word) {
    char* text = word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:@%+=-") == std::string::npos
                     ? g_strdup(word.c_str())
                     : g_shell_quote(word.c_str());
    std::string result = text;
    g_free(text);
    return result;
}

Json file_node(const std::string& path, bool read_only) {
    struct stat at_path {};
    const bool device = ::stat(path.c_str(), &at_path) == 0 && S_ISBLK(at_path.st_mode);
    JsonMap file;
    file.set("driver", device ? "host_device" : "file").set("filename", path).set("read-only", read_only);
    if (!read_only) {
        file.set("discard", "unmap");
    }
    return file.done();
}

bool says(const Error& error, const char* words) { return error.message.find(words) != std::string::npos; }

// The view that an image is open for, by the tool; empty if there is none.
std::string view_of(const std::string& path) {
    const auto views = load_views();
    struct stat image {}, viewed {};
    for (size_t i = 0; views.ok() && i < views.value().size(); ++i) {
        const ViewRecord& view = views.value()[i];
        if (view.background && ::stat(path.c_str(), &image) == 0 && ::stat(view.target.image.c_str(), &viewed) == 0 &&
            image.st_dev == viewed.st_dev && image.st_ino == viewed.st_ino && view.is_served()) {
            return view.id;
        }
    }
    return "";
}

// What is wrong with an image, in the tool's words.
Error explained(const std::string& path, const Error& error) {
    if (says(error, "lock")) {
        if (const std::string view = view_of(path); !view.empty()) {
            return Error{EBUSY, "a view of image '" + path + "' is open: close it with 'predsnap view close " + view + "'"};
        }
        const std::string users = users_of(path);
        return Error{EBUSY, "image '" + path + "' is in use" + (users.empty() ? " by another process" : " by " + users) +
                                ": name its libvirt domain (DOMAIN:DISK) or its monitor's socket instead, or end what uses it"};
    }
    if (says(error, "nknown driver") || says(error, "does not accept value 'predsnap'") || says(error, "Invalid parameter 'predsnap'")) {
        return Error{ENOTSUP, "this qemu-storage-daemon does not know predsnap: install QEMU with predsnap, or say where it is with "
                              "PREDSNAP_QEMU_BIN"};
    }
    return Error{error.code, "image '" + path + "': " + error.message};
}

Result<virt::Domain> find_domain(const TargetOptions& options) {
    const auto connection = virt::Connection::open(options.connect);
    const auto found = connection.ok() ? connection.value().find(options.domain) : Result<virt::Domain>(connection.error());
    if (!found.ok() && ::access(options.domain.c_str(), F_OK) == 0) {
        return Error{found.error().code, found.error().message + "\n(for the file '" + options.domain + "' say ./" + options.domain + ")"};
    }
    return found;
}

}  // namespace

Json image_node(const std::string& path, const std::string& capacity, Need need) {
    const bool read_only = need != Need::write;
    JsonMap node;
    node.set("driver", "predsnap").set("node-name", kImageNode).set("read-only", read_only);
    node.set("file", file_node(path, read_only));
    if (!capacity.empty()) {
        node.set("capacity", file_node(capacity, read_only));
    }
    if (need == Need::read) {
        node.set("backing", Json());  // null: what lies below does not matter, and may be in use
    }
    if (!read_only) {
        node.set("discard", "unmap");
    }
    return node.done();
}

Result<std::unique_ptr<Target>> Target::open(const TargetOptions& options, Need need) {
    std::unique_ptr<Target> target(new Target);
    if (!options.domain.empty()) {
        TRY(target->open_domain(options));
    } else if (!options.qmp.empty()) {
        TRY(target->open_socket(options));
    } else {
        TRY(target->open_image(options, need));
    }
    return target;
}

Result<void> Target::open_domain(const TargetOptions& options) {
    if (!options.capacity.empty()) {
        return Error{EINVAL, "--capacity is for an image: a running disk has its capacity image already"};
    }
    TRY_ASSIGN(domain_, find_domain(options));
    name_ = "domain '" + domain_->name() + "'";
    if (!domain_->active()) {
        return Error{ESHUTDOWN, name_ + " does not run: start it, or name the image of its disk (--image FILE)"};
    }
    own_monitor_ = std::make_unique<virt::DomainMonitor>(*domain_);
    monitor_ = own_monitor_.get();
    words_ = (options.connect.empty() ? "" : "-c " + quoted(options.connect) + " ") + quoted(domain_->name());
    if (!options.node.empty()) {
        words_ += " --node " + quoted(options.node);
        return choose_node(options.node);
    }
    TRY_ASSIGN(const std::vector<virt::Disk> disks, domain_->disks(virt::Xml::live));
    TRY_ASSIGN(const DomainDisk disk, find_domain_disk(*monitor_, disks, options.disk, domain_->name()));
    node_ = disk.node;
    name_ += ", disk '" + disk.target + "'";
    words_ += ":" + quoted(disk.target);
    return {};
}

Result<void> Target::open_socket(const TargetOptions& options) {
    if (!options.capacity.empty()) {
        return Error{EINVAL, "--capacity is for an image: a running disk has its capacity image already"};
    }
    auto client = std::make_unique<qmp::Client>(options.qmp, kAnswerSeconds);
    TRY(client->connect());
    own_monitor_ = std::move(client);
    monitor_ = own_monitor_.get();
    name_ = "monitor " + options.qmp;
    words_ = "--qmp " + quoted(options.qmp);
    TRY(choose_node(options.node));
    words_ += " --node " + quoted(node_);
    return {};
}

// The node that is named, or the only one.
Result<void> Target::choose_node(const std::string& wanted) {
    TRY_ASSIGN(const std::vector<std::string> nodes, predsnap_nodes(*monitor_, name_));
    std::string names;
    for (const std::string& node : nodes) {
        names += (names.empty() ? "'" : ", '") + node + "'";
        if (node == wanted || (wanted.empty() && nodes.size() == 1)) {
            node_ = node;
        }
    }
    if (nodes.empty()) {
        return Error{ENOENT, name_ + " has no predsnap node"};
    }
    if (node_.empty()) {
        return wanted.empty() ? Error{EINVAL, name_ + " has several predsnap nodes, name one with --node: " + names}
                              : Error{ENOENT, name_ + " has no predsnap node '" + wanted + "': it has " + names};
    }
    name_ += ", node '" + node_ + "'";
    return {};
}

Result<void> Target::open_image(const TargetOptions& options, Need need) {
    const std::string& path = options.image;
    if (::access(path.c_str(), F_OK) != 0) {
        return Error{errno, "image '" + path + "': " + std::strerror(errno)};
    }
    TRY_ASSIGN(daemon_, StorageDaemon::start());
    monitor_ = &daemon_->monitor();
    return add_image(options, need);
}

Result<std::unique_ptr<Target>> Target::open_in_background(const TargetOptions& options, const std::string& path) {
    std::unique_ptr<Target> target(new Target);
    TRY_ASSIGN(target->own_monitor_, StorageDaemon::start_in_background(path));
    target->monitor_ = target->own_monitor_.get();
    const Result<void> added = target->add_image(options, Need::read_content);
    if (!added.ok()) {
        static_cast<void>(target->plain("quit"));
        return added.error();
    }
    return target;
}

Result<void> Target::add_image(const TargetOptions& options, Need need) {
    const std::string& path = options.image;
    const Result<Json> added = plain("blockdev-add", image_node(path, options.capacity, need));
    if (!added.ok()) {
        return explained(path, added.error());
    }
    node_ = kImageNode;
    name_ = "image '" + path + "'";
    words_ = "--image " + quoted(path) + (options.capacity.empty() ? "" : " --capacity " + quoted(options.capacity));
    return {};
}

Result<Json> Target::execute(const std::string& command, JsonMap arguments) {
    arguments.set("node-name", node_);
    return monitor_->execute(command, arguments.done());
}

Result<Json> Target::query() {
    TRY_ASSIGN(const Json nodes, execute("query-predsnap"));
    TRY_ASSIGN(const Json newest, execute("predsnap-query-points", JsonMap().set("limit", 1).move()));
    if (newest.size() == 0) {
        return nodes[0];
    }
    JsonMap node;
    for (const std::string& name : nodes[0].members()) {
        node.set(name.c_str(), nodes[0][name.c_str()]);
    }
    return node.set("newest-point", newest[0]["time"].integer()).done();
}

}  // namespace predsnap
