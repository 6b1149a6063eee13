// SPDX-License-Identifier: GPL-2.0-or-later
//
// Rollbacks, resizes, and changes of the backing file's name, checked against the model. All need
// that no other task changes the disk.
#pragma once

#include "world.h"

namespace predsnap::sim {

void roll_back(World& world);
void resize(World& world);
void change_backing(World& world);

}  // namespace predsnap::sim
