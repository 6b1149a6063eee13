// SPDX-License-Identifier: GPL-2.0-or-later
#include "node_facts.h"

#include <algorithm>

namespace predsnap::predict {
namespace {

uint64_t count(const Json& value) { return static_cast<uint64_t>(value.integer()); }

TierFacts to_tier(const Json& tier) {
    return {.name = tier["tier"].string(),
            .attached = tier["attached"].boolean(true),
            .full = tier["full"].boolean(),
            .size_bytes = count(tier["size"]),
            .used_bytes = count(tier["used"]),
            .stream_bytes = count(tier["stream-bytes"]),
            .streams = count(tier["streams"]),
            .available_bytes = {}};
}

JudgedFacts to_judged(const Json& judged) {
    return {.precision = judged["precision"].number(-1),
            .recall = judged["recall"].number(-1),
            .brier = judged["brier"].number(-1)};
}

void add_history(const Json& info, NodeFacts& facts) {
    const Json history = info["history"], segments = info["segments"];
    facts.oldest_us = info["oldest-point"].integer();
    facts.newest_us = info["newest-point"].integer();
    if (history["cdp-window"]) {
        facts.window_s = history["cdp-window"].integer();
    }
    if (history["cdp-bytes"]) {
        facts.window_bytes = count(history["cdp-bytes"]);
    }
    facts.debt_bytes = count(segments["leaving"]) * count(info["segment-size"]);
    for (size_t i = 0; i < info["tiers"].size(); ++i) {
        facts.tiers.push_back(to_tier(info["tiers"][i]));
    }
}

void add_prediction(const Json& info, NodeFacts& facts) {
    const Json prediction = info["prediction"], judged = prediction["judged"];
    facts.threshold = info["threshold"]["value"].number();
    facts.predictions_serve = prediction["source"].string() == "predictions";
    facts.model = prediction["model"].string();
    facts.predictions_accepted = count(prediction["accepted"]);
    facts.predictions_refused = count(prediction["refused"]);
    facts.predictions_expired = count(prediction["expired"]);
    facts.judged_writes = to_judged(judged["writes"]);
    facts.judged_reads = to_judged(judged["reads"]);
}

void add_staging(const Json& staging, NodeFacts& facts) {
    facts.staging = {.size_bytes = count(staging["size"]),
                     .used_bytes = count(staging["used"]),
                     .memory_bytes = count(staging["memory"]),
                     .hits = count(staging["hits"]),
                     .misses = count(staging["misses"]),
                     .evictions = count(staging["evictions"]),
                     .refused = count(staging["refused"])};
}

void add_counters(const Json& stats, NodeFacts& facts) {
    facts.points = count(stats["points"]);
    facts.rollbacks = count(stats["rollbacks"]);
    facts.checksum_errors = count(stats["checksum-errors"]);
    facts.append_errors = count(stats["append-errors"]);
    facts.log_bytes = count(stats["batch-bytes"]);
    facts.sealed_bytes = count(stats["sealed-bytes"]);
    facts.cleaned_segments = count(stats["cleaned-segments"]);
}

}  // namespace

NodeFacts to_node_facts(const Json& info) {
    NodeFacts facts;
    facts.uuid = info["uuid"].string();
    facts.size_bytes = count(info["size"]);
    facts.image_bytes = count(info["image-size"]);
    facts.map_bytes = count(info["map-memory"]);
    facts.sequence = count(info["sequence"]);
    facts.durable = count(info["durable"]);
    facts.active = info["active"].boolean(true);
    facts.writable = info["writable"].boolean(true);
    facts.corrupt = info["corrupt"].boolean();
    facts.snapshots = info["snapshots"].size();
    facts.branches = info["branches"].size();
    facts.views = count(info["views"]);
    add_history(info, facts);
    add_staging(info["staging"], facts);
    add_prediction(info, facts);
    add_counters(info["stats"], facts);
    return facts;
}

std::string image_file(const Json& nodes, const std::string& node) {
    for (size_t i = 0; i < nodes.size(); ++i) {
        const std::string name = nodes[i]["file"].string();
        if (nodes[i]["node-name"].string() == node && name.starts_with('/')) {
            return name;
        }
    }
    return "";
}

bool has_new_points(const NodeFacts& facts, const PointSums& sums) {
    return sums.begun && facts.newest_us > sums.last_us;
}

void add_points(const NodeFacts& facts, const Json& points, PointSums& sums) {
    int64_t newest_us = facts.newest_us;
    for (size_t i = 0; sums.begun && i < points.size(); ++i) {
        const Json point = points[i];
        if (point["time"].integer() > sums.last_us) {
            ++sums.points;
            sums.bytes_changed += count(point["bytes-changed"]);
            sums.chunks_changed += count(point["chunks-changed"]);
            newest_us = std::max(newest_us, point["time"].integer());
        }
    }
    sums.begun = true;
    sums.last_us = newest_us;
}

}  // namespace predsnap::predict
