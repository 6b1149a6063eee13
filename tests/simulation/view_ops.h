// SPDX-License-Identifier: GPL-2.0-or-later
//
// Views of earlier states, checked against the model: each shows that state, and never changes.
#pragma once

#include "world.h"

namespace predsnap::sim {

// A view of some moment of the history, drawn at random.
void open_view(World& world);
// Reads a part of some open view, or all of each.
void read_view(World& world);
void read_all_views(World& world);
void close_view(World& world);
void close_all_views(World& world);
// Opens a view of that state, checks all of it, closes it.
void check_state(World& world, uint64_t sequence);

}  // namespace predsnap::sim
