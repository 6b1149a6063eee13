// SPDX-License-Identifier: GPL-2.0-or-later
//
// Programs that the hook runs to their end.
#pragma once

#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::hook {

// What it printed. Errors: ECHILD, with what it said on its standard error; who calls says on whose behalf.
Result<std::string> run_program(const std::vector<std::string>& arguments);

}  // namespace predsnap::hook
