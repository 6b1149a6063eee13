// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "commands.h"
#include "options.h"
#include "show.h"
#include "target.h"

namespace predsnap {
namespace {

bool is_bytes(const std::string& name) {
    return name.ends_with("-bytes") || name.ends_with("-memory") || name == "used" || name == "size" || name == "memory";
}

// All numbers of an object, by name, those within it indented.
void print(const Json& object, int depth) {
    for (const std::string& name : object.members()) {
        const Json value = object[name.c_str()];
        if (value.is_object()) {
            std::printf("%*s%s\n", depth * 2, "", name.c_str());
            print(value, depth + 1);
        } else if (name == "open-time") {
            std::printf("%*s%-*s %14s\n", depth * 2, "", 26 - depth * 2, name.c_str(), show_span(value.integer()).c_str());
        } else if (value.is_integer()) {
            const auto number = static_cast<uint64_t>(value.integer());
            std::printf("%*s%-*s %14s\n", depth * 2, "", 26 - depth * 2, name.c_str(), (is_bytes(name) ? show_bytes(number) : show_count(number)).c_str());
        } else if (!value.is_array()) {
            std::printf("%*s%-*s %14s\n", depth * 2, "", 26 - depth * 2, name.c_str(), value.is_string() ? value.string().c_str() : value.text().c_str());
        }
    }
}

Result<void> stats(const TargetOptions& options, bool json) {
    TRY_ASSIGN(const auto target, Target::open(options, Need::read));
    TRY_ASSIGN(const Json node, target->query());
    JsonMap map;
    for (const char* part : {"stats", "segments", "staging", "granularity", "prediction"}) {
        map.set(part, node[part]);
    }
    const Json all = map.done();
    if (json) {
        print_json(all);
    } else {
        std::printf("%s, since it was opened\n", target->name().c_str());
        print(all, 0);
    }
    return {};
}

}  // namespace

int stats_command(int argc, char** argv) {
    TargetOptions target;
    bool json = false;
    Options options("stats TARGET", "Shows a disk's counters: what was logged, moved, staged, and dropped since it was opened.");
    options.target(&target).json(&json);
    if (!options.parse(argc, argv) || !options.finish()) {
        return kMisused;
    }
    const Result<void> done = stats(target, json);
    return done.ok() ? 0 : fail("stats", done.error());
}

}  // namespace predsnap
