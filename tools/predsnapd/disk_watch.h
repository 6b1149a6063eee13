// SPDX-License-Identifier: GPL-2.0-or-later
//
// One disk that the daemon predicts for: it follows the disk's access log, keeps its models, and says
// what comes next. One thread at a time; while one trains, others leave it alone (the log waits).
#pragma once

#include <optional>
#include <string>

#include "forecaster.h"
#include "model_store.h"
#include "prediction.h"
#include "tools/predsnap/access_log_reader.h"

namespace predsnap::predict {

struct DiskConfig {
    std::string name;    // of its models
    std::string log;     // access log of the node
    std::string qmp;     // Unix socket of its QEMU
    std::string domain;  // of libvirt: without `qmp`, its monitor is used; without both nothing is told to anybody
    std::string node;    // node-name of the disk
    int weight = 5;      // how critical its application is, 0 to 10: it is trained before lighter ones
    bool operator==(const DiskConfig&) const = default;
};

// Writes and reads within 10, 60 and 600 seconds.
std::vector<Target> daemon_targets();
// What one disk may take of memory, and what of it is predicted.
Forecaster::Options disk_options();

// What is judged of what is predicted at that time, a whole minute: moments closer than a third of a horizon say almost the
// same of it, and each is kept until it has passed.
bool is_judged(const Target& target, int64_t time_us);

class DiskWatch {
  public:
    explicit DiskWatch(DiskConfig config);

    // Uses the models of an earlier run. Messages are for people.
    void load_models(ModelStore& store, std::vector<std::string>& messages);
    // Reads what is new in the log; the whole of it, and what was put aside last, at first. Bounded by
    // `records_max`; true if more is there.
    Result<bool> catch_up(size_t records_max);
    // To be called even if nothing came: judges what was predicted, predicts once a minute what is judged.
    Result<void> advance(int64_t now_us);

    // What the host is like now.
    void surround(int64_t now_us, Surroundings host) {
        host.weight = static_cast<float>(config_.weight);
        forecaster_.surround(now_us, host);
    }

    // Trains anew. May take many seconds of processor time, and touches nothing but this disk.
    Result<void> train();
    // After train(), in the daemon's thread.
    Result<void> save_models(ModelStore& store) const;

    // While it has none of its own, tries those of the most similar disk: its name; empty: nothing happened.
    Result<std::string> borrow_models(ModelStore& store, std::vector<std::string>& messages);

    // What comes within the horizon, which is one of the targets'.
    Result<PredictionSet> predict(int64_t now_us, int64_t horizon_us, size_t ranges_max);
    // Whether the driver would think otherwise than by what it was told last.
    bool worth_telling(const PredictionSet& set, int64_t now_us) const;
    void note_told(const PredictionSet& set, int64_t now_us);
    // The driver does not know what it was told.
    void forget_told() { told_us_ = kNever; }

    const DiskConfig& config() const { return config_; }
    const Forecaster& forecaster() const { return forecaster_; }
    uint64_t records() const { return records_; }
    uint64_t dropped() const { return dropped_; }

  private:
    Result<void> open_log();
    Result<void> observe(const AccessRecord& record);

    const DiskConfig config_;
    Forecaster forecaster_;
    std::optional<AccessLogReader> reader_;
    bool begun_ = false;      // the log that was put aside before was read
    bool in_aside_ = false;   // reader_ reads that
    uint64_t records_ = 0, dropped_ = 0;
    int64_t next_judge_us_ = kNever;
    int64_t next_borrow_us_ = kNever;
    uint64_t sequence_ = 0;   // of the disk, when the newest block was written
    PredictionSet told_;      // last, at that time
    int64_t told_us_ = kNever;
};

}  // namespace predsnap::predict
