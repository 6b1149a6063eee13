// SPDX-License-Identifier: GPL-2.0-or-later
#include "moment.h"

#include "show.h"

namespace predsnap {

const char kMomentHelp[] =
    "MOMENT is a snapshot's name, a sequence number, or a time: '2026-11-20 14:32:07' (local time), the same with a zone\n"
    "(2026-11-20T14:32:07+01:00), 14:32, 'yesterday 14:32', -2h, '10 minutes ago', @MICROSECONDS since the epoch. A time is that\n"
    "of the newest point which is not after it. snapshot:X, time:X and sequence:X say which is meant.\n";

namespace {

bool take_prefix(std::string* text, const char* prefix) {
    const bool there = text->starts_with(prefix);
    if (there) {
        text->erase(0, std::string(prefix).size());
    }
    return there;
}

// Eighteen digits fit, and no disk ever gets there.
bool is_number(const std::string& text) {
    return !text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos;
}

Result<Moment> time_moment(const std::string& text, const Clock& clock) {
    TRY_ASSIGN(const int64_t time, parse_time(text, clock));
    if (time > clock.now_us()) {
        return Error{EINVAL, show_time(time, clock) + " has not come yet: it is " + show_time(clock.now_us(), clock)};
    }
    return Moment{.kind = Moment::Kind::time, .snapshot = {}, .time_us = time};
}

Result<Moment> sequence_moment(const std::string& text) {
    if (!is_number(text)) {
        return Error{EINVAL, "'" + text + "' is no sequence number"};
    }
    return Moment{.kind = Moment::Kind::sequence, .snapshot = {}, .sequence = std::stoll(text)};
}

}  // namespace

bool has_snapshot(const Json& node, const std::string& name) {
    const Json snapshots = node["snapshots"];
    for (size_t i = 0; i < snapshots.size(); ++i) {
        if (snapshots[i]["name"].string() == name) {
            return true;
        }
    }
    return false;
}

std::string snapshot_names(const Json& node) {
    const Json snapshots = node["snapshots"];
    std::string names;
    for (size_t i = 0; i < snapshots.size(); ++i) {
        names += (i > 0 ? ", '" : "'") + snapshots[i]["name"].string() + "'";
    }
    return names.empty() ? "it has none" : "it has " + names;
}

void Moment::set(JsonMap& arguments) const {
    switch (kind) {
        case Kind::snapshot:
            arguments.set("snapshot", snapshot);
            return;
        case Kind::time:
            arguments.set("time", time_us);
            return;
        case Kind::sequence:
            arguments.set("sequence", sequence);
    }
}

Json Moment::json() const {
    JsonMap map;
    set(map);
    return map.done();
}

Result<Moment> parse_moment(const std::string& given, const Json& node, const Clock& clock) {
    std::string text = given;
    if (take_prefix(&text, "time:")) {
        return time_moment(text, clock);
    }
    if (take_prefix(&text, "sequence:")) {
        return sequence_moment(text);
    }
    const bool said = take_prefix(&text, "snapshot:"), there = has_snapshot(node, text);
    const bool number = is_number(text), time = looks_like_time(text);
    if (said && !there) {
        return Error{ENOENT, "there is no snapshot '" + text + "': " + snapshot_names(node)};
    }
    if (!said && there && (number || time)) {
        return Error{EINVAL, "'" + text + "' is a snapshot, and could be a " + (number ? "sequence number" : "time") + ": say snapshot:" + text +
                                 (number ? " or sequence:" : " or time:") + text};
    }
    if (there) {
        return Moment{.kind = Moment::Kind::snapshot, .snapshot = text};
    }
    if (number) {
        return sequence_moment(text);
    }
    if (time) {
        return time_moment(text, clock);
    }
    auto parsed = time_moment(text, clock);
    if (parsed.ok()) {
        return parsed;
    }
    return Error{ENOENT, "there is no snapshot '" + text + "' (" + snapshot_names(node) + "), and " + parsed.error().message};
}

Json history_begin(const Json& node) {
    const Json begin = node["history"]["time"];
    return begin ? begin : node["oldest-point"];
}

std::string covered(const Json& node, const Clock& clock) {
    const Json newest = node["newest-point"];
    return newest ? "from " + show_time(history_begin(node).integer(), clock) + " to " + show_time(newest.integer(), clock) : "";
}

Error in_words(const Error& error, const Json& node, const Clock& clock) {
    const size_t at = error.message.find("lies before the history");
    if (at == std::string::npos) {
        return error;
    }
    // "time N lies before the history, which goes from N to N (microseconds since the epoch)"
    long long time = 0, from = 0, to = 0;
    const size_t begin = error.message.rfind("time ", at);
    if (begin == std::string::npos ||
        std::sscanf(error.message.c_str() + begin, "time %lld lies before the history, which goes from %lld to %lld", &time, &from, &to) != 3) {
        return error;
    }
    const Json snapshots = node["snapshots"];
    return Error{ENOENT, show_time(time, clock) + " lies before the history, which goes from " + show_time(from, clock) + " to " +
                             show_time(to, clock) + (snapshots.size() > 0 ? "; snapshots: " + snapshot_names(node) : "")};
}

Result<Json> find_state(Target& target, const Json& node, const Moment& moment, const Clock& clock) {
    if (moment.kind == Moment::Kind::snapshot) {
        const Json snapshots = node["snapshots"];
        for (size_t i = 0; i < snapshots.size(); ++i) {
            if (snapshots[i]["name"].string() == moment.snapshot) {
                return JsonMap()
                    .set("sequence", snapshots[i]["sequence"].integer())
                    .set("time", snapshots[i]["time"].integer())
                    .set("snapshot", moment.snapshot)
                    .done();
            }
        }
        return Error{ENOENT, "there is no snapshot '" + moment.snapshot + "': " + snapshot_names(node)};
    }
    if (moment.kind == Moment::Kind::time) {
        TRY_ASSIGN(const Json points, target.execute("predsnap-query-points", JsonMap().set("until", moment.time_us).set("limit", 1).move()));
        const Json history = node["history"];
        const bool dropped = points[0]["sequence"].integer() < history["sequence"].integer();
        if (points[0] && !dropped) {
            return points[0];
        }
    }
    // The same answer as a view or a rollback would get, and where it cannot be had, why.
    JsonMap map;
    map.set("from", moment.json()).set("to", moment.json()).set("limit", 1);
    const auto asked = target.execute("predsnap-query-changes", std::move(map));
    if (!asked.ok()) {
        return in_words(asked.error(), node, clock);
    }
    const Json state = asked.value()["from"];
    return JsonMap().set("sequence", state["sequence"].integer()).set("time", state["time"].integer()).done();
}

std::string show_state(const Json& state, const Clock& clock) {
    std::string text = "sequence " + std::to_string(state["sequence"].integer());
    if (state["time"]) {
        text += ", " + show_time(state["time"].integer(), clock);
    }
    if (state["snapshot"]) {
        text += ", snapshot '" + state["snapshot"].string() + "'";
    }
    return text;
}

}  // namespace predsnap
