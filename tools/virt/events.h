// SPDX-License-Identifier: GPL-2.0-or-later
//
// The event loop that libvirt needs to tell what happens.
#pragma once

#include "connection.h"

namespace predsnap::virt {

// To be called once, before the first connection is opened: libvirt's own event loop, run by a thread that
// lives as long as the program. Programs with another loop register that instead.
Result<void> run_event_loop();

}  // namespace predsnap::virt
