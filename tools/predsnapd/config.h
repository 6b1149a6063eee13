// SPDX-License-Identifier: GPL-2.0-or-later
//
// The daemon's options, and the files they come from: a configuration file, and drop-in files that name disks
// (tools/services/predsnapd.conf describes the format).
#pragma once

#include <string>
#include <vector>

#include "disk_watch.h"

namespace predsnap::predict {

struct DaemonOptions {
    std::string state = "/var/lib/predsnapd";
    std::vector<DiskConfig> disks;
    std::string drop_ins;  // folder of further files *.conf that name disks; empty: none
    std::string libvirt;   // URI of the connection whose domains are watched; empty: none
    std::string metrics;   // where metrics are served: see metrics_server.h; empty: nowhere
    int64_t tick_us = 10 * kSecond;
    int64_t train_every_us = 600 * kSecond;
    int64_t horizon_us = 60 * kSecond;  // of what the driver is told
    size_t ranges_max = 4096;
    bool once = false;     // reads the logs, trains, tells, and ends
    bool dry_run = false;  // tells nobody
    bool json = false;     // prints what is told, an object a line
};

// Adds what the file says. Errors name the file, the group and the key.
Result<void> read_config(const std::string& path, DaemonOptions& options);
// A drop-in file: disks, nothing else.
Result<std::vector<DiskConfig>> read_disks(const std::string& path);
// "name=...,log=...", as on the command line.
Result<DiskConfig> parse_disk(const std::string& text);
// How critical an application is: a whole number from 0 to 10.
Result<int> parse_weight(const std::string& text);
// Whether all of it makes sense together.
Result<void> check(const DaemonOptions& options);

}  // namespace predsnap::predict
