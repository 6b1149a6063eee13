// SPDX-License-Identifier: GPL-2.0-or-later
//
// The parts of an open engine, and the work it does in the background.
#pragma once

#include "checkpoint.h"
#include "core.h"
#include "disk_state.h"
#include "history.h"
#include "index_cache.h"
#include "index_stream.h"
#include "log.h"
#include "reader.h"
#include "segment_table.h"
#include "superblock.h"
#include "timeline.h"
#include "wait.h"

namespace predsnap {

struct Engine::Impl {
    Impl(Host& host, Device& file)
        : core(host, file),
          log(core, segments, disk, history),
          stream(core, segments),
          indexes(core, segments, log, stream),
          timeline(core, segments, history, indexes),
          reader(core, disk, indexes) {}

    Core core;
    SegmentTable segments;
    DiskState disk;
    History history;
    Log log;
    IndexStream stream;
    IndexCache indexes;
    Timeline timeline;
    Reader reader;
    OpenOptions options;

    // Serialises what changes more than data: snapshots, rollbacks, resizes.
    TaskMutex control;
    // Serialises checkpoints; and changes of the superblock.
    TaskMutex checkpointing, superblock_mutex;
    format::Superblock superblock{};

    // --- Guarded by Core::mutex ---
    std::vector<SegmentId> checkpoint_segments;
    // Of checkpoints whose superblock could not be written: it may be on the disk or not.
    std::vector<SegmentId> doubtful_segments;
    uint64_t checkpoint_bytes = 0;
    uint64_t batch_bytes_at_checkpoint = 0;
    uint64_t entries_at_checkpoint = 0;  // DiskState::entries_applied
    // Background work: one task at a time.
    bool paused = false;
    bool working = false;
    WaitList idle;             // waits for working to end
    bool index_failed = false; // until the next segment is opened
    bool pool_failed = false;
    bool checkpoint_failed = false;
    uint64_t segments_opened = 0;   // when a segment was opened last
    Time rate_since;                // the write rate is measured over periods of a second or more
    uint64_t rate_bytes = 0;        // appended before the period
    double bytes_per_second = 0;
    SegmentId filling = kNoSegment;  // the segment the pool is writing, and how far
    uint32_t filled = 0;
    size_t ready_at_open = 0;
    AlignedBuffer zeros;  // what the pool writes; of the one task that works

    void measure_rate(Time now);
    // The log has moved on. Requires Core::mutex.
    void on_progress();
    void pause();
    void resume();
    void wait_idle();

    Result<void> checkpoint();
    // Changes the superblock under its mutex and writes it, durably.
    Result<void> update_superblock(const std::function<void(format::Superblock&)>& change);
    // Gives ready segments at the end of the image back, but for the pool's minimum and as many as there
    // were at open: they may have been preallocated.
    Result<void> trim_image();

    Result<void> writable() const;
    // EINVAL unless the range is made of whole sectors and lies below `limit`.
    Result<void> check_range(uint64_t offset, uint64_t length, uint64_t limit) const;
    // The same for a guest request, which is counted.
    Result<void> admit(uint64_t offset, uint64_t length, uint64_t EngineStats::*requests,
                       uint64_t EngineStats::*bytes);
    Result<void> settle(const std::string& done);
    Result<void> map_zero(uint64_t offset, uint64_t length);
    Result<void> write(Sector start, std::span<const iovec> buffers);
    // The sequence number a moment names.
    Result<Engine::Resolved> resolve(const Moment& moment);
    Result<Engine::Resolved> resolve_time(Time time);
    Result<Engine::Resolved> with_time(Engine::Resolved resolved);
    // Makes a state the current one. The log's gate must be closed.
    Result<void> go_to(Sequence target);
    // A view of a state; registered, so that it stays what it is.
    Result<std::unique_ptr<FrozenState>> freeze(const Engine::Resolved& state);
    void thaw(FrozenState* view);
    Result<RangeStatus> status(const FrozenState* view, uint64_t offset, uint64_t length,
                               bool with_place);

    // One step of background work each. Return false if there is nothing to do.
    bool work_step();
    bool write_index_step();
    bool flush_step();
    bool fill_pool_step();
    bool checkpoint_step();
    size_t pool_target() const;
    CheckpointParts capture(FrozenState* view);
    Result<void> write_checkpoint(CheckpointWriter& writer, const CheckpointParts& parts,
                                  const FrozenState& view);
};

struct View::Impl {
    Impl(Engine::Impl& e, std::unique_ptr<FrozenState> s) : engine(e), state(std::move(s)) {}

    Engine::Impl& engine;
    std::unique_ptr<FrozenState> state;
};

}  // namespace predsnap
