// SPDX-License-Identifier: GPL-2.0-or-later
//
// The commands of `predsnap`. argv[0] is the command's name; each parses its own options (options.h) and
// returns the program's status: 0, 1 if it failed, 2 if it was not understood.
#pragma once

namespace predsnap {

constexpr int kFailed = 1, kMisused = 2;

int check_command(int argc, char** argv);
int coalesce_command(int argc, char** argv);
int diff_command(int argc, char** argv);
int info_command(int argc, char** argv);
int log_command(int argc, char** argv);
int points_command(int argc, char** argv);
int rollback_command(int argc, char** argv);
int snapshot_command(int argc, char** argv);
int stats_command(int argc, char** argv);
int threshold_command(int argc, char** argv);
int view_command(int argc, char** argv);
int watch_command(int argc, char** argv);
int protect_command(int argc, char** argv);
int unprotect_command(int argc, char** argv);

}  // namespace predsnap
