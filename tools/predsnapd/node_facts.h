// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a node says of itself: the part of query-predsnap's and predsnap-query-points' answers that is watched.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/qmp/json.h"

namespace predsnap::predict {

struct TierFacts {
    std::string name;  // "fast", "capacity"
    bool attached = true, full = false;
    uint64_t size_bytes = 0, used_bytes = 0, stream_bytes = 0;
    uint64_t streams = 0;
    std::optional<uint64_t> available_bytes;  // left where it lies; nothing: not known
};

// What came of predictions of writes, or of reads. Below 0: not known.
struct JudgedFacts {
    double precision = -1, recall = -1, brier = -1;
};

struct StagingFacts {
    uint64_t size_bytes = 0, used_bytes = 0, memory_bytes = 0;
    uint64_t hits = 0, misses = 0, evictions = 0, refused = 0;
};

struct NodeFacts {
    std::string uuid;
    uint64_t size_bytes = 0, image_bytes = 0, map_bytes = 0;
    uint64_t sequence = 0, durable = 0;
    bool active = true, writable = true, corrupt = false;
    uint64_t snapshots = 0, branches = 0, views = 0;
    // Of the history: microseconds since the epoch, 0 if there is none.
    int64_t oldest_us = 0, newest_us = 0;
    std::optional<int64_t> window_s;     // asked for; nothing: all is kept
    std::optional<uint64_t> window_bytes;
    // Of history that is to go, or to be put into streams.
    uint64_t debt_bytes = 0;
    std::vector<TierFacts> tiers;
    StagingFacts staging;
    double threshold = 0;
    bool predictions_serve = false;      // else the built-in rules
    std::string model;
    uint64_t predictions_accepted = 0, predictions_refused = 0, predictions_expired = 0;
    JudgedFacts judged_writes, judged_reads;
    // Counters since the node was opened.
    uint64_t points = 0, rollbacks = 0, checksum_errors = 0, append_errors = 0;
    uint64_t log_bytes = 0, sealed_bytes = 0, cleaned_segments = 0;
};

// One element of query-predsnap's answer. Members that an older or newer driver does not have are 0.
NodeFacts to_node_facts(const Json& info);

// The file that holds the node's image, by an answer of query-named-block-nodes; empty if it is none.
std::string image_file(const Json& nodes, const std::string& node);

// Of the points that came up since the node was first asked.
struct PointSums {
    bool begun = false;   // it is known which points are not to be counted
    int64_t last_us = 0;  // the time of the newest one counted, or that was there before
    uint64_t points = 0, bytes_changed = 0, chunks_changed = 0;
};

// Whether there are points that were not counted yet. Only those are to be asked for: the driver compares states to say what
// changed.
bool has_new_points(const NodeFacts& facts, const PointSums& sums);

// Adds the points of an answer of predsnap-query-points that come after the newest one counted. The first time it only notes
// which that is: what was before the daemon is not its to count.
void add_points(const NodeFacts& facts, const Json& points, PointSums& sums);

}  // namespace predsnap::predict
