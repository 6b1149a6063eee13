// SPDX-License-Identifier: GPL-2.0-or-later
//
// A folder of drop-in files that name disks, each the work of somebody else (the libvirt hook, say), who adds,
// replaces and removes them while the daemon runs. The main loop's thread.
#pragma once

#include <gio/gio.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "config.h"

namespace predsnap::predict {

class DropIns {
  public:
    // `changed` is called, by the main loop, some time after the folder's content changed. The folder need not be
    // there yet.
    DropIns(std::string folder, std::function<void()> changed);
    ~DropIns();
    DropIns(const DropIns&) = delete;
    DropIns& operator=(const DropIns&) = delete;

    // Reads all files anew. One that cannot be read stands for what it said before: who wrote it may be about to
    // write it again. It is complained of once.
    void read();
    // In order of the files' names.
    std::vector<DiskConfig> disks() const;
    // Files that could not be read.
    size_t errors() const;

  private:
    struct File {
        std::vector<DiskConfig> disks;
        std::string error;
    };
    static void notice(GFileMonitor*, GFile*, GFile*, GFileMonitorEvent, gpointer self);

    const std::string folder_;
    const std::function<void()> changed_;
    GFileMonitor* monitor_ = nullptr;
    guint soon_ = 0;  // the source that will call changed_
    std::map<std::string, File> files_;
};

}  // namespace predsnap::predict
