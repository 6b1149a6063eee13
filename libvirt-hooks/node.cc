// SPDX-License-Identifier: GPL-2.0-or-later
#include "node.h"

#include <json-glib/json-glib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "files.h"
#include "programs.h"

namespace predsnap::hook {
namespace {

struct Unref {
    void operator()(gpointer object) const { g_object_unref(object); }
};

std::string to_text(JsonBuilder* builder) {
    JsonNode* root = json_builder_get_root(builder);
    char* made = json_to_string(root, FALSE);
    std::string text = made;
    g_free(made);
    json_node_unref(root);
    return text;
}

// Adds members to the object under construction.
class Members {
  public:
    explicit Members(JsonBuilder* builder) : builder_(builder) {}

    Members& add(const char* name, const std::string& value) {
        json_builder_set_member_name(builder_, name);
        json_builder_add_string_value(builder_, value.c_str());
        return *this;
    }
    Members& add(const char* name, const std::optional<int64_t>& value) {
        if (value.has_value()) {
            json_builder_set_member_name(builder_, name);
            json_builder_add_int_value(builder_, *value);
        }
        return *this;
    }
    Members& flag(const char* name, bool value) {
        json_builder_set_member_name(builder_, name);
        json_builder_add_boolean_value(builder_, value ? TRUE : FALSE);
        return *this;
    }
    Members& null(const char* name) {
        json_builder_set_member_name(builder_, name);
        json_builder_add_null_value(builder_);
        return *this;
    }
    // A file, or a block device, as a node.
    Members& file(const char* name, const std::string& path, bool direct = false) {
        struct stat found;
        const bool device = stat(path.c_str(), &found) == 0 && S_ISBLK(found.st_mode);
        json_builder_set_member_name(builder_, name);
        json_builder_begin_object(builder_);
        add("driver", device ? "host_device" : "file").add("filename", path);
        if (direct) {
            json_builder_set_member_name(builder_, "cache");
            json_builder_begin_object(builder_);
            flag("direct", true);
            json_builder_end_object(builder_);
        }
        json_builder_end_object(builder_);
        return *this;
    }
    Members& retention(const std::vector<RetentionRule>& rules) {
        if (rules.empty()) {
            return *this;
        }
        json_builder_set_member_name(builder_, "retention");
        json_builder_begin_array(builder_);
        for (const RetentionRule& rule : rules) {
            json_builder_begin_object(builder_);
            add("every", std::optional(rule.every_s)).add("for", std::optional(rule.for_s));
            json_builder_end_object(builder_);
        }
        json_builder_end_array(builder_);
        return *this;
    }

  private:
    JsonBuilder* builder_;
};

template <typename Fill>
std::string object(Fill fill) {
    const std::unique_ptr<JsonBuilder, Unref> builder(json_builder_new());
    json_builder_begin_object(builder.get());
    fill(Members(builder.get()));
    json_builder_end_object(builder.get());
    return to_text(builder.get());
}

const char* string_member(JsonObject* object, const char* name) {
    JsonNode* node = json_object_get_member(object, name);
    return node != nullptr && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : "";
}

// Path of the file that a node, given inline, keeps its image in; other nodes may lie between (luks, throttle).
std::string filename_of(JsonObject* node) {
    for (int depth = 0; node != nullptr && depth < 8; ++depth) {
        if (const std::string name = string_member(node, "filename"); !name.empty()) {
            return name;
        }
        JsonNode* file = json_object_get_member(node, "file");
        node = file != nullptr && JSON_NODE_HOLDS_OBJECT(file) ? json_node_get_object(file) : nullptr;
    }
    return "";
}

struct Blockdev {
    std::string driver, node, filename;
};

// Nothing for arguments that are not JSON: `-blockdev driver=...` says the same in a form that libvirt users do not need.
Blockdev parse_blockdev(const std::string& argument) {
    const std::unique_ptr<JsonParser, Unref> parser(json_parser_new());
    Blockdev found;
    if (json_parser_load_from_data(parser.get(), argument.data(), static_cast<gssize>(argument.size()), nullptr) == FALSE) {
        return found;
    }
    JsonNode* root = json_parser_get_root(parser.get());
    if (root != nullptr && JSON_NODE_HOLDS_OBJECT(root)) {
        JsonObject* object = json_node_get_object(root);
        found = {string_member(object, "driver"), string_member(object, "node-name"), filename_of(object)};
    }
    return found;
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

std::string node_json(const ProtectedDisk& disk, const std::optional<std::string>& backing, bool direct) {
    return object([&](Members members) {
        members.add("driver", "predsnap").add("node-name", disk.node).add("discard", "unmap");
        members.file("file", disk.image, direct);
        if (backing.has_value()) {
            members.add("backing", *backing);
        } else {
            members.null("backing");
        }
        if (!disk.capacity.empty()) {
            members.file("capacity", disk.capacity, direct);
        }
        if (!disk.access_log.empty()) {
            members.add("access-log", disk.access_log);
        }
        members.add("cdp-window", disk.window_s).add("cdp-bytes", disk.history_bytes).retention(disk.retention);
        members.add("staging-bytes", disk.staging_bytes).add("weight", disk.weight);
    });
}

std::vector<std::string> daemon_nodes(const ProtectedDisk& disk) {
    std::vector<std::string> nodes;
    if (!disk.base.empty()) {
        nodes.push_back(object([&](Members members) {
            members.add("driver", disk.base_format).add("node-name", "base").flag("read-only", true).file("file", disk.base);
        }));
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
