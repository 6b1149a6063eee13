// SPDX-License-Identifier: GPL-2.0-or-later
//
// What `predsnapd evaluate` prints.
#pragma once

#include "evaluate.h"

namespace predsnap::predict {

void print_text(const TraceReport& report);
// All of it, under one object.
std::string to_json(const std::vector<TraceReport>& reports);
// SVG files in the folder, which is made: precision by recall, calibration, heat map; of each target.
Result<void> plot(const TraceReport& report, const std::string& folder);

}  // namespace predsnap::predict
