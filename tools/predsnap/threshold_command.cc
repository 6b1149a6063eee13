// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "commands.h"
#include "options.h"
#include "show.h"
#include "target.h"

namespace predsnap {
namespace {

struct Arguments {
    TargetOptions target;
    std::string set, adaptive, min, max, target_hit_rate;
    bool json = false;
};

Result<void> add_share(JsonMap& map, const char* name, const std::string& text, bool* any) {
    if (text.empty()) {
        return {};
    }
    char* end = nullptr;
    const double value = g_ascii_strtod(text.c_str(), &end);
    if (*end != '\0' || !(value >= 0 && value <= 1)) {
        return Error{EINVAL, "'" + text + "' (" + name + ") is not a number from 0 to 1"};
    }
    map.set(name, value);
    *any = true;
    return {};
}

Result<bool> change(Target& target, const Arguments& arguments) {
    JsonMap map;
    bool any = false;
    TRY(add_share(map, "threshold", arguments.set, &any));
    TRY(add_share(map, "min", arguments.min, &any));
    TRY(add_share(map, "max", arguments.max, &any));
    TRY(add_share(map, "target-hit-rate", arguments.target_hit_rate, &any));
    if (!arguments.adaptive.empty()) {
        if (arguments.adaptive != "on" && arguments.adaptive != "off") {
            return Error{EINVAL, "--adaptive is on or off"};
        }
        map.set("adaptive", arguments.adaptive == "on");
        any = true;
    }
    if (any) {
        TRY(target.execute("predsnap-set-threshold", std::move(map)).discard());
    }
    return any;
}

void print(const Target& target, const Json& threshold) {
    std::printf("%s: threshold %.3g, %s\n", target.name().c_str(), threshold["value"].number(),
                threshold["adaptive"].boolean() ? "adaptive" : "fixed");
    if (threshold["adaptive"].boolean()) {
        std::printf("  between %.3g and %.3g, for %.0f%% of lookups in the staging cache to find something\n", threshold["min"].number(),
                    threshold["max"].number(), threshold["target-hit-rate"].number() * 100);
    }
}

Result<void> threshold(const Arguments& arguments) {
    if (arguments.target.domain.empty() && arguments.target.qmp.empty()) {
        return Error{EINVAL, "the threshold is that of an open disk: name a domain or a monitor's socket (of an image it is an option of -blockdev)"};
    }
    TRY_ASSIGN(const auto target, Target::open(arguments.target, Need::read));
    TRY(change(*target, arguments).discard());
    TRY_ASSIGN(const Json node, target->query());
    if (arguments.json) {
        print_json(node["threshold"]);
    } else {
        print(*target, node["threshold"]);
    }
    return {};
}

}  // namespace

int threshold_command(int argc, char** argv) {
    Arguments arguments;
    Options options("threshold TARGET",
                    "Shows, or changes, from which relevance on (0 to 1) blocks are kept in the staging cache of an open disk.");
    options.target(&arguments.target)
        .text("set", &arguments.set, "The threshold; where an adaptive one goes on from", "X")
        .text("adaptive", &arguments.adaptive, "Whether it follows what comes of it", "on|off")
        .text("min", &arguments.min, "The lowest an adaptive one can be", "X")
        .text("max", &arguments.max, "The highest", "X")
        .text("target-hit-rate", &arguments.target_hit_rate, "Of lookups in the cache, what an adaptive one aims at", "X")
        .json(&arguments.json);
    if (!options.parse(argc, argv) || !options.finish()) {
        return kMisused;
    }
    const Result<void> done = threshold(arguments);
    return done.ok() ? 0 : fail("threshold", done.error());
}

}  // namespace predsnap
