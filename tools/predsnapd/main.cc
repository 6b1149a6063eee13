// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>
#include <cstring>

#include "allocator.h"
#include "commands.h"

int main(int argc, char** argv) {
    predsnap::predict::keep_memory_small();
    if (argc > 1 && std::strcmp(argv[1], "evaluate") == 0) {
        return predsnap::predict::evaluate_command(argc - 1, argv + 1);
    }
    if (argc > 1 && std::strcmp(argv[1], "run") == 0) {
        return predsnap::predict::run_command(argc - 1, argv + 1);
    }
    std::fprintf(stderr, "usage: predsnapd run --disk name=NAME,log=FILE...   follow access logs, tell QEMU\n"
                         "       predsnapd evaluate TRACE...                how well traces can be predicted\n"
                         "See --help of each.\n");
    return 2;
}
