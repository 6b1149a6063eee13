// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is known of the future, as the interface of the engine (engine.h) has it: predictions and hints from outside, the
// threshold that decides which of them count, and how good they were.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "types.h"

namespace predsnap {

// Chunks of the disk, of 64 KiB: what predictions are about, and granularity.
constexpr uint64_t kChunkBytes = 64 << 10;
static_assert(kChunkSectors * kSectorSize == kChunkBytes);

// A part of the disk, in bytes, and how likely each of its chunks is to be written, and read: from 0 to 1.
struct Prediction {
    uint64_t offset = 0, length = 0;
    double write = 0, read = 0;
    std::optional<double> change;  // share of bytes that differ when it is written; none: nothing is said
};

// Limits of a set. What goes beyond them is refused.
constexpr size_t kMaxPredictions = 64 << 10;
constexpr size_t kMaxPredictedChunks = 256 << 10;  // 16 GiB; they take 4 MiB of RAM, and as much while they are judged
constexpr int64_t kMaxHorizonUs = int64_t{86'400} * 1'000'000;
constexpr size_t kMaxModelName = 255;

// Chunks that are in none of the predictions are said to be unlikely to be used.
struct PredictionSet {
    std::string model;         // who says so, for people to read
    Sequence base;             // the newest state that was known when they were made
    int64_t horizon_us = 0;    // for how long from then on they hold
    std::vector<Prediction> predictions;  // of chunks that are in several, the last counts
    std::optional<double> write_rate;     // bytes a second that the guest is going to write
};

enum class HintKind : uint8_t { will_read, will_write, cold };

// What a client knows. It holds for a while, and is stronger than predictions.
struct Hint {
    uint64_t offset = 0, length = 0;
    HintKind kind = HintKind::will_read;
    // How long an access may take, in microseconds: what may take longer is less relevant.
    std::optional<int64_t> latency_us;
};

// What is less relevant than the threshold is not staged.
struct ThresholdOptions {
    double threshold = 0.05;  // from 0 to 1; where an adaptive one begins
    bool adaptive = true;
    double min = 0.01, max = 0.9;  // of an adaptive one
    double target_hit_rate = 0.8;  // of lookups in the staging cache
    bool operator==(const ThresholdOptions&) const = default;
};

struct ThresholdInfo {
    ThresholdOptions options;
    double value = 0;
    struct Change {
        int64_t age_us;    // how long ago
        double value;      // from then on
        double hit_rate;   // of the period before it
        double occupancy;  // of the staging cache then
    };
    std::vector<Change> history;  // the newest, oldest first
    uint64_t changes = 0;         // since the image was opened
};

// What predictions decide, beside the built-in rules. Each can be switched off.
struct PredictionUse {
    bool staging = true;      // what the staging cache admits, and what it drops first
    bool granularity = true;  // which chunks are logged as what differs
    bool pool = true;         // how many segments are written ahead
    bool placement = true;    // what is not put apart (placement.cc)
    bool operator==(const PredictionUse&) const = default;
};

// What came of predictions of writes, or of reads. Chunks with a probability of a half or more count as predicted.
struct Judged {
    uint64_t predicted = 0, came_true = 0;  // chunks
    uint64_t used = 0;                      // chunks that were written (read), predicted or not
    double expected = 0;                    // sum of all probabilities
    double brier = 0;                       // mean of (probability - outcome) squared, over what was listed or used
    std::optional<double> precision() const {
        return predicted > 0 ? std::optional(static_cast<double>(came_true) / static_cast<double>(predicted))
                             : std::nullopt;
    }
    std::optional<double> recall() const {
        return used > 0 ? std::optional(static_cast<double>(came_true) / static_cast<double>(used)) : std::nullopt;
    }
};

// How good predictions were, or are so far.
struct Judgement {
    std::string model;      // "heuristic": the built-in rules
    Sequence base;
    int64_t horizon_us = 0;
    int64_t elapsed_us = 0;
    bool finished = false;  // the horizon has passed
    bool cut_short = false; // it ended before: a rollback, or too many at a time
    uint64_t chunks = 0;    // that were listed
    Judged writes, reads;
};

struct PredictionInfo {
    enum class Source : uint8_t { heuristic, predictions } source = Source::heuristic;
    PredictionUse use;
    // Of the newest set, if there was any.
    bool given = false;
    std::string model;
    Sequence base;
    int64_t age_us = 0, horizon_us = 0;  // since it was made, as far as is known
    uint64_t chunks = 0;
    std::optional<double> write_rate;
    uint64_t accepted = 0, refused = 0, expired = 0;  // sets, since the image was opened
    uint64_t hints = 0;                 // that hold now
    uint64_t wanted_horizon_us = 0;     // of snapshots that wait for predictions; 0: none
    std::optional<Judgement> judging;   // a set that is being judged
    std::optional<Judgement> judged;    // the newest that was
};

// Of a snapshot that was made with a horizon.
struct SnapshotForecast {
    uint64_t snapshot_id;
    Judgement judgement;
};

}  // namespace predsnap
