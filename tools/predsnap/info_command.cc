// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "commands.h"
#include "options.h"
#include "show.h"
#include "target.h"

namespace predsnap {
namespace {

void line(const char* what, const std::string& value) { std::printf("%-14s %s\n", what, value.c_str()); }

void print(const Target& target, const Json& node) {
    line("disk", target.name());
    line("size", show_bytes(static_cast<uint64_t>(node["size"].integer())));
    line("sequence", show_count(static_cast<uint64_t>(node["sequence"].integer())));
}

Result<void> info(const TargetOptions& options, bool json) {
    TRY_ASSIGN(const auto target, Target::open(options, Need::read));
    TRY_ASSIGN(const Json node, target->query());
    if (json) {
        print_json(node);
    } else {
        print(*target, node);
    }
    return {};
}

}  // namespace

int info_command(int argc, char** argv) {
    TargetOptions target;
    bool json = false;
    Options options("info TARGET", "Says what a disk is, how far its history reaches, and what it takes.");
    options.target(&target).json(&json);
    if (!options.parse(argc, argv) || !options.finish()) {
        return kMisused;
    }
    const Result<void> done = info(target, json);
    return done.ok() ? 0 : fail("info", done.error());
}

}  // namespace predsnap
