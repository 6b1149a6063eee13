// SPDX-License-Identifier: GPL-2.0-or-later
//
// Bits flipped in the image: what is read must be right or an error, never wrong.
#pragma once

#include "world.h"

namespace predsnap::sim {

// The last act of a run: damages the image and looks at it, without and after opening it again. The
// engine is open before, and closed after.
void damage_image(World& world);

}  // namespace predsnap::sim
