// SPDX-License-Identifier: GPL-2.0-or-later
//
// The commands of `predsnap`. argv[0] is the command's name; each returns the program's status.
#pragma once

namespace predsnap {

int log_command(int argc, char** argv);

}  // namespace predsnap
