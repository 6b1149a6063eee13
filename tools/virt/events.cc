// SPDX-License-Identifier: GPL-2.0-or-later
#include "events.h"

#include <glib.h>

namespace predsnap::virt {
Result<void> run_event_loop() {
    if (virEventRegisterDefaultImpl() < 0) {
        return failed("libvirt's event loop");
    }
    g_thread_unref(g_thread_new(
        "libvirt-events",
        [](void*) -> void* {
            while (virEventRunDefaultImpl() >= 0) {
            }
            return nullptr;
        },
        nullptr));
    return {};
}

}  // namespace predsnap::virt
