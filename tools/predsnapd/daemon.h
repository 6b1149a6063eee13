// SPDX-License-Identifier: GPL-2.0-or-later
//
// The daemon: on each tick, of each disk, it reads what is new, and tells the driver what comes next. One
// thread beside it trains, one disk after the other, at the lowest priority; others speak with QEMU
// (courier.h), libvirt (libvirt_disks.h), and who reads the metrics (metrics_server.h).
#pragma once

#include <functional>

#include "config.h"

namespace predsnap::predict {

// Reads the options anew: the command line and the files it names.
using ReadOptions = std::function<Result<DaemonOptions>()>;

// Until a signal ends it. SIGHUP: disks and times are taken from new options; what is known of disks that stay
// is kept. Returns the program's status.
int run_daemon(const DaemonOptions& options, ReadOptions read_again);

}  // namespace predsnap::predict
