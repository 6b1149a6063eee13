// SPDX-License-Identifier: GPL-2.0-or-later
//
// Events of QEMU's monitors, through libvirt.
#pragma once

#include <glib.h>

#include <memory>
#include <optional>
#include <string>

#include "connection.h"
#include "tools/qmp/json.h"

namespace predsnap::virt {

// To be called once, before the first connection is opened: libvirt's own event loop, run by a thread that
// lives as long as the program. Programs with another loop register that instead.
Result<void> run_event_loop();

struct MonitorEvent {
    std::string domain, name;  // of the domain, and of the event
    int64_t time_us = 0;       // when it happened
    Json data;                 // nothing if there is none
};

// Gathers events from when it is made. Any thread. Needs an event loop.
class MonitorEvents {
  public:
    // Of one domain, or of all (null); `pattern`: a regular expression over event names, "^PREDSNAP_", say.
    static Result<std::unique_ptr<MonitorEvents>> watch(const Connection& connection, const Domain* domain,
                                                        const std::string& pattern);
    ~MonitorEvents();
    // The oldest not yet taken; nothing if none comes in time.
    std::optional<MonitorEvent> next(int64_t timeout_us);

  private:
    explicit MonitorEvents(Connection connection);
    const Connection connection_;
    int id_ = -1;          // of the registration
    GAsyncQueue* queue_;   // of MonitorEvent*; libvirt has a reference, too, until it calls no more
};

}  // namespace predsnap::virt
