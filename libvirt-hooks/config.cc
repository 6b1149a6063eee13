// SPDX-License-Identifier: GPL-2.0-or-later
#include "config.h"

#include <glib.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <vector>

#include "files.h"

namespace predsnap::hook {
namespace {

constexpr char kDefaultFile[] = "/etc/predsnap/hook.conf";
constexpr char kQemuConf[] = "/etc/libvirt/qemu.conf";
constexpr char kGroup[] = "hook";

struct FreeKeyFile {
    void operator()(GKeyFile* file) const { g_key_file_free(file); }
};

Error wrong(const std::string& path, const std::string& why) { return Error{EINVAL, path + ": " + why}; }

Result<void> set(Config& config, const std::string& path, const std::string& key, const std::string& value) {
    if (key == "start-timeout") {
        config.start_timeout_s = std::atoi(value.c_str());
        return config.start_timeout_s > 0 ? Result<void>()
                                          : wrong(path, "start-timeout is a number of seconds, at least 1");
    }
    std::string* member = key == "prefix"  ? &config.prefix
                          : key == "user"  ? &config.user
                          : key == "group" ? &config.group
                          : key == "run"   ? &config.run
                          : key == "log"   ? &config.log
                                           : nullptr;
    if (member == nullptr) {
        return wrong(path, "'" + key + "' is not known: there are prefix, user, group, run, log, start-timeout");
    }
    *member = value;
    return {};
}

Result<Config> read(const std::string& path) {
    Config config;
    const std::unique_ptr<GKeyFile, FreeKeyFile> file(g_key_file_new());
    GError* error = nullptr;
    if (g_key_file_load_from_file(file.get(), path.c_str(), G_KEY_FILE_NONE, &error) == FALSE) {
        const std::string why = error->message;
        g_error_free(error);
        return wrong(path, why);
    }
    char** keys = g_key_file_get_keys(file.get(), kGroup, nullptr, nullptr);
    Result<void> result;
    for (char** key = keys; key != nullptr && *key != nullptr && result.ok(); ++key) {
        char* value = g_key_file_get_string(file.get(), kGroup, *key, nullptr);
        result = set(config, path, *key, value != nullptr ? value : "");
        g_free(value);
    }
    g_strfreev(keys);
    TRY(result);
    return config;
}

// `key = "value"` of libvirt's own configuration.
std::string qemu_conf(const std::string& key) {
    std::ifstream file(kQemuConf);
    std::string found;
    for (std::string line; std::getline(file, line);) {
        size_t at = line.find_first_not_of(" \t");
        if (at == std::string::npos || line.compare(at, key.size(), key) != 0) {
            continue;
        }
        at = line.find_first_not_of(" \t", at + key.size());
        const size_t open = line.find_first_of("\"'");
        const size_t close = open == std::string::npos ? open : line.find(line[open], open + 1);
        if (at != std::string::npos && line[at] == '=' && close != std::string::npos) {
            found = line.substr(open + 1, close - open - 1);
        }
    }
    return found;
}

// libvirt's notation: a name, or a number, which a plus makes a number for sure.
bool parse_id(const std::string& text, uint32_t& id) {
    const char* digits = text.c_str() + (text.starts_with("+") ? 1 : 0);
    char* end = nullptr;
    const unsigned long value = std::strtoul(digits, &end, 10);
    id = static_cast<uint32_t>(value);
    return end != digits && *end == '\0';
}

bool find_user(const std::string& name, Owner& owner) {
    const passwd* entry = nullptr;
    if (const bool numeric = parse_id(name, owner.user); numeric) {
        entry = getpwuid(owner.user);
        if (entry == nullptr) {
            return true;
        }
    } else if (entry = getpwnam(name.c_str()); entry == nullptr) {
        return false;
    }
    owner.user = entry->pw_uid;
    owner.group = entry->pw_gid;
    owner.name = entry->pw_name;
    return true;
}

bool find_group(const std::string& name, Owner& owner) {
    if (parse_id(name, owner.group)) {
        return true;
    }
    const group* entry = getgrnam(name.c_str());
    if (entry != nullptr) {
        owner.group = entry->gr_gid;
    }
    return entry != nullptr;
}

Result<Owner> look_up(const std::string& user, const std::string& group, const std::string& where) {
    Owner owner;
    if (!find_user(user, owner)) {
        return Error{ENOENT, "user '" + user + "' of " + where + " does not exist on this host"};
    }
    if (!group.empty() && !find_group(group, owner)) {
        return Error{ENOENT, "group '" + group + "' of " + where + " does not exist on this host"};
    }
    return owner;
}

}  // namespace

Result<Config> Config::load() {
    const char* named = std::getenv("PREDSNAP_HOOK_CONF");
    const std::string path = named != nullptr ? named : kDefaultFile;
    Config config;
    if (named != nullptr || access(path.c_str(), F_OK) == 0) {
        TRY_ASSIGN(config, read(path));
    }
    return config;
}

Result<std::string> Config::program(const std::string& name) const {
    std::vector<std::string> folders;
    if (!prefix.empty()) {
        folders = {prefix + "/bin"};
    } else {
        const std::string beside = folder_of(own_program());
        const std::string above = folder_of(beside);
        // Installed together; in a build folder, where this lies one or two levels down; or as the package has it.
        folders = {beside, above + "/bin", above + "/qemu/bin", folder_of(above) + "/qemu/bin", "/opt/predsnap/bin"};
    }
    std::string looked;
    for (const std::string& folder : folders) {
        const std::string path = folder + "/" + name;
        if (access(path.c_str(), X_OK) == 0) {
            return path;
        }
        looked += (looked.empty() ? "" : ", ") + folder;
    }
    return Error{ENOENT, name + " with the predsnap driver is not in " + looked +
                             ": install the package qemu-predsnap, or set prefix in " + kDefaultFile};
}

Result<Owner> Config::owner(const Domain& domain) const {
    if (!domain.dac_label.empty()) {
        const size_t colon = domain.dac_label.find(':');
        return look_up(domain.dac_label.substr(0, colon),
                       colon == std::string::npos ? "" : domain.dac_label.substr(colon + 1),
                       "the domain's <seclabel model='dac'>");
    }
    if (!user.empty()) {
        return look_up(user, group, kDefaultFile);
    }
    if (const std::string configured = qemu_conf("user"); !configured.empty()) {
        return look_up(configured, qemu_conf("group"), kQemuConf);
    }
    for (const char* usual : {"libvirt-qemu", "qemu"}) {
        Owner owner;
        if (find_user(usual, owner)) {
            // Debian builds libvirt to run QEMU in this group.
            find_group(qemu_conf("group").empty() ? "kvm" : qemu_conf("group"), owner);
            return owner;
        }
    }
    return Owner{};
}

}  // namespace predsnap::hook
