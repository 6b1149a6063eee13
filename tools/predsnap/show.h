// SPDX-License-Identifier: GPL-2.0-or-later
//
// How the commands say things: sizes, numbers, errors, JSON.
#pragma once

#include <cstdint>
#include <string>

#include "tools/qmp/json.h"

namespace predsnap {

// "1.5 MiB", "512 B"
std::string show_bytes(uint64_t bytes);
// "12,345"
std::string show_count(uint64_t count);
// "1.2 s", "3.4 ms", "2 d 3 h": two units at most.
std::string show_span(int64_t us);
// Several lines.
void print_json(const Json& value);
// Prints "predsnap COMMAND: text"; gives the status of a failure.
int fail(const char* command, const Error& error);

}  // namespace predsnap
