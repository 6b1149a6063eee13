// SPDX-License-Identifier: GPL-2.0-or-later
//
// The engine: one open predsnap image. This is the whole interface that hosts use.
//
// Context: unless a member says otherwise, calls come from a task (host.h), may block it, and may
// come from several tasks and threads at once. The Devices and the Host are the caller's and outlive
// the engine. Offsets and lengths are in bytes and multiples of kSectorSize.
//
// Errors: EINVAL for a request that makes no sense, ENOENT for an unknown snapshot, EEXIST for a name
// in use, ENOSPC when the image cannot grow, EROFS when opened read-only, EIO with a report to
// Host::report for corruption, and what a Device returned.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "device.h"
#include "host.h"
#include "prediction.h"
#include "result.h"
#include "types.h"

namespace predsnap {

using Uuid = std::array<uint8_t, 16>;

struct CreateOptions {
    uint64_t size = 0;               // bytes, multiple of kSectorSize, at most kMaxSize
    uint32_t segment_size = 8 << 20; // bytes, power of two, 64 KiB to 64 MiB
    uint64_t prewrite = 0;           // bytes of log to write ahead of time (preallocation)
    std::string backing_file;        // at most 1023 bytes; empty: none
    std::string backing_format;      // at most 15 bytes
    Uuid uuid{};                     // identity; all zeros: drawn from Host::random
};

constexpr uint64_t kMaxSize = to_bytes(kVmStateBase);  // 256 TiB
constexpr uint64_t kMaxVmState = to_bytes(kSectorLimit) - kMaxSize;

// Beyond the window: of the points in each period of `every_us` one is kept, until it is older than `for_us`.
struct RetentionRule {
    int64_t every_us = 0;
    int64_t for_us = 0;

    bool operator==(const RetentionRule&) const = default;
};

// How much history is kept. Without either limit: all of it. Snapshots are kept until they are deleted. Age is counted
// in time of use: while the image is not open, nothing grows old.
struct Retention {
    std::optional<int64_t> window_us;  // states younger than that; 0: none but the newest
    std::optional<uint64_t> bytes;     // at most so many of the image, even if that is less than the window
    // With a window; periods and reach ascend, and the first reaches further back than the window.
    std::vector<RetentionRule> rules = {};

