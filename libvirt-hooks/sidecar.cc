// SPDX-License-Identifier: GPL-2.0-or-later
#include "sidecar.h"

#include <glib.h>
#include <mntent.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "files.h"
#include "storage_daemon.h"

namespace predsnap::hook {
namespace {

constexpr char kSuffix[] = ".conf";

std::string folder(const Config& config) { return config.run + "/disks.d"; }

// Values of a key file end at the line's end; a backslash begins an escape.
void set(GKeyFile* file, const std::string& group, const char* key, const std::string& value) {
    g_key_file_set_string(file, group.c_str(), key, value.c_str());
}

std::string content_for(const Config& config, const Domain& domain, const ProtectedDisk& disk) {
    GKeyFile* file = g_key_file_new();
    const std::string group = "disk " + domain.name + "-" + disk.target;
    set(file, group, "node", disk.node);
    if (disk.way == Way::kDaemon || !disk.monitor.empty()) {
        set(file, group, "qmp", monitor_of(config, domain, disk));
    } else {
        set(file, group, "domain", domain.name);  // through libvirt
    }
    if (!disk.access_log.empty()) {
        set(file, group, "log", disk.access_log);
    }
    if (disk.weight.has_value()) {
        set(file, group, "weight", std::to_string(*disk.weight));
    }
    char* text = g_key_file_to_data(file, nullptr, nullptr);
    const std::string content = "# Made by predsnap's libvirt hook, and gone with the domain's end.\n" + std::string(text);
    g_free(text);
    g_key_file_free(file);
    return content;
}

std::vector<std::string> fuse_mounts_below(const std::string& run) {
    std::vector<std::string> found;
    FILE* mounts = setmntent("/proc/self/mounts", "r");
    while (const mntent* entry = mounts != nullptr ? getmntent(mounts) : nullptr) {
        if (std::strncmp(entry->mnt_type, "fuse", 4) == 0 && std::string(entry->mnt_dir).starts_with(run + "/")) {
            found.emplace_back(entry->mnt_dir);
        }
    }
    if (mounts != nullptr) {
        endmntent(mounts);
    }
    return found;
}

}  // namespace

Result<void> announce(const Config& config, const Domain& domain, const ProtectedDisk& disk) {
    const std::string path = folder(config) + "/" + domain.name + "-" + disk.target + kSuffix;
    TRY(make_folder(folder(config), 0755, 0, 0));
    return write_atomically(path, content_for(config, domain, disk));
}

Result<void> retract(const Config& config, const std::string& domain) {
    Result<void> result;
    for (const std::string& name : files_of_domain(folder(config), domain, kSuffix)) {
        if (result.ok()) {
            result = remove_file(folder(config) + "/" + name);
        }
    }
    return result;
}

void drop_dead_mounts(const Config& config) {
    for (const std::string& point : fuse_mounts_below(config.run)) {
        struct statfs status;
        if (statfs(point.c_str(), &status) != 0 && errno == ENOTCONN) {
            umount2(point.c_str(), MNT_DETACH);
        }
    }
}

}  // namespace predsnap::hook
