// SPDX-License-Identifier: GPL-2.0-or-later
#include "drop_ins.h"

#include <algorithm>
#include <cstdio>

namespace predsnap::predict {
namespace {

// What comes together is read together.
constexpr guint kSettleMs = 100;
constexpr char kSuffix[] = ".conf";

}  // namespace

DropIns::DropIns(std::string folder, std::function<void()> changed)
    : folder_(std::move(folder)), changed_(std::move(changed)) {
    GFile* file = g_file_new_for_path(folder_.c_str());
    GError* error = nullptr;
    monitor_ = g_file_monitor_directory(file, G_FILE_MONITOR_WATCH_MOVES, nullptr, &error);
    g_object_unref(file);
    if (monitor_ == nullptr) {
        std::fprintf(stderr, "predsnapd: %s cannot be watched (%s): send SIGHUP after changes\n", folder_.c_str(),
                     error->message);
        g_error_free(error);
        return;
    }
    g_signal_connect(monitor_, "changed", G_CALLBACK(notice), this);
}

DropIns::~DropIns() {
    if (soon_ != 0) {
        g_source_remove(soon_);
    }
    if (monitor_ != nullptr) {
        g_file_monitor_cancel(monitor_);
        g_object_unref(monitor_);
    }
}

void DropIns::notice(GFileMonitor*, GFile*, GFile*, GFileMonitorEvent, gpointer opaque) {
    auto* self = static_cast<DropIns*>(opaque);
    if (self->soon_ != 0) {
        return;
    }
    self->soon_ = g_timeout_add(kSettleMs, [](void* opaque) -> gboolean {
        auto* self = static_cast<DropIns*>(opaque);
        self->soon_ = 0;
        self->changed_();
        return G_SOURCE_REMOVE;
    }, self);
}

void DropIns::read() {
    std::map<std::string, File> files;
    GDir* folder = g_dir_open(folder_.c_str(), 0, nullptr);
    while (const char* name = folder != nullptr ? g_dir_read_name(folder) : nullptr) {
        if (g_str_has_suffix(name, kSuffix) == FALSE || name[0] == '.') {
            continue;
        }
        File& file = files[name];
        const File& before = files_[name];
        Result<std::vector<DiskConfig>> disks = read_disks(folder_ + "/" + name);
        file.error = disks.ok() ? "" : disks.error().message;
        file.disks = disks.ok() ? disks.take() : before.disks;
        if (!file.error.empty() && file.error != before.error) {
            std::fprintf(stderr, "predsnapd: %s\n", file.error.c_str());
        }
    }
    if (folder != nullptr) {
        g_dir_close(folder);
    }
    files_ = std::move(files);
}

std::vector<DiskConfig> DropIns::disks() const {
    std::vector<DiskConfig> all;
    for (const auto& [name, file] : files_) {
        all.insert(all.end(), file.disks.begin(), file.disks.end());
    }
    return all;
}

size_t DropIns::errors() const {
    return static_cast<size_t>(
        std::count_if(files_.begin(), files_.end(), [](const auto& entry) { return !entry.second.error.empty(); }));
}

}  // namespace predsnap::predict
