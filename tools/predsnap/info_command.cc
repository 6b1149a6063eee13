// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "commands.h"
#include "moment.h"
#include "options.h"
#include "show.h"
#include "target.h"

namespace predsnap {
namespace {

void line(const char* what, const std::string& value) { std::printf("%-12s %s\n", what, value.c_str()); }

std::string bytes(const Json& value) { return show_bytes(static_cast<uint64_t>(value.integer())); }
std::string count(const Json& value) { return show_count(static_cast<uint64_t>(value.integer())); }

std::string limits(const Json& history) {
    std::string text;
    if (history["cdp-window"]) {
        text += "every point of the last " + show_span(history["cdp-window"].integer() * 1'000'000);
    }
    const Json rules = history["retention"];
    for (size_t i = 0; i < rules.size(); ++i) {
        text += ", one a " + show_span(rules[i]["every"].integer() * 1'000'000) + " for " + show_span(rules[i]["for"].integer() * 1'000'000);
    }
    if (history["cdp-bytes"]) {
        text += (text.empty() ? "all, " : ", ") + ("at most " + bytes(history["cdp-bytes"]));
    }
    return text.empty() ? "everything, without limit" : text;
}

void print_branches(const Json& node) {
    const Json branches = node["branches"];
    for (size_t i = 0; i < branches.size(); ++i) {
        const Json& branch = branches[i];
        if (branch["id"].integer() > 0) {
            line(i == 1 ? "rollbacks" : "", "to sequence " + std::to_string(branch["parent"].integer()) + ", leaving " +
                                                std::to_string(branch["first"].integer() - 1));
        }
    }
}

void print(const Target& target, const Json& node, const Clock& clock) {
    const Json history = node["history"];
    const std::string reach = covered(node, clock);
    line("disk", target.name());
    line("size", bytes(node["size"]));
    line("uuid", node["uuid"].string());
    line("state", "sequence " + std::to_string(node["sequence"].integer()) + (node["corrupt"].boolean() ? ", CORRUPTION WAS FOUND: 'predsnap check'" : ""));
    line("history", reach.empty() ? "nothing yet" : reach);
    line("is kept", limits(history));
    line("snapshots", show_count(node["snapshots"].size()));
    print_branches(node);
    const Json tiers = node["tiers"];
    for (size_t i = 0; i < tiers.size(); ++i) {
        const std::string attached = tiers[i]["attached"].boolean() ? "" : " (not attached)";
        line(i == 0 ? "takes" : "", bytes(tiers[i]["used"]) + " of the " + tiers[i]["tier"].string() + " image" + attached +
                                        (tiers[i]["streams"].integer() > 0 ? ", " + bytes(tiers[i]["stream-bytes"]) + " of old history" : ""));
    }
    if (node["views"].integer() > 0) {
        line("views", count(node["views"]));
    }
}

Result<void> info(const TargetOptions& options, bool json) {
    TRY_ASSIGN(const auto target, Target::open(options, Need::read));
    TRY_ASSIGN(const Json node, target->query());
    if (json) {
        print_json(node);
    } else {
        print(*target, node, Clock::local());
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
