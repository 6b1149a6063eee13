// SPDX-License-Identifier: GPL-2.0-or-later
//
// Moments of the history to open a view of or to go back to, drawn at random.
#pragma once

#include <string>

#include "world.h"

namespace predsnap::sim {

// A snapshot that is there, or a name that none has.
std::string pick_snapshot(World& world);
Moment pick_moment(World& world);
std::string describe(const Moment& moment);
// Whether the moment itself explains a failure: an unknown snapshot, a time before the first point.
bool may_be_unknown(World& world, const Moment& moment);

}  // namespace predsnap::sim
