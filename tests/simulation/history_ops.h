// SPDX-License-Identifier: GPL-2.0-or-later
//
// Snapshots, views, points and rollback, checked against the model. Functions that say "quiet" need
// that no other task changes the disk.
#pragma once

#include "world.h"

namespace predsnap::sim {

void create_snapshot(World& world);
void delete_snapshot(World& world);
void check_snapshot_list(World& world);

// A view of some moment of the history, drawn at random.
void open_view(World& world);
// Reads a part of some open view, or all of each.
void read_view(World& world);
void read_all_views(World& world);
void close_view(World& world);
void close_all_views(World& world);
// Opens a view of that state, checks all of it, closes it.
void check_state(World& world, uint64_t sequence);

// Quiet.
void roll_back(World& world);
void resize(World& world);
void change_backing(World& world);
void check_points(World& world);

}  // namespace predsnap::sim