    bool limited() const { return window_us || bytes; }
    bool operator==(const Retention&) const = default;
};

// How writes are logged. Fine: what differs from the content before, where that is staged and the difference is small;
// else, and on sub_block, as the guest wrote them. block is not made differently from sub_block (docs/performance.md).
enum class Granularity : uint8_t { automatic, fine, sub_block, block };
enum class ChunkLevel : uint8_t { sub_block = 0, fine = 1, block = 2 };

struct FineOptions {
    uint64_t staging_bytes = 64 << 20;  // of the staging cache, taken as needed; 0: none, so no deltas either
    Granularity granularity = Granularity::automatic;
    unsigned weight = 5;                // 0..10: how critical the application is; scores grow with it
    bool stage_reads = true;            // blocks that are read again and again are staged, too
    PredictionUse use = {};
    ThresholdOptions threshold = {};
    bool operator==(const FineOptions&) const = default;
};

// Of the staging cache, by purpose: entries are counted by what they are there for, hits and misses by who looked.
struct StagingUse {
    uint64_t entries = 0;  // now
    uint64_t hits = 0, misses = 0;
    uint64_t admitted = 0, used = 0;  // entries that came in, and of these those that were found at least once
    uint64_t evictions = 0, invalidations = 0, refused = 0;
    uint64_t unused = 0;  // of the entries, those that nobody has found yet
};

struct StagingStats {
    uint64_t entries = 0, bytes = 0, limit = 0, memory_bytes = 0;  // now
    uint64_t hits = 0, misses = 0, evictions = 0, invalidations = 0, refused = 0;
    std::array<StagingUse, 3> by_purpose;  // rewrite, read, prefetch
};

// Blocks of 4 KiB that were fetched ahead of time (prefetch.h), since the image was opened. What became of those in the
// cache is in StagingStats::by_purpose.
struct PrefetchInfo {
    uint64_t queued = 0;    // chunks of 64 KiB that wait, now
    uint64_t running = 0;   // and that are being read
    uint64_t unused = 0;    // blocks in the cache that nobody has used yet
    uint64_t wanted = 0;    // chunks that were put into the queue
    uint64_t dropped = 0;   // of these, those that left it unread: too many, not relevant any more, or read by the guest
    uint64_t fetched = 0;   // blocks
    uint64_t bytes = 0;     // of them
    uint64_t needless = 0;  // chunks of which all was at hand
    uint64_t refused = 0;   // blocks below the threshold, or there was no room for
    uint64_t late = 0;      // blocks that were overwritten while they were read
    uint64_t waits = 0;     // reads that waited for what was on its way
    uint64_t failures = 0;  // chunks that could not be read
};

struct FineInfo {
    FineOptions options;
    StagingStats staging;
    uint64_t chunks_fine = 0;
    uint64_t live_deltas = 0;   // known of those that the current state has
    bool deltas_learnt = true;  // these are all
};

// Which neighbouring streams of old history are merged first: those that are expected to free the most for what is read,
// by how similar their changes are; or, to compare, the oldest, or those that free the most exactly,
// for which the indexes of all are read.
enum class MergeOrder : uint8_t { saving, age, exact };

// Where data goes that the cleaner makes room by: to the log's end, or apart from what the guest writes, into packs
// (placement.cc).
enum class Placement : uint8_t { log, apart };

struct OpenOptions {
    bool writable = true;
    FineOptions fine;
    // Device below, for holes. Null: holes read as zeros. Shorter than the disk: zeros past its end.
    Device* backing = nullptr;
    // Second image, for old history. One that holds only zeros is made a capacity image of this one if it is opened for
    // writing. Null: there is none, or it is not to be had: then what lies there cannot be read.
    Device* capacity = nullptr;
    // While dirty, a point is made at least this often, in microseconds; 0: only flushes make points.
    int64_t point_interval_us = 1'000'000;
    // The pool of ready segments is kept between these, in bytes; it follows the write rate.
    uint64_t pool_min = 16 << 20;
    uint64_t pool_max = 512 << 20;
    // Where history is limited, what is not history takes up to a quarter more than the data, and so many segments.
    uint64_t spare_segments = 8;
    // A checkpoint is due after so many segments of log.
    uint64_t checkpoint_segments = 128;
    int compression_level = 1;  // of old history: zstd's, 1 to 19
    // Streams of at least so many frames (16 KiB) of data are tried with a dictionary; 0: none is.
    uint64_t dictionary_frames = 128;
    MergeOrder merge_order = MergeOrder::saving;
    // Bytes of the guest's data in streams that merging may read, a second; 0: without limit. Not on demand.
    uint64_t coalesce_rate = 0;
    // Data that nobody has written for so long, in microseconds, is compressed (pack.cc), where history is limited; less
    // than 0: none is.
    int64_t pack_after_us = -1;
    Placement placement = Placement::log;
    bool repair = false;  // open without a damaged checkpoint, or even without acknowledged history; for check -r
};

// What is at a range, for block_status. `data` and `zero` as QEMU means them; neither: hole, the
// backing shows through.
struct RangeStatus {
    uint64_t length = 0;  // bytes from the asked offset on that share the status
    bool data = false;
    bool zero = false;
    // If asked for: where the data lies in the image, contiguous over `length`.
    std::optional<Place> place;
};

struct SnapshotInfo {
    uint64_t id = 0;               // unique in the image, never reused, from 1
    std::string name;              // 1 to 255 bytes
    Sequence sequence;             // the state it names
    Time time;
    uint64_t disk_size = 0;
    uint64_t vm_state_size = 0;    // bytes of VM state saved with it; 0: none
    uint64_t vm_clock_ns = 0;
    uint64_t icount = UINT64_MAX;  // UINT64_MAX: not recorded
    uint32_t horizon_s = 0;        // prediction horizon asked for; 0: none
};

// Why a point is still there.
enum class Kept : uint8_t {
    all,       // history has no limit
    window,    // it is younger than the window, or there is no window and room
    snapshot,  // there is a snapshot of it
    rule,      // a rule for old history keeps it
    leaving,   // it is not: it will be gone soon
};

struct PointInfo {
    Sequence sequence;
    Time time;
    uint32_t branch = 0;         // index in EngineInfo::branches
    bool flush = false;          // made by a guest flush; otherwise by the interval or a snapshot
    uint64_t bytes_changed = 0;  // guest bytes written, zeroed or discarded since the point before; in streams, net
    // 64 KiB chunks touched since the point before, by what became of them (change_vector.h).
    uint64_t chunks_added = 0, chunks_modified = 0, chunks_discarded = 0;
    std::string snapshot;        // name, if a snapshot is of this point
    Kept kept = Kept::all;

