// SPDX-License-Identifier: GPL-2.0-or-later
//
// One replay of a trace on the engine alone, in a new image, with a clock that follows the trace: what it took, and
// what the staging cache did. Verifies the disk and three points in the end. A failure ends the program, as nothing else
// is left to do then.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "counting_device.h"
#include "engine_player.h"
#include "foresight.h"
#include "tools/bench/bench_device.h"

namespace predsnap::replay {

struct RunOptions {
    SourceOptions source;
    std::string image;     // made anew, and left there
    double window_s = -1;  // of history that are kept; below 0: all
    std::vector<RetentionRule> rules;
    uint64_t bytes = 0;    // that history takes at most; 0: without limit
    int64_t points_us = 60'000'000;      // a snapshot after each; 0: none
    int64_t flush_every_us = 5'000'000;  // 0: only at points
    int64_t rest_us = 0;                 // so long nothing happens in the end
    uint64_t depth = 32;                 // requests at once at most
    bool prefill = false;  // what the guest reads before it writes it is there when the trace begins, else it is a hole
    OpenOptions open;
};

// What reading took from the image.
struct DeviceReads {
    uint64_t requests = 0, bytes = 0;
    // On a disk of 500 requests a second and 100 MB a second, one request after the other.
    double slow_seconds() const { return static_cast<double>(requests) / 500 + static_cast<double>(bytes) / 100e6; }
};

struct RunResult {
    struct State {
        uint64_t space = 0, written = 0;  // bytes: of the file, and written to it
        EngineInfo info;
        EngineStats stats;
        std::string json() const;
    };
    EngineStats before;           // when the trace began
    StagingStats staging_before;
    State at_end, at_quiet;  // once the trace ended, and once nothing was left to do
    uint64_t points = 0, peak = 0;
    int64_t cpu_us = 0, span_us = 0;
    FineInfo fine;
    Measures client;
    uint64_t read_blocks = 0, written_blocks = 0;  // of 4 KiB, that the guest's requests touched
    uint64_t staged_blocks = 0;  // that the guest read, from the staging cache
    DeviceReads guest_reads;     // of the image, for the guest's requests
    Latencies slow_reads;        // see EnginePlayer
    // Reading from a view of the newest snapshot what the guest used in the minute before it.
    DeviceReads restore;
    uint64_t restore_bytes = 0;
    std::string verified;

    std::string json() const;
};

// Runs as a task of the host.
class ReplayRun {
  public:
    // The teller, which may be null, is told of the engine's time every Teller::kTickUs.
    ReplayRun(bench::BenchHost& host, const RunOptions& options, Teller* teller);
    RunResult run();

  private:
    void create();
    void prefill();
    void reopen();
    void play(EnginePlayer& player);
    void rest();
    Result<void> play_until(EnginePlayer& player, int64_t until_us);
    void point(const std::string& name, bool keep);
    void restore(RunResult& result);
    RunResult::State state() const;
    std::string verify_all();

    bench::BenchHost& host_;
    const RunOptions& options_;
    Source source_;
    DiskModel model_;
    Teller* teller_;
    std::unique_ptr<bench::FileDevice> file_;
    CountingDevice device_;
    std::unique_ptr<Engine> engine_;
    std::map<std::string, DiskModel> kept_;
    std::string newest_point_;
    int64_t newest_point_us_ = 0;
    EngineStats stats_before_;
    StagingStats staging_before_;
    uint64_t written_before_ = 0, peak_ = 0, points_ = 0;
    int64_t told_us_ = 0;
};

}  // namespace predsnap::replay
