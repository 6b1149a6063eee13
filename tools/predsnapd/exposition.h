// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is on the board, in Prometheus' text format (version 0.0.4). docs/operations.md lists the metrics.
#pragma once

#include <string>

#include "board.h"

namespace predsnap::predict {

// `now_us`: g_get_monotonic_time().
std::string exposition(const Board::Copy& board, int64_t now_us);

}  // namespace predsnap::predict
