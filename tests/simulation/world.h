// SPDX-License-Identifier: GPL-2.0-or-later
//
// Everything of one run: the seed's plan, the simulated surroundings, the engine under test, the
// model beside it, and what both are compared by. The operations on it are in guest_io, *_ops,
// lifecycle and damage; run.cc chooses among them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base_device.h"
#include "block/engine/engine.h"
#include "coverage.h"
#include "model.h"
#include "random.h"
#include "scheduler.h"
#include "sim_disk.h"
#include "sim_host.h"

namespace predsnap::sim {

// What kind of run the seed makes. Drawn once.
struct Plan {
    explicit Plan(uint64_t seed);
    void make_archive(Random& random);

    uint64_t disk_sectors;      // at first
    uint64_t disk_sectors_max;  // it may grow to
    uint32_t segment_size;
    uint64_t prewrite;
    bool backing;
    uint64_t backing_bytes;
    int64_t point_interval_us;
    uint64_t pool_min, pool_max;
    uint64_t spare_segments;
    DiskOptions disk;
    double crash_rate;  // chance that a step arms a crash
    bool errors, no_space, clock_jumps, damage, rewrite_image;
    bool retention;  // history is limited now and then
    bool capacity;   // there is a second image for old history
    DiskOptions slow;
    FineOptions fine;
    uint64_t dictionary_frames, coalesce_rate;
    int64_t pack_after_us;
    Placement placement;
    bool archive = false;  // half of what is written comes in large pieces
    double slim_rate;  // of writes that change few bytes
    uint64_t tasks_max;    // guest requests at once
    uint64_t hot_sectors;  // half of the requests go to that many sectors
    uint64_t request_sectors_max;
};

// A snapshot as it should be listed.
struct SnapshotRecord {
    SnapshotInfo info;
    OpId created;
    std::vector<OpId> deletes{};  // attempts
    bool busy = false;            // one is running
};

// A view held open, with what was seen through it: it must not change.
struct OpenView {
    std::unique_ptr<View> view;
    uint64_t sequence;
    std::vector<Value> seen;
    uint64_t users = 0;
};

// What is known about points.
struct PointRecord {
    std::optional<int64_t> time;  // none: a crash may have changed it
    uint32_t branch;
    uint64_t recorded_by;  // the batch that names it in the image is not after this one
};

// Faults counted when an operation began, to judge whether its failure is explained.
struct FaultMark {
    uint64_t errors;
    uint64_t no_space;
    bool full;
};

constexpr uint64_t kVmSectors = 64;

struct World {
    World(uint64_t seed, bool verbose);

    // The newest sequence number of the engine.
    uint64_t newest() const { return engine->info().sequence.value; }
    uint64_t disk_sectors() const { return engine->size() / kSectorSize; }
    FaultMark mark() const;
    // An error is excused if a fault was injected since the mark, and always after the disk died.
    bool excused(const Error& error, const FaultMark& since) const;
    // Fails the run unless the error is excused.
    void require_excused(const char* what, const Error& error, const FaultMark& since);
    // Fails the run. Does not return when called from a task.
    void fail(const std::string& message) { scheduler.fail(message); }
    // Fails the run if the value is not one the model allows.
    void require(bool fine, const char* what, uint64_t slot, Value observed, const void* content);
    void log(const char* format, ...) __attribute__((format(printf, 2, 3)));
    // After each call of the engine: nobody may have left a wake for this task behind.
    void check_call_end();
    bool alive() const { return !disk.dead(); }
    void stop_faults();

    const uint64_t seed;
    const bool verbose;
    const Plan plan;
    int compression_level = 1;
    Random random;
    Scheduler scheduler;
    SimHost host;
    SimDisk disk;
    SimDisk slow;  // of the capacity image
    BaseDevice base;
    Model model;
    Coverage coverage;
    std::unique_ptr<Engine> engine;

    Value next_write = kFirstWrite;
    uint64_t next_name = 1;
    bool without_capacity = false;  // the engine was not given the capacity image
    bool disk_full = false;        // the capacity is limited now
    bool power_was_lost = false;   // since the engine last ran
    uint64_t flipped_bits = 0;     // damage done to the image
    uint64_t durable_claimed = 0;  // the engine said that history up to here is durable
    std::map<std::string, SnapshotRecord> snapshots;
    // Not listed, but a crash may bring them back: deleted, or never made because of an error.
    std::vector<SnapshotRecord> unlisted;
    uint64_t snapshot_calls = 0;  // running now
    std::vector<std::shared_ptr<OpenView>> views;
    std::map<uint64_t, PointRecord> points;
    std::vector<uint64_t> undo;  // sequence numbers that rollbacks left
    // Rollbacks that did not return, or failed after the last flush began: a crash may bring one of them back.
    struct UnsettledRollback {
        uint64_t target;
        bool failed = false;
    };
    std::vector<UnsettledRollback> unsettled_rollbacks;
    std::vector<std::string> backing_names;  // the last one set; more after a call that failed
    std::vector<Retention> retentions;       // likewise
    // Of the last look at where history begins: that, and what limits there were.
    uint64_t floor = 0;
    uint64_t reclaimed = 0;  // segments
    bool last_retentions_unlimited = true;
    int64_t last_window = INT64_MAX;
    uint64_t no_space_seen = 0, shrunk_seen = 0;
    bool demanded = false;  // coalescing was, whatever the limits
    std::vector<std::pair<uint64_t, uint64_t>> states_seen;  // time of the scheduler, newest sequence number
};

}  // namespace predsnap::sim
