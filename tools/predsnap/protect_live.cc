// SPDX-License-Identifier: GPL-2.0-or-later
#include "protect_live.h"

#include <unistd.h>

#include "find_node.h"
#include "libvirt-hooks/node.h"
#include "tools/qmp/jobs.h"

namespace predsnap::protect {
namespace {

constexpr useconds_t kPollUs = 20'000;

std::string job_of(const hook::ProtectedDisk& disk) { return "predsnap-unprotect-" + disk.target; }

Result<bool> has_node(qmp::Monitor& monitor, const std::string& node) {
    TRY_ASSIGN(const Json nodes, monitor.execute("query-named-block-nodes", JsonMap().set("flat", true).done()));
    for (size_t i = 0; i < nodes.size(); ++i) {
        if (nodes[i]["node-name"].string() == node) {
            return true;
        }
    }
    return false;
}

Result<void> job_command(qmp::Monitor& monitor, const char* command, const std::string& id) {
    return monitor.execute(command, JsonMap().set("id", id).done()).discard();
}

// The node below ours.
Result<std::string> below_of(qmp::Monitor& monitor, const std::string& node) {
    TRY_ASSIGN(const Json graph, monitor.execute("x-debug-query-block-graph"));
    const auto id_of = [&](const std::string& name) {
        for (size_t i = 0; i < graph["nodes"].size(); ++i) {
            if (graph["nodes"][i]["name"].string() == name) {
                return graph["nodes"][i]["id"].integer();
            }
        }
        return int64_t{-1};
    };
    const int64_t id = id_of(node);
    for (size_t i = 0; i < graph["edges"].size(); ++i) {
        const Json edge = graph["edges"][i];
        if (edge["parent"].integer() != id || edge["name"].string() != "backing") {
            continue;
        }
        for (size_t k = 0; k < graph["nodes"].size(); ++k) {
            if (graph["nodes"][k]["id"].integer() == edge["child"].integer()) {
                return graph["nodes"][k]["name"].string();
            }
        }
    }
    return Error{ENOENT, "node '" + node + "' has nothing below it"};
}

Result<void> start_merge(qmp::Monitor& monitor, const LiveDisk& live, const hook::ProtectedDisk& disk) {
    JsonMap arguments;
    arguments.set("job-id", job_of(disk)).set("device", live.root).set("auto-dismiss", false);
    return monitor.execute("block-commit", arguments.done()).discard();
}

// It was told to complete, or cancelled, and nothing more is to be said to it.
bool is_ending(const Json& job) {
    const std::string status = job["status"].string();
    return status == "waiting" || status == "pending" || status == "aborting" || status == "concluded";
}

Error ended_by_another() { return {ECANCELED, "the merge was ended by somebody else; nothing is lost. Start again"}; }

// Dismisses the job; its error if it failed.
Result<void> conclude(qmp::Monitor& monitor, const Json& job) {
    const Json error = job["error"];
    TRY(job_command(monitor, "job-dismiss", job["id"].string()));
    return error ? Error{EIO, "merging into the disk below: " + error.string()} : Result<void>();
}

Result<void> check_driver(qmp::Monitor& monitor) {
    const Result<Json> answer = monitor.execute("query-predsnap");
    if (!answer.ok() && answer.error().code == qmp::kRefused) {
        return Error{ENOTSUP, "the running QEMU has no predsnap driver. Set <emulator> to the QEMU of the package qemu-predsnap "
                              "(/opt/predsnap/bin/qemu-system-x86_64) and start the domain anew, or migrate it live to a host with "
                              "that; or use --way daemon"};
    }
    return answer.discard();
}

}  // namespace

Result<LiveDisk> look(qmp::Monitor& monitor, const std::string& alias, const hook::ProtectedDisk& disk) {
    TRY(check_driver(monitor));
    TRY_ASSIGN(const Json devices, monitor.execute("query-block"));
    LiveDisk live;
    for (size_t i = 0; i < devices.size(); ++i) {
        const Json inserted = devices[i]["inserted"];
        if (is_device(devices[i], alias)) {
            live.root = inserted["node-name"].string();
            live.direct = inserted["cache"]["direct"].boolean();
        }
    }
    if (live.root.empty()) {
        return Error{ENOENT, "the running QEMU has no medium in the device '" + alias + "'"};
    }
    TRY_ASSIGN(live.node_exists, has_node(monitor, disk.node));
    TRY_ASSIGN(const Json job, qmp::find_job(monitor, job_of(disk)));
    live.merging = static_cast<bool>(job);
    return live;
}

Result<void> end_merge(qmp::Monitor& monitor, const hook::ProtectedDisk& disk) {
    for (;; usleep(kPollUs / 10)) {
        TRY_ASSIGN(const Json job, qmp::find_job(monitor, job_of(disk)));
        if (!job || !is_ending(job)) {
            return {};
        }
        if (job["status"].string() == "concluded") {
            return conclude(monitor, job);
        }
    }
}

Result<void> slide_in(qmp::Monitor& monitor, const LiveDisk& live, const hook::ProtectedDisk& disk) {
    if (live.root == disk.node) {
        return {};
    }
    if (!live.node_exists) {
        TRY_ASSIGN(const Json node, Json::parse(hook::node_json(disk, std::nullopt, live.direct)));
        TRY(monitor.execute("blockdev-add", node));
    }
    // predsnap is a copy-on-write node, so this is QEMU's own way: it drains the disk, checks permissions and cannot half happen, where
    // setting the device's drive property is not meant for a device in use.
    const Result<Json> slid =
        monitor.execute("blockdev-snapshot", JsonMap().set("node", live.root).set("overlay", disk.node).done());
    if (!slid.ok()) {
        (void)monitor.execute("blockdev-del", JsonMap().set("node-name", disk.node).done());
    }
    return slid.discard();
}

Result<void> merge(qmp::Monitor& monitor, const LiveDisk& live, const hook::ProtectedDisk& disk,
                   const std::function<void(int64_t, int64_t)>& progress) {
    if (!live.merging) {
        TRY(start_merge(monitor, live, disk));
    }
    for (;; usleep(kPollUs)) {
        TRY_ASSIGN(const Json job, qmp::find_job(monitor, job_of(disk)));
        if (!job || is_ending(job)) {
            TRY(end_merge(monitor, disk));
            return ended_by_another();
        }
        progress(job["current-progress"].integer(), job["total-progress"].integer());
        if (job["status"].string() == "ready") {
            return {};
        }
    }
}

Result<void> settle(qmp::Monitor& monitor, const hook::ProtectedDisk& disk) {
    for (;; usleep(kPollUs / 10)) {
        TRY_ASSIGN(const Json job, qmp::find_job(monitor, job_of(disk)));
        if (job["status"].string() != "ready") {
            TRY(end_merge(monitor, disk));
            return ended_by_another();
        }
        if (job["current-progress"].integer() == job["total-progress"].integer()) {
            break;
        }
    }
    TRY_ASSIGN(const std::string below, below_of(monitor, disk.node));
    const std::string flush = "qemu-io " + below + " flush";
    TRY_ASSIGN(const Json said, monitor.execute("human-monitor-command", JsonMap().set("command-line", flush).done()));
    return said.string().find("rror") == std::string::npos ? Result<void>()
                                                           : Error{EIO, "the disk below, " + below + ": " + said.string()};
}

Result<void> slide_out(qmp::Monitor& monitor, const hook::ProtectedDisk& disk) {
    const Result<void> told = job_command(monitor, "job-complete", job_of(disk));
    if (!told.ok()) {
        TRY_ASSIGN(const Json job, qmp::find_job(monitor, job_of(disk)));
        if (job && !is_ending(job)) {
            return told;
        }
    }
    for (;; usleep(kPollUs / 10)) {
        TRY(end_merge(monitor, disk));
        TRY_ASSIGN(const Json job, qmp::find_job(monitor, job_of(disk)));
        if (!job) {
            break;
        }
    }
    return monitor.execute("blockdev-del", JsonMap().set("node-name", disk.node).done()).discard();
}

}  // namespace predsnap::protect
