// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>
#include <cstring>

#include "commands.h"

int main(int argc, char** argv) {
    if (argc > 1 && std::strcmp(argv[1], "log") == 0) {
        return predsnap::log_command(argc - 1, argv + 1);
    }
    std::fprintf(stderr, "usage: predsnap log dump|stats|import ... (predsnap log --help)\n");
    return 2;
}
