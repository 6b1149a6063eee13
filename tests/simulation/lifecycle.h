// SPDX-License-Identifier: GPL-2.0-or-later
//
// Creating, opening, closing and crashing the engine, and what must hold after each.
#pragma once

#include "world.h"

namespace predsnap::sim {

// Makes the image and opens it. The disk does not fail meanwhile.
void create_image(World& world);
// Closes in good order and opens again. A crash that is armed may strike at any step of both.
void reopen(World& world);
// The disk is dead. Drops the engine, brings the disk back with what survived, opens (which may
// crash again) and checks what was recovered.
void recover(World& world);
// Closes for good; a crash may strike. False if it did.
bool close_engine(World& world);
// Closes, opens without the capacity image, works so for a while, and opens with it again.
void go_without_capacity(World& world);
// check() finds nothing wrong in an image that nobody damaged. Quiet.
void check_image(World& world);

// Opens without the checks of reopen() and recover(): for damaged images, where it may fail.
Result<void> try_open(World& world);
OpenOptions open_options(World& world);

}  // namespace predsnap::sim