    uint64_t chunks_changed() const { return chunks_added + chunks_modified + chunks_discarded; }
};

struct PointQuery {
    Time since{INT64_MIN};
    Time until{INT64_MAX};
    uint64_t limit = UINT64_MAX;  // the newest `limit` of them
};

// A rollback leaves what it undoes behind as a branch. Branch 0 is the first; each rollback begins
// the next one.
struct BranchInfo {
    uint32_t id = 0;
    Sequence first;   // first sequence number of the branch (the rollback record), 0 for branch 0
    Sequence last;    // last one
    Sequence parent;  // the state it started from
    bool current = false;
};

// How to name a state to go to: exactly one is set.
struct Moment {
    std::optional<std::string> snapshot;  // by name
    std::optional<Time> time;             // the newest point not after it
    std::optional<Sequence> sequence;     // any sequence number in the history
};

// One of the images that history lies in.
struct TierInfo {
    bool attached = false;
    bool full = false;          // it could not grow when it last was to
    uint64_t bytes = 0;         // length, as far as it is known
    uint64_t used = 0;          // bytes of segments in use
    uint64_t streams = 0;       // that lie there
    uint64_t stream_bytes = 0;  // of the guest's data in these
};

struct EngineInfo {
    Uuid uuid{};
    uint64_t virtual_size = 0;
    uint32_t segment_size = 0;
    std::string backing_file, backing_format;
    Sequence sequence;            // newest batch
    Sequence durable;             // newest batch known to be durable
    uint64_t snapshots = 0;
    uint32_t branch = 0;
    std::vector<BranchInfo> branches;
    Sequence floor;               // the oldest state that can be gone back to
    Time floor_time;              // of it, unless it is 0
    Retention retention;
    Time oldest_point, newest_point;
    Sequence newest_point_sequence;  // 0: there is no point yet, and the two times mean nothing
    uint64_t segments_total = 0, segments_log = 0, segments_index = 0, segments_checkpoint = 0,
             segments_ready = 0, segments_free = 0;
    uint64_t segments_stream = 0;   // they hold old history
    uint64_t streams = 0;
    uint64_t packs = 0, packed_live_bytes = 0;  // of cold data of the current state; bytes of the guest's that lie there
    TierInfo fast, capacity;
    Uuid capacity_id{};             // of the capacity image, attached or not; all zeros: there has been none
    uint64_t segments_past = 0;     // of segments_log: they hold data of the current state, no history
    uint64_t segments_leaving = 0;  // of log and index: free as soon as nobody reads there
    uint64_t image_bytes = 0;     // length of the image
    uint64_t live_extents = 0;
    uint64_t map_memory_bytes = 0;
    uint64_t views_open = 0;
    bool corrupt = false;         // corruption was found since the image was opened
};

// Counters since open.
struct EngineStats {
    uint64_t writes = 0, write_bytes = 0;      // guest requests
    uint64_t reads = 0, read_bytes = 0;
    uint64_t flushes = 0, discards = 0, discard_bytes = 0, zeroes = 0, zero_bytes = 0;
    uint64_t batches = 0, batch_bytes = 0;     // appended to the log, headers included
    uint64_t index_bytes = 0, checkpoint_bytes = 0, prewritten_bytes = 0;
    uint64_t points = 0, snapshots = 0, rollbacks = 0, checkpoints = 0;
    uint64_t checksum_errors = 0, append_errors = 0;
    uint64_t cleaned_segments = 0, moved_bytes = 0;  // copied out of segments that were mostly unused
    uint64_t reclaimed_segments = 0, given_back_bytes = 0;
    uint64_t deltas = 0, delta_bytes = 0;  // blocks written as deltas, and what these took
    uint64_t materialised = 0;             // parts of deltas written out again
    uint64_t packed_bytes = 0, pack_bytes = 0;    // of the guest's cold data, put into packs; and what these take
    uint64_t packs = 0;                           // made
    uint64_t streams_compacted = 0;               // copied, to free segments they were in with what is gone
    uint64_t streams_referred = 0;                // written anew, to be stored after what packs have
    uint64_t sealed_bytes = 0, stream_bytes = 0;  // of the guest's, put into streams; and what these take
    uint64_t moved_streams = 0, moved_stream_bytes = 0;  // to the capacity image; bytes of the guest's
    uint64_t coalesced_bytes = 0;              // of the guest's, in streams that were merged
    // Dictionaries that were trained, streams that have one, and what that saved of these by the sample.
    uint64_t merges = 0, merged_bytes = 0;     // and how often that was; of the guest's, in what came of it
    uint64_t points_cut = 0;                   // that rules would keep, but there was no room for
    uint64_t dictionaries_trained = 0, dictionaries_used = 0, dictionary_savings = 0;
    uint64_t recovered_batches = 0;            // read from the log's tail when opened
    int64_t open_us = 0;                       // how long opening took
};

// Findings of check(). Each finding is a sentence naming the object and place.
struct CheckResult {
    uint64_t corruptions = 0;
    uint64_t leaks = 0;             // bytes of the image nothing refers to
    uint64_t extents_checked = 0;
    uint64_t image_end = 0;
    std::vector<std::string> findings;  // the first 1000
};

struct CheckOptions {
    bool verify_data = true;
    // Called now and then with 0..1; return false to stop (the check then fails with ECANCELED).
    std::function<bool(double)> progress;
};

// What differs between two states: see Engine::changes.
struct ChangesQuery {
    uint64_t offset = 0;              // where to begin
    uint64_t ranges_max = UINT64_MAX; // stop after about so many ranges
    uint64_t bytes_max = UINT64_MAX;  // and after reading about so much of each state
};
struct Changes {
    struct Range {
        uint64_t offset, length;
    };
    struct State {
        Sequence sequence;
        Time time;
        uint64_t size = 0;
    };
    State from, to;
    std::vector<Range> ranges;     // ascending; none touches the next
    std::optional<uint64_t> next;  // where to go on, if that was not all

