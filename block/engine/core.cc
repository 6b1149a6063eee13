// SPDX-License-Identifier: GPL-2.0-or-later
#include "core.h"

namespace predsnap {

Error corruption(Core& core, uint64_t offset, uint64_t length, std::string message) {
    {
        std::lock_guard lock(core.mutex);
        core.corrupt = true;
        ++core.stats.checksum_errors;
    }
    core.host.report(Event::corruption, offset, length, message);
    return Error{EIO, std::move(message)};
}

}  // namespace predsnap
