// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "commands.h"
#include "moment.h"
#include "options.h"
#include "show.h"
#include "target.h"
#include "terminal.h"
#include "times.h"

namespace predsnap {
namespace {

struct Arguments {
    TargetOptions target;
    std::string action, name;
    int64_t horizon = 0;
    bool yes = false, json = false;
};

Result<void> create(const Arguments& arguments) {
    TRY_ASSIGN(const auto target, Target::open(arguments.target, Need::write));
    JsonMap map;
    map.set("name", arguments.name);
    if (arguments.horizon > 0) {
        map.set("horizon", arguments.horizon);
    }
    TRY_ASSIGN(const Json made, target->execute("predsnap-snapshot-create", std::move(map)));
    if (arguments.json) {
        print_json(made);
    } else {
        std::printf("%s: snapshot '%s' at sequence %lld, %s\n", target->name().c_str(), arguments.name.c_str(),
                    static_cast<long long>(made["sequence"].integer()), show_time(made["time"].integer(), Clock::local()).c_str());
    }
    return {};
}

Result<void> remove(const Arguments& arguments) {
    TRY_ASSIGN(const auto target, Target::open(arguments.target, Need::write));
    TRY_ASSIGN(const Json node, target->query());
    if (!has_snapshot(node, arguments.name)) {
        return Error{ENOENT, target->name() + ": there is no snapshot '" + arguments.name + "': " + snapshot_names(node)};
    }
    TRY(confirm(target->name() + ": snapshot '" + arguments.name + "' is forgotten. Once it is older than what is kept of history, the disk cannot be\n"
                "taken back to it any more.", arguments.yes));
    TRY(target->execute("predsnap-snapshot-delete", JsonMap().set("name", arguments.name).move()).discard());
    if (arguments.json) {
        print_json(JsonMap().set("deleted", arguments.name).done());
    } else {
        std::printf("%s: snapshot '%s' is deleted\n", target->name().c_str(), arguments.name.c_str());
    }
    return {};
}

Result<void> list(const Arguments& arguments) {
    TRY_ASSIGN(const auto target, Target::open(arguments.target, Need::read));
    TRY_ASSIGN(const Json node, target->query());
    const Json snapshots = node["snapshots"];
    if (arguments.json) {
        print_json(snapshots);
        return {};
    }
    const Clock clock = Clock::local();
    std::printf("%-30s %-28s %12s %10s %10s\n", "NAME", "TIME", "SEQUENCE", "DISK", "VM STATE");
    for (size_t i = 0; i < snapshots.size(); ++i) {
        const Json& snapshot = snapshots[i];
        const int64_t state = snapshot["vm-state-size"].integer();
        std::printf("%-30s %-28s %12lld %10s %10s\n", snapshot["name"].string().c_str(), show_time(snapshot["time"].integer(), clock).c_str(),
                    static_cast<long long>(snapshot["sequence"].integer()), show_bytes(static_cast<uint64_t>(snapshot["size"].integer())).c_str(),
                    state > 0 ? show_bytes(static_cast<uint64_t>(state)).c_str() : "-");
    }
    return {};
}

}  // namespace

int snapshot_command(int argc, char** argv) {
    Arguments arguments;
    Options options("snapshot create|delete|list TARGET [NAME]",
                    "Makes a snapshot of a disk, forgets one, or lists them. A running guest does not notice: a snapshot is one record,\n"
                    "whatever the size of the disk. It is kept until it is deleted, however old it gets.");
    options.word(&arguments.action)
        .target(&arguments.target)
        .number("horizon", &arguments.horizon, "create: predict for so many seconds ahead, and judge that", "S")
        .flag("yes", &arguments.yes, "delete: do not ask", 'y')
        .json(&arguments.json);
    if (!options.parse(argc, argv)) {
        return kMisused;
    }
    const bool creates = arguments.action == "create", deletes = arguments.action == "delete";
    if (!creates && !deletes && arguments.action != "list") {
        return options.misused("say create, delete or list");
    }
    arguments.name = creates || deletes ? options.take() : "";
    if ((creates || deletes) && arguments.name.empty()) {
        return options.misused("the snapshot has no name");
    }
    if (!options.finish()) {
        return kMisused;
    }
    const Result<void> done = creates ? create(arguments) : deletes ? remove(arguments) : list(arguments);
    return done.ok() ? 0 : fail("snapshot", done.error());
}

}  // namespace predsnap