    void add(uint64_t offset, uint64_t length);  // after all others
};

class View;

class Engine {
  public:
    // True if the first `length` bytes of a file (512 are enough) look like a predsnap image.
    static bool probe(const void* head, size_t length);
    // Writes a new, empty image to the device, replacing what it held.
    static Result<void> create(Host& host, Device& file, const CreateOptions& options);
    // Reads the superblock and recovers the state after the last complete batch (docs/format.md).
    static Result<std::unique_ptr<Engine>> open(Host& host, Device& file, const OpenOptions& options);
    // Waits for nothing: call close() first. Dropping an engine without close() is a crash.
    ~Engine();

    // Makes everything durable and says so in the superblock; writes a checkpoint only where that saves
    // time at the next open. The engine goes on: for hosts that may hand the image to another one.
    Result<void> settle();
    // Ends background work, makes everything durable and, where that saves time at the next open,
    // writes a checkpoint. No other call may be running or follow.
    Result<void> close();

    // Guest I/O. A write is done when its batch is written; durable after a flush that began later.
    // Guest buffers may change while a write runs: they are copied once, and the copy is what is
    // checksummed and written.
    Result<void> read(uint64_t offset, std::span<const iovec> buffers);
    // `changed`, where it is given, gets which share of the bytes differs from before, in 255ths: of those blocks whose
    // content before was at hand; nothing if none was.
    Result<void> write(uint64_t offset, std::span<const iovec> buffers, std::optional<uint8_t>* changed = nullptr);
    Result<void> write_zeroes(uint64_t offset, uint64_t length);
    Result<void> discard(uint64_t offset, uint64_t length);
    // All writes completed before the call are durable when it returns, and the state is a point.
    Result<void> flush();
    Result<RangeStatus> status(uint64_t offset, uint64_t length, bool with_place = false);

    // VM state, addressed from 0.
    Result<void> write_vm_state(uint64_t position, std::span<const iovec> buffers);
    Result<void> read_vm_state(uint64_t position, std::span<const iovec> buffers);

    uint64_t size() const;  // bytes; any context
    Result<void> resize(uint64_t size);
    Result<void> set_backing(const std::string& file, const std::string& format);
    // For reopen and graph changes: the device below from now on. Any context, no I/O running.
    void set_backing_device(Device* backing);
    void set_point_interval(int64_t interval_us);
    // As OpenOptions::compression_level; of streams made from now on. Any context.
    void set_compression_level(int level);
    // As OpenOptions::pack_after_us. Any context.
    void set_pack_after(int64_t pack_after_us);
    // As OpenOptions::placement. Any context.
    void set_placement(Placement placement);
    // Looks whether there is work whose time has come: for when the guest does nothing, every few seconds. Any context.
    void tend();
    // Stored in the image. Errors: as check_retention.
    Result<void> set_retention(const Retention& retention);
    Retention retention() const;
    // Errors: EINVAL for limits that contradict each other or are too small to work. Any context.
    Result<void> check_retention(const Retention& retention) const;
    // Any context. Another size of the staging cache empties it.
    void set_fine(const FineOptions& options);
    FineInfo fine_info() const;
    PrefetchInfo prefetch_info() const;  // any context

