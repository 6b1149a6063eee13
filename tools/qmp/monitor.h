// SPDX-License-Identifier: GPL-2.0-or-later
//
// Whatever takes QMP commands: a socket (client.h), or a libvirt domain (tools/virt). One thread at a time.
#pragma once

#include <string>

#include "json.h"

namespace predsnap::qmp {

// The error code of what QEMU itself refused; its text is QEMU's. Any other code: it was not reached, or
// the connection was lost.
constexpr int kRefused = EPROTO;

class Monitor {
  public:
    virtual ~Monitor() = default;
    // Waits for the answer: what "return" holds. `arguments`: an object, or nothing.
    virtual Result<Json> execute(const std::string& command, const Json& arguments = {}) = 0;
};

}  // namespace predsnap::qmp
