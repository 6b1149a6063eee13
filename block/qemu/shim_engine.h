// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the files of the C API share. C++.
#pragma once

#include "block/engine/engine.h"
#include "block/qemu/shim.h"

namespace predsnap {

Engine& engine_of(const PdsEngine* engine);
// Maps a result to 0 or a negative errno value, with a message (shim.h, convention 2).
int finish_call(const Result<void>& result, char** message);

}  // namespace predsnap
