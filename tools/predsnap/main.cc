// SPDX-License-Identifier: GPL-2.0-or-later
#include <clocale>
#include <cstdio>
#include <cstring>
#include <string>

#include "commands.h"
#include "options.h"

namespace predsnap {
namespace {

struct Command {
    const char* name;
    int (*run)(int argc, char** argv);
    const char* summary;
};

constexpr Command kCommands[] = {
    {"info", info_command, "what a disk is, how far its history reaches, what it takes"},
    {"points", points_command, "the points to go back to, and where the rate of change jumps"},
    {"rollback", rollback_command, "take a disk back, and the machine with it"},
    {"snapshot", snapshot_command, "make, forget, list snapshots"},
    {"diff", diff_command, "what differs between two moments"},
    {"view", view_command, "show a disk as it was: over NBD, as a file, as a writable clone"},
    {"watch", watch_command, "live status"},
    {"stats", stats_command, "counters"},
    {"threshold", threshold_command, "from which relevance on blocks are staged"},
    {"coalesce", coalesce_command, "drop and merge old history now"},
    {"check", check_command, "verify an image"},
    {"log", log_command, "read access logs, make them of traces"},
    {"protect", protect_command, "put predsnap on a disk of a libvirt domain, live or from its next start on"},
    {"unprotect", unprotect_command, "take it off again, with what was written merged into the disk below"},
};

void print_usage(std::FILE* file) {
    std::fprintf(file, "usage: predsnap COMMAND TARGET [OPTION...]\n\nTakes the disks of virtual machines back in time.\n\n");
    for (const Command& command : kCommands) {
        std::fprintf(file, "  %-10s %s\n", command.name, command.summary);
    }
    std::fprintf(file, "\n%s\n'predsnap COMMAND --help' says more, and predsnap(1) all.\n", kTargetHelp);
}

int run(int argc, char** argv) {
    const std::string name = argc > 1 ? argv[1] : "";
    if (name == "--version") {
        std::printf("predsnap %s\n", PREDSNAP_VERSION);
        return 0;
    }
    if (name == "--help" || name == "-h" || name == "help") {
        print_usage(stdout);
        return 0;
    }
    for (const Command& command : kCommands) {
        if (name == command.name) {
            return command.run(argc - 1, argv + 1);
        }
    }
    if (!name.empty()) {
        std::fprintf(stderr, "predsnap: there is no command '%s'\n", name.c_str());
    }
    print_usage(stderr);
    return kMisused;
}

}  // namespace
}  // namespace predsnap

int main(int argc, char** argv) {
    std::setlocale(LC_ALL, "");
    std::setlocale(LC_NUMERIC, "C");  // numbers are read and written one way everywhere
    return predsnap::run(argc, argv);
}
