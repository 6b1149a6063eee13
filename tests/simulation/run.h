// SPDX-License-Identifier: GPL-2.0-or-later
//
// One run of the simulation: from a seed to a verdict.
#pragma once

#include <cstdint>
#include <string>

#include "coverage.h"

namespace predsnap::sim {

struct RunResult {
    std::string failure;  // empty: passed
    uint64_t trace_hash = 0;
    uint64_t steps = 0;
    Coverage coverage;
};

enum class Detail : uint8_t { none, operations, disk_requests };

RunResult run_seed(uint64_t seed, uint64_t steps, Detail detail);

}  // namespace predsnap::sim
