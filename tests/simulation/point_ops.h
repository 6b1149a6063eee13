// SPDX-License-Identifier: GPL-2.0-or-later
//
// Points, checked against what is known of them.
#pragma once

#include "world.h"

namespace predsnap::sim {

// Needs that no other task changes the disk.
void check_points(World& world);

}  // namespace predsnap::sim
