// SPDX-License-Identifier: GPL-2.0-or-later
#include "config.h"

#include <glib.h>

#include <charconv>
#include <set>

namespace predsnap::predict {
namespace {

constexpr char kDiskPrefix[] = "disk ";
constexpr int kWeightMax = 10;

struct FreeKeyFile {
    void operator()(GKeyFile* file) const { g_key_file_free(file); }
};
using KeyFile = std::unique_ptr<GKeyFile, FreeKeyFile>;

std::vector<std::string> take(char** strings) {
    std::vector<std::string> list;
    for (char** next = strings; next != nullptr && *next != nullptr; ++next) {
        list.emplace_back(*next);
    }
    g_strfreev(strings);
    return list;
}

Result<int64_t> whole_number(const std::string& text) {
    int64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc() || end != text.data() + text.size()) {
        return Error{EINVAL, "'" + text + "' is no whole number"};
    }
    return value;
}

Result<void> set_member(DiskConfig& disk, const std::string& key, const std::string& value) {
    if (key == "weight") {
        TRY_ASSIGN(disk.weight, parse_weight(value));
        return {};
    }
    std::string* member = key == "name"     ? &disk.name
                          : key == "log"    ? &disk.log
                          : key == "qmp"    ? &disk.qmp
                          : key == "domain" ? &disk.domain
                          : key == "node"   ? &disk.node
                                            : nullptr;
    if (member == nullptr) {
        return Error{EINVAL, "'" + key + "' is none of name, log, qmp, domain, node, weight"};
    }
    *member = value;
    return {};
}

Result<void> set_seconds(int64_t& member, const std::string& value) {
    TRY_ASSIGN(const int64_t number, whole_number(value));
    member = number * kSecond;
    return {};
}

Result<void> set_daemon(DaemonOptions& options, const std::string& key, const std::string& value) {
    if (key == "tick") {
        return set_seconds(options.tick_us, value);
    }
    if (key == "train-every") {
        return set_seconds(options.train_every_us, value);
    }
    if (key == "horizon") {
        return set_seconds(options.horizon_us, value);
    }
    std::string* member = key == "state"      ? &options.state
                          : key == "metrics"  ? &options.metrics
                          : key == "drop-ins" ? &options.drop_ins
                          : key == "libvirt"  ? &options.libvirt
                                              : nullptr;
    if (member == nullptr) {
        return Error{EINVAL, "'" + key + "' is none of state, metrics, drop-ins, libvirt, tick, train-every, horizon"};
    }
    *member = value;
    return {};
}

template <typename Set>
Result<void> each_key(const std::string& path, GKeyFile* file, const std::string& group, Set set) {
    for (const std::string& key : take(g_key_file_get_keys(file, group.c_str(), nullptr, nullptr))) {
        char* value = g_key_file_get_string(file, group.c_str(), key.c_str(), nullptr);
        const Result<void> done = value != nullptr ? set(key, std::string(value)) : Error{EINVAL, "'" + key + "' has no value"};
        g_free(value);
        if (!done.ok()) {
            return Error{EINVAL, path + ": [" + group + "]: " + done.error().message};
        }
    }
    return {};
}

Result<KeyFile> load(const std::string& path) {
    KeyFile file(g_key_file_new());
    GError* error = nullptr;
    if (g_key_file_load_from_file(file.get(), path.c_str(), G_KEY_FILE_NONE, &error) == FALSE) {
        const std::string message = error->message;
        g_error_free(error);
        return Error{EINVAL, path + ": " + message};
    }
    return file;
}

Result<DiskConfig> read_disk(const std::string& path, GKeyFile* file, const std::string& group) {
    DiskConfig disk;
    disk.name = group.substr(sizeof(kDiskPrefix) - 1);
    TRY(each_key(path, file, group,
                 [&](const std::string& key, const std::string& value) { return set_member(disk, key, value); }));
    return disk;
}

Result<void> check(const DiskConfig& disk) {
    const bool reached = !disk.qmp.empty() || !disk.domain.empty();
    if (disk.name.empty() || (disk.log.empty() && !reached) || reached == disk.node.empty()) {
        return Error{EINVAL, "disk '" + disk.name + "': it needs a name, and a log, or node with qmp or domain, or both"};
    }
    if (disk.name.find('/') != std::string::npos || disk.name.starts_with('.')) {
        return Error{EINVAL, "disk '" + disk.name + "': its name is that of files: no slash in it, no dot before it"};
    }
    return {};
}

}  // namespace