    // What is said of the future (prediction.h); any context. A set replaces the one before it, and is forgotten when its
    // horizon has passed. Errors: EINVAL for what makes no sense or is of another disk, E2BIG for too much, ESTALE for
    // what comes too late.
    Result<void> set_predictions(PredictionSet set);
    Result<void> hint(const Hint& hint);
    // What is not given stays. Errors: EINVAL for values that contradict each other.
    struct ThresholdChange {
        std::optional<double> threshold, min, max, target_hit_rate;
        std::optional<bool> adaptive;
    };
    Result<void> set_threshold(const ThresholdChange& change);
    // Parts of a state that are likely to be read, to be copied into the staging cache ahead of time: for views that are
    // likely to be opened, or gone back to. Most relevant first if there are too many. False if that many states wait
    // already, or nothing is staged. Errors: as open_view; EINVAL for parts that are not of the state.
    struct FetchRange {
        uint64_t offset = 0, length = 0;  // bytes
        double score = 0;                 // from 0 to 1
    };
    Result<bool> prefetch(const Moment& moment, const std::vector<FetchRange>& parts);
    ThresholdInfo threshold_info() const;
    PredictionInfo prediction_info() const;
    // How good what was predicted at snapshots with a horizon is; of the newest since the image was opened.
    std::vector<SnapshotForecast> snapshot_forecasts() const;

    // Snapshots. The VM state written since the last snapshot goes with it and leaves the current
    // state. `info` gives name, vm_*, icount, horizon_s; the result has the rest filled in.
    Result<SnapshotInfo> snapshot_create(const SnapshotInfo& info);
    Result<void> snapshot_delete(const std::string& name);
    std::vector<SnapshotInfo> snapshots() const;

    // The disk is the state at that moment at once; size too. Returns what was left and gone to.
    struct RollbackResult {
        Sequence from;    // go here to undo the rollback
        Sequence to;
        Time to_time;
        uint32_t branch;  // the new branch
    };
    Result<RollbackResult> rollback(const Moment& moment);

    // The sequence number, time and disk size a moment names.
    struct Resolved {
        Sequence sequence;
        Time time;
        uint64_t size;
    };
    Result<Resolved> resolve(const Moment& moment);
    // A read-only image of the disk as it was. Views are closed before the engine is.
    Result<std::unique_ptr<View>> open_view(const Moment& moment);

    // Points in order of sequence. Reads the index of the segments concerned.
    Result<std::vector<PointInfo>> points(const PointQuery& query);

    // The sectors whose content differs between two states, whatever was written in between; beyond the end of the smaller
    // disk, all. Reads what may differ. Errors: EIO if that is damaged.
    Result<Changes> changes(const Moment& from, const Moment& to, const ChangesQuery& query);

    // Coalescing on demand: what the limits of history do not keep is dropped, and neighbouring streams are merged,
    // without waiting until it is worth it; and all history up to `until` is treated as if it were older than the
    // window. Then what of the disk lies scattered in segments that history does not need is put in order (order.h). The background does it, as far as segments of the log are closed; status tells when.
    struct CoalesceStatus {
        bool running = false;
        uint64_t done = 0, total = 0;  // bytes of the image; total may change
        int error = 0;                 // errno of what made it end early, or 0
    };
    void begin_coalescing(std::optional<Time> until);
    // It goes on, or does not: the background then does as much as it would by itself.
    void pause_coalescing(bool paused);
    void end_coalescing();
    CoalesceStatus coalescing() const;  // any context

    EngineInfo info() const;
    // Whether what is counted of segments as they change is what they say. Looks at all of them: for tests.
    bool totals_right() const;
    EngineStats stats() const;
    Result<CheckResult> check(const CheckOptions& options);
    // Writes a checkpoint now.
    Result<void> checkpoint();

    // Background work (segment pool, index, checkpoints) stops at its next step and starts no more
    // until resumed. Requests continue to work. Any context.
    void pause_background();
    void resume_background();

    struct Impl;

  private:
    explicit Engine(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

class View {
  public:
    ~View();  // any context, no read running
    uint64_t size() const;
    Sequence sequence() const;
    Time time() const;
    Result<void> read(uint64_t offset, std::span<const iovec> buffers);
    Result<void> read_vm_state(uint64_t position, std::span<const iovec> buffers);
    Result<RangeStatus> status(uint64_t offset, uint64_t length);

    struct Impl;
    explicit View(std::unique_ptr<Impl> impl);

  private:
    friend class Engine;
    std::unique_ptr<Impl> impl_;
};

}  // namespace predsnap
