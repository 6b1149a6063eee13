// SPDX-License-Identifier: GPL-2.0-or-later
//
// The commands of predsnapd. Each parses its own arguments (argv[0] is its name) and returns the
// program's status.
#pragma once

namespace predsnap::predict {

int evaluate_command(int argc, char** argv);
int run_command(int argc, char** argv);

}  // namespace predsnap::predict