Result<int> parse_weight(const std::string& text) {
    const Result<int64_t> weight = whole_number(text);
    if (!weight.ok() || weight.value() < 0 || weight.value() > kWeightMax) {
        return Error{EINVAL, "weight '" + text + "' is not from 0 to 10"};
    }
    return static_cast<int>(weight.value());
}

Result<void> read_config(const std::string& path, DaemonOptions& options) {
    TRY_ASSIGN(const KeyFile file, load(path));
    for (const std::string& group : take(g_key_file_get_groups(file.get(), nullptr))) {
        if (group.starts_with(kDiskPrefix)) {
            TRY_ASSIGN(DiskConfig disk, read_disk(path, file.get(), group));
            options.disks.push_back(std::move(disk));
        } else if (group == "daemon") {
            TRY(each_key(path, file.get(), group, [&](const std::string& key, const std::string& value) {
                return set_daemon(options, key, value);
            }));
        } else {
            return Error{EINVAL, path + ": group [" + group + "] is neither [daemon] nor [disk NAME]"};
        }
    }
    return {};
}

Result<std::vector<DiskConfig>> read_disks(const std::string& path) {
    TRY_ASSIGN(const KeyFile file, load(path));
    std::vector<DiskConfig> disks;
    for (const std::string& group : take(g_key_file_get_groups(file.get(), nullptr))) {
        if (!group.starts_with(kDiskPrefix)) {
            return Error{EINVAL, path + ": group [" + group + "] is not [disk NAME]"};
        }
        TRY_ASSIGN(DiskConfig disk, read_disk(path, file.get(), group));
        if (const Result<void> good = check(disk); !good.ok()) {
            return Error{EINVAL, path + ": " + good.error().message};
        }
        disks.push_back(std::move(disk));
    }
    return disks;
}

Result<DiskConfig> parse_disk(const std::string& text) {
    DiskConfig disk;
    for (const std::string& pair : take(g_strsplit(text.c_str(), ",", -1))) {
        const size_t equals = pair.find('=');
        const Result<void> done = equals == std::string::npos
                                      ? Error{EINVAL, "'" + pair + "' has no value"}
                                      : set_member(disk, pair.substr(0, equals), pair.substr(equals + 1));
        if (!done.ok()) {
            return Error{EINVAL, "--disk: " + done.error().message};
        }
    }
    return disk;
}

Result<void> check(const DaemonOptions& options) {
    if (options.tick_us < kSecond || options.train_every_us < kSecond) {
        return Error{EINVAL, "tick and train-every are at least 1"};
    }
    if (options.horizon_us != 10 * kSecond && options.horizon_us != 60 * kSecond && options.horizon_us != 600 * kSecond) {
        return Error{EINVAL, "horizon is 10, 60 or 600"};
    }
    std::set<std::string> names;
    for (const DiskConfig& disk : options.disks) {
        TRY(check(disk));
        if (!names.insert(disk.name).second) {
            return Error{EINVAL, "disk '" + disk.name + "' is named twice"};
        }
    }
    if (options.disks.empty() && options.drop_ins.empty() && options.libvirt.empty()) {
        return Error{EINVAL, "no disk is named, no folder of drop-in files, no libvirt: see --help"};
    }
    return {};
}

}  // namespace predsnap::predict
