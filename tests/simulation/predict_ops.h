// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a sidecar and other clients say of the future: right, wrong, late, hostile. No state of the disk may depend on it.
#pragma once

#include "world.h"

namespace predsnap::sim {

void give_predictions(World& world);
void give_hint(World& world);
void fetch_a_state(World& world);
void change_threshold(World& world);
// Notes what became of it.
void note_predictions(World& world);

}  // namespace predsnap::sim
