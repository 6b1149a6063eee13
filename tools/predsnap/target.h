// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a command works on: the predsnap node of one disk, wherever it is open. The same words work on a
// disk of a libvirt domain, on a node of a monitor, and on an image that nobody uses, which a
// qemu-storage-daemon of the tool's own then opens. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "options.h"
#include "storage_daemon.h"
#include "tools/qmp/client.h"
#include "tools/virt/connection.h"

namespace predsnap {

// What an image is opened for; elsewhere it is open already.
enum class Need {
    read,          // its history
    read_content,  // also the disk's content: what lies below it is opened, too
    write,
};

class Target {
  public:
    // Errors name the target and the remedy: ENOENT for what is not there, EBUSY for an image in use.
    static Result<std::unique_ptr<Target>> open(const TargetOptions& options, Need need);
    // An image in a daemon that outlives the tool (StorageDaemon::start_in_background).
    static Result<std::unique_ptr<Target>> open_in_background(const TargetOptions& options, const std::string& path);

    qmp::Monitor& monitor() { return *monitor_; }
    // A command about the node: "node-name" is added to the arguments.
    Result<Json> execute(const std::string& command, JsonMap arguments = {});
    // A command that is about no node.
    Result<Json> plain(const std::string& command, const Json& arguments = {}) { return monitor_->execute(command, arguments); }
    // What query-predsnap says of the node; "newest-point" is the time of the newest state.
    Result<Json> query();

    const std::string& node() const { return node_; }
    // For messages: "domain 'vm1', disk 'vda'".
    const std::string& name() const { return name_; }
    // How the same target is named on the command line, quoted for a shell.
    const std::string& words() const { return words_; }
    // The domain, if it is one of libvirt's.
    const std::optional<virt::Domain>& domain() const { return domain_; }
    // A virtual machine may be using the disk: anything but an image opened by the tool itself.
    bool is_live() const { return daemon_ == nullptr; }

  private:
    Target() = default;
    Result<void> open_domain(const TargetOptions& options);
    Result<void> open_socket(const TargetOptions& options);
    Result<void> open_image(const TargetOptions& options, Need need);
    Result<void> add_image(const TargetOptions& options, Need need);
    Result<void> choose_node(const std::string& wanted);

    std::unique_ptr<StorageDaemon> daemon_;
    std::unique_ptr<qmp::Monitor> own_monitor_;
    qmp::Monitor* monitor_ = nullptr;  // one of these two's
    std::optional<virt::Domain> domain_;
    std::string node_, name_, words_;
};

// blockdev-add's description of an image, opened for that; "disk" is its node.
Json image_node(const std::string& path, const std::string& capacity, Need need);

}  // namespace predsnap
