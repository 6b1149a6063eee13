// SPDX-License-Identifier: GPL-2.0-or-later
#include "node_talk.h"

#include <sys/statvfs.h>

namespace predsnap::predict {
namespace {

struct Answer {
    NodeFacts facts;
    Json points;
    std::string image;
};

void look_at_space(const std::string& image, NodeFacts& facts) {
    struct statvfs file_system;
    if (image.empty() || facts.tiers.empty() || statvfs(image.c_str(), &file_system) != 0) {
        return;
    }
    facts.tiers[0].available_bytes = static_cast<uint64_t>(file_system.f_bavail) * file_system.f_frsize;
}

// `before`: what is known of it.
Result<Answer> ask(qmp::Monitor& monitor, const std::string& node, const DiskReport& before) {
    TRY_ASSIGN(const Json infos, monitor.execute("query-predsnap", JsonMap().set("node-name", node).done()));
    if (infos.size() != 1) {
        return Error{EPROTO, "node '" + node + "': query-predsnap did not answer with its state"};
    }
    Answer answer{to_node_facts(infos[0]), {}, before.image};
    const bool same = answer.facts.uuid == before.node_facts.uuid;
    if (!same) {
        TRY_ASSIGN(const Json nodes, monitor.execute("query-named-block-nodes", JsonMap().set("flat", true).done()));
        answer.image = image_file(nodes, node);
    }
    if (same && has_new_points(answer.facts, before.points)) {
        JsonMap which;
        which.set("node-name", node).set("since", before.points.last_us + 1).set("limit", kPointsAtOnce);
        TRY_ASSIGN(answer.points, monitor.execute("predsnap-query-points", which.done()));
    }
    look_at_space(answer.image, answer.facts);
    return answer;
}

}  // namespace

void ask_node(Courier& courier, const std::shared_ptr<Board>& board, const std::string& disk, const std::string& node) {
    courier.post("ask " + disk, [board, disk, node](qmp::Monitor& monitor) {
        const Result<Answer> answer = ask(monitor, node, board->find(disk));
        board->put(disk, [&](DiskReport& report) {
            report.answers = answer.ok();
            report.error = answer.ok() ? "" : answer.error().message;
            if (answer.ok()) {
                if (answer.value().facts.uuid != report.node_facts.uuid) {
                    report.points.begun = false;  // another image has taken its place
                }
                report.node_facts = answer.value().facts;
                report.image = answer.value().image;
                add_points(answer.value().facts, answer.value().points, report.points);
                report.answered_us = g_get_monotonic_time();
            }
        });
    });
}

Result<void> tell(qmp::Monitor& monitor, const PredictionSet& set, const std::string& node) {
    const auto execute = [&](Form form) {
        return monitor.execute("predsnap-set-predictions", Json::take(to_arguments(set, node, form))).discard();
    };
    Result<void> done = execute(Form::packed);
    // "Parameter 'packed' is unexpected": a driver that is older than this program.
    const bool unknown = !done.ok() && done.error().message.find("'packed' is unexpected") != std::string::npos;
    return unknown ? execute(Form::list) : done;
}

void tell_node(Courier& courier, const std::shared_ptr<Board>& board, const std::string& disk, const std::string& node,
               PredictionSet set) {
    const auto held = std::make_shared<const PredictionSet>(std::move(set));
    courier.post("tell " + disk, [board, disk, node, held](qmp::Monitor& monitor) {
        const Result<void> done = tell(monitor, *held, node);
        board->put(disk, [&](DiskReport& report) {
            ++(done.ok() ? report.told : report.refused);
            report.tell_error = done.ok() ? "" : done.error().message;
        });
    });
}

}  // namespace predsnap::predict
