// SPDX-License-Identifier: GPL-2.0-or-later
//
// The engine's counters and state, under the names they have in query-predsnap.
#pragma once

#include <string>

#include "block/engine/engine.h"

namespace predsnap::replay {

std::string to_json(const EngineInfo& info, const EngineStats& stats);
std::string to_json(const FineInfo& info);

}  // namespace predsnap::replay
