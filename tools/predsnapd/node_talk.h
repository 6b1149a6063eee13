// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is said to a disk's QEMU, and what it answers, put up on the board. ask_node() and tell_node() return at once; the
// courier's thread does it.
#pragma once

#include <memory>

#include "board.h"
#include "courier.h"
#include "prediction.h"

namespace predsnap::predict {

// How many points are asked for at once: a guest that flushes more often than that is counted short.
constexpr int kPointsAtOnce = 1000;

// The state of the node, and the points since those that were asked for before.
void ask_node(Courier& courier, const std::shared_ptr<Board>& board, const std::string& disk, const std::string& node);

// Says what comes next: packed, or as a list to a driver that knows nothing else.
Result<void> tell(qmp::Monitor& monitor, const PredictionSet& set, const std::string& node);
void tell_node(Courier& courier, const std::shared_ptr<Board>& board, const std::string& disk, const std::string& node,
               PredictionSet set);

}  // namespace predsnap::predict
