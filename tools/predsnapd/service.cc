// SPDX-License-Identifier: GPL-2.0-or-later
#include "service.h"

#include <glib.h>
#include <systemd/sd-daemon.h>

#include <cinttypes>

namespace predsnap::predict {

void service_ready(const char* status) { sd_notifyf(0, "READY=1\nSTATUS=%s", status); }

void service_reloading() { sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, g_get_monotonic_time()); }

void service_stopping() { sd_notify(0, "STOPPING=1\nSTATUS=Stopping"); }

void service_watch() {
    uint64_t interval_us = 0;
    if (sd_watchdog_enabled(0, &interval_us) <= 0) {
        return;
    }
    // Three times as often as it has to be: a tick may take a while.
    g_timeout_add(static_cast<guint>(interval_us / 3000), [](void*) -> gboolean {
        sd_notify(0, "WATCHDOG=1");
        return G_SOURCE_CONTINUE;
    }, nullptr);
}

}  // namespace predsnap::predict
