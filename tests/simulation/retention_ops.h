// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much history is kept: changes of that, and whether more was dropped than may be.
#pragma once

#include "world.h"

namespace predsnap::sim {

// Asks for another length of history, or for all of it.
void change_retention(World& world);
// Coalesces now, perhaps history that the limits would keep; or pauses that, or ends it.
void coalesce_on_demand(World& world);
// History begins where it may begin. Returns whether segments were reclaimed since the last time.
bool check_floor(World& world);
// The same after a crash, of which the limits asked for before may be the stored ones, too.
void recover_retention(World& world);

}  // namespace predsnap::sim
