// SPDX-License-Identifier: GPL-2.0-or-later
//
// Benchmarks end at the first error.
#pragma once

#include <errno.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "block/engine/result.h"

namespace predsnap::bench {

// The value, or the end of the program, which says what failed.
template <typename T>
T must(Result<T> result, const char* what) {
    if (!result.ok()) {
        std::fprintf(stderr, "%s: %s: %s (%s)\n", program_invocation_short_name, what, result.error().message.c_str(),
                     std::strerror(result.error().code));
        _exit(1);
    }
    return result.take();
}

}  // namespace predsnap::bench
