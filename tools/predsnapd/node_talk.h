// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is said to a disk's QEMU, and what it answers, put up on the board. Both return at once; the courier's
// thread does it.
#pragma once

#include <memory>

#include "board.h"
#include "courier.h"

namespace predsnap::predict {

// How many points are asked for at once: a guest that flushes more often than that is counted short.
constexpr int kPointsAtOnce = 1000;

// The state of the node, and the points since those that were asked for before.
void ask_node(Courier& courier, const std::shared_ptr<Board>& board, const std::string& disk, const std::string& node);

// `arguments` of predsnap-set-predictions; nobody else may hold them.
void tell_node(Courier& courier, const std::shared_ptr<Board>& board, const std::string& disk, Json arguments);

}  // namespace predsnap::predict
