// SPDX-License-Identifier: GPL-2.0-or-later
//
// A process that keeps a storage daemon running: `qemu --keep READY SOCKET -- PROGRAM ARGUMENTS...`. Guests whose disk has
// <reconnect> wait meanwhile. It is the hook's program in another role, and has already become QEMU's user.
#pragma once

namespace predsnap::hook {

// The lock that says it lives is on this inherited descriptor.
inline constexpr int kKeeperLockFd = 3;

// arguments: those after --keep. Ends, with the daemon, on SIGTERM; at once with status 1 if the daemon's first start fails.
int keep_running(int count, char** arguments);

}  // namespace predsnap::hook
