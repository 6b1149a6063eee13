// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>
#include <cstring>

#include "commands.h"

int main(int argc, char** argv) {
    if (argc > 1 && std::strcmp(argv[1], "evaluate") == 0) {
        return predsnap::predict::evaluate_command(argc - 1, argv + 1);
    }
    std::fprintf(stderr, "usage: predsnapd evaluate TRACE... (see --help of each command)\n");
    return 2;
}
