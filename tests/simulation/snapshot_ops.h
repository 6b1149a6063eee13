// SPDX-License-Identifier: GPL-2.0-or-later
//
// Snapshots, checked against the model.
#pragma once

#include "world.h"

namespace predsnap::sim {

void create_snapshot(World& world);
void delete_snapshot(World& world);
void check_snapshot_list(World& world);

}  // namespace predsnap::sim
