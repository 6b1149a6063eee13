// SPDX-License-Identifier: GPL-2.0-or-later
//
// Way daemon: a qemu-storage-daemon for each disk, that serves it over vhost-user to the domain's QEMU. It runs as QEMU's user,
// under a keeper (keeper.h) that starts it again when it dies. Who lives is known by locks, not by process ids:
//
//   RUN/daemons/DOMAIN-TARGET.pid   root's; the keeper holds a lock on it while it lives, its process id is in it
//   RUN/DOMAIN/TARGET.qmp           the daemon's monitor
//   RUN/DOMAIN/TARGET.ready         there while the daemon serves
//   LOG/DOMAIN/TARGET-daemon.log    what keeper and daemon say
#pragma once

#include <string>

#include "config.h"
#include "domain.h"

namespace predsnap::hook {

// Where the daemon of a disk listens for QMP.
std::string monitor_of(const Config& config, const Domain& domain, const ProtectedDisk& disk);

// Serving when this returns. One that lives is left alone if it was started with the same arguments, else ended first, unless the
// domain runs. Errors name domain and disk, and say what the daemon said.
Result<void> start_daemon(const Config& config, const Domain& domain, const ProtectedDisk& disk, const Owner& owner,
                          bool domain_runs);

// Ends the daemons of a domain in order, so that their images are closed well, and removes what is theirs. Does what it can; the
// first error.
Result<void> stop_daemons(const Config& config, const std::string& domain);

}  // namespace predsnap::hook
