// SPDX-License-Identifier: GPL-2.0-or-later
//
// What predictions are worth to the driver: a trace is replayed on the engine, once for each policy, and the engine is
// told what the policy says, every ten seconds of the trace.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "block/engine/result.h"
#include "tools/replay/ideal_cache.h"

namespace predsnap::predict {

enum class Policy : uint8_t {
    kNone,       // no staging cache
    kLru,        // all that is read or written is staged, the least recently used goes, first of it what was read once only
    kRules,      // the driver's own rules: nobody tells it anything
    kHeuristic,  // the best of the heuristics, as judged on the way
    kModel,      // what the daemon would serve
    kOracle,     // what will really come within the horizon
};
inline constexpr std::array kPolicies = {Policy::kNone,      Policy::kLru,   Policy::kRules,
                                         Policy::kHeuristic, Policy::kModel, Policy::kOracle};
std::string_view name_of(Policy policy);

struct SystemOptions {
    uint64_t staging_bytes = 64 << 20;
    int64_t horizon_us = 60'000'000;  // of what the engine is told
    std::string folder = "/var/tmp";  // for the image, which is removed afterwards; its file system has O_DIRECT
    bool align = false;               // see replay::PlacementOptions
    int64_t until_us = INT64_MAX;     // of the trace
};

// One policy's figures. Shares are from 0 to 1, bytes are for each byte that the guest wrote.
struct SystemFigures {
    Policy policy;
    double read_hits = 0;         // share of the blocks read that were staged
    double rewrite_hits = 0;      // share of the blocks written whose content before was staged
    uint64_t image_reads = 0;     // requests that the image got for the guest's reads
    double log_bytes = 0;         // in the log, headers and all
    double copied_bytes = 0;      // that cleaning and putting away old history wrote
    double written_bytes = 0;     // in all
    double slow_read_p50_s = 0, slow_read_p99_s = 0;  // if the image were slow; see replay::EnginePlayer
    double restore_s = 0;         // what the guest used in the last minute, from a snapshot; see replay::DeviceReads
    uint64_t ranges = 0;          // told
    double predict_s = 0;         // of this machine's time
};

// All policies; and what caches of as many bytes would find that know nothing, and everything.
struct SystemReport {
    std::vector<SystemFigures> policies;
    replay::IdealCaches ideal;
};

Result<SystemReport> evaluate_system(const std::string& trace, const SystemOptions& options);

}  // namespace predsnap::predict
