// SPDX-License-Identifier: GPL-2.0-or-later
//
// Jobs of QEMU's.
#pragma once

#include <string>

#include "monitor.h"

namespace predsnap::qmp {

// As query-jobs has it; nothing if there is none.
Result<Json> find_job(Monitor& monitor, const std::string& id);

}  // namespace predsnap::qmp
