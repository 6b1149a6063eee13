// SPDX-License-Identifier: GPL-2.0-or-later
//
// The daemon: on each tick, of each disk, it reads what is new, and tells the driver what comes next. One
// thread beside it trains, one disk after the other, at the lowest priority.
#pragma once

#include <glib.h>

#include <memory>
#include <vector>

#include "disk_watch.h"

namespace predsnap::predict {

struct DaemonOptions {
    std::string state = "/var/lib/predsnapd";
    std::vector<DiskConfig> disks;
    int64_t tick_us = 10 * kSecond;
    int64_t train_every_us = 600 * kSecond;
    int64_t horizon_us = 60 * kSecond;  // of what the driver is told
    size_t ranges_max = 4096;
    bool once = false;     // reads the logs, trains, tells, and ends
    bool dry_run = false;  // tells nobody
    bool json = false;     // prints what is told, an object a line
};

// Until a signal ends it. Returns the program's status.
int run_daemon(const DaemonOptions& options);

}  // namespace predsnap::predict
