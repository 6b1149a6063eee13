// SPDX-License-Identifier: GPL-2.0-or-later
//
// Runs other programs to their end.
#pragma once

#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap {

struct Ran {
    int status = 0;  // its exit status; -1 if a signal ended it
    std::string output, errors;
};

// Where what it prints goes: into Ran, or to the user.
enum class Output { taken, shown };

// The first word is the program's path, or is looked for in PATH. Errors: it could not be started.
Result<Ran> run_program(const std::vector<std::string>& words, Output to = Output::taken);

}  // namespace predsnap
