// SPDX-License-Identifier: GPL-2.0-or-later
//
// The parts of an open engine, and the work it does in the background.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <set>

#include "capacity.h"
#include "checkpoint.h"
#include "cleaner.h"
#include "core.h"
#include "disk_state.h"
#include "fine.h"
#include "forecast.h"
#include "history.h"
#include "index_cache.h"
#include "index_stream.h"
#include "log.h"
#include "order.h"
#include "prefetch.h"
#include "reader.h"
#include "retention.h"
#include "segment_table.h"
#include "staged_reads.h"
#include "stream.h"
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
          capacity(core),
          streams(core, history, capacity),
          fast_tier(core, segments),
          timeline(core, segments, history, indexes, streams),
          forecast(host),
          fine(core, segments, disk, log, forecast),
          reader(core, disk, indexes, streams, &fine),
          prefetcher(core, disk, history, capacity, fine, reader, streams),
          staged_reads(core, disk, fine, forecast, reader, prefetcher),
          cleaner(core, segments, disk, history, log, indexes, streams, reader),
          orderer(core, segments, disk, log, reader) {}

    Core core;
    SegmentTable segments;
    DiskState disk;
    History history;
    Log log;
    IndexStream stream;
    IndexCache indexes;
    Capacity capacity;
    StreamStore streams;
    FastTier fast_tier;
    Timeline timeline;
    Forecast forecast;
    FineWrites fine;
    Reader reader;
    Prefetcher prefetcher;
    StagedReads staged_reads;
    Cleaner cleaner;
    Orderer orderer;
    OpenOptions options;

    // Serialises what changes more than data: snapshots, rollbacks, resizes.
    TaskMutex control;
    // Serialises checkpoints; and changes of the superblock.
    TaskMutex checkpointing, superblock_mutex;
    format::Superblock superblock{};

    // --- Guarded by Core::mutex ---
    std::vector<SegmentId> checkpoint_segments;
    std::vector<SegmentId> previous_segments;  // of the checkpoint before it, in case it is damaged one day
    uint64_t last_checkpoint_id = 0;
    // Of checkpoints whose superblock could not be written: it may be on the disk or not.
    std::vector<SegmentId> doubtful_segments;
    uint64_t checkpoint_bytes = 0;
    uint64_t batch_bytes_at_checkpoint = 0;
    uint64_t entries_at_checkpoint = 0;  // DiskState::entries_applied
    // Background work: one task at a time.
    std::atomic<bool> paused = false;
    bool working = false;
    WaitList idle;             // waits for working to end
    bool index_failed = false; // until the next segment is opened
    bool pool_failed = false;
    bool checkpoint_failed = false, checkpoint_wanted = false;
    bool floor_failed = false, coalesce_failed = false;
    bool seal_failed = false;
    unsigned seal_backoff = 0, seal_wait = 0;  // segments of log until sealing is tried again
    bool again = false;         // there may be more to do than the task has seen that is at work
    bool flush_failed = false;
    bool clean_failed = false;
    bool learn_failed = false;
    bool materialise_failed = false;
    uint64_t segments_opened = 0;   // when a segment was opened last
    Time rate_since;                // the write rate is measured over periods of a second or more
    uint64_t rate_bytes = 0;        // appended before the period
    double bytes_per_second = 0;
    SegmentId filling = kNoSegment;  // the segment the pool is writing, and how far
    uint32_t filled = 0;
    size_t ready_at_open = 0;
    // Retention and reclaiming.
    RetentionClock retention_clock;
    uint64_t newest_aged = 0;       // ordinal of the newest of the log when the clock was read last
    unsigned history_readers = 0;   // that may use indexes of segments which are past by now
    // Ordinals of the index segments in which the two checkpoints leave off.
    uint64_t checkpoint_index = 0, previous_index = 0;
    bool beginning_forgotten = false;  // both slots of the superblock know that the log's beginning is gone
    // Something has changed that may make segments useless, or worth cleaning: to look at all of them takes time.
    bool reclaim_due = false, clean_due = false, coalesce_due = false;
    struct Leaving {
        SegmentId id;
        Sequence since;  // the state that does not need it
        uint64_t epoch;  // of Core::readers
        uint64_t view;   // views made before may need it
    };
    std::deque<Leaving> leaving;
    // Guarded: the dictionary that paid last, and how much is to be written before another is trained.
    std::shared_ptr<const Dictionary> last_dictionary;
    uint64_t bytes_to_training = 0;
    std::deque<Leaving> leaving_capacity;  // segments of the capacity image
    StreamTail stream_tail, capacity_tail;
    StreamTail pack_tail;  // packs share segments among themselves: they are dropped sooner than history is
    // Work between the tiers: one task at a time, beside the other one, which a slow tier does not stop.
    bool tiers_working = false, tiers_again = false;
    bool coalesce_capacity_due = false;
    Uuid expected_capacity{};      // the one the image knew when it was opened; all zeros: none
    // Space: space.cc.
    bool fast_full = false;        // the image could not grow, and has too few segments that are ready
    bool full_reported = false;    // until it grows again
    SegmentId full_at = kNoSegment;  // the segment that it could not grow by
    bool space_wanted = false;     // an append failed for want of it: what is free goes back to the host
    std::atomic<bool> short_of_space = false;  // guest writes wait for history to be dropped
    std::set<uint64_t> unmovable;  // streams that could not be read, by number
    bool tiers_failed = false;
    unsigned tiers_backoff = 0, tiers_wait = 0;  // segments of log until it is tried again
    // Runs that were not worth merging, by their oldest stream, and how much they held.
    struct Assessed {
        uint64_t oldest;
        uint64_t sectors;
    };
    std::vector<Assessed> assessed;
    // What merging is expected to save, and what it saves, in sectors, of runs by their newest and oldest stream. Of the one task that works.
    std::map<std::pair<uint64_t, uint64_t>, uint64_t> expected, exact;
    // Of OpenOptions::coalesce_rate: bytes that may be read now; less than 0: more were.
    int64_t coalesce_credit = 0;
    int64_t credit_at_us = 0;
    bool cut_failed = false;
    // Packing. What the newest state was at times, ascending, to tell what has not been written for long.
    struct PackMark {
        int64_t uptime_us;
        Sequence newest;
        uint64_t guest_bytes;  // written by then
    };
    std::deque<PackMark> pack_marks;
    bool resting = false;
    uint64_t guest_bytes_at_rest = 0;  // written when it last began to rest
    bool pack_due = false, pack_failed = false;
    // References: streams that were looked at, and how many packs had been made by then.
    std::map<uint64_t, uint64_t> refer_looked_at;
    bool refer_due = false, refer_failed = false;
    // Compaction: where the content of streams begins in their first segments, by their number, as the index with that hash says.
    struct ContentBegin {
        uint64_t index_hash, begin;
    };
    std::map<uint64_t, ContentBegin> content_begins;
    bool compact_due = true, compact_failed = false;
    bool placing = false;  // a pack is being written to make room; of the one task that works
    // Coalescing on demand.
    struct Demand {
        std::optional<Time> until;
        bool running = false, paused = false;
        uint64_t total = 0, left = 0;
        int error = 0;
        bool closed = false;  // the segment of the log that was being filled, so that the floor can pass it
    };
    Demand demand;
    std::atomic<bool> pressing = false;  // guest writes wait for the cleaner
    int64_t credit_bytes = 0;            // that they may write by now
    uint64_t credit_eighths = 8;         // of what the cleaner gains
    bool cleaning = false;               // until there is room again
    uint64_t flushes_counted = 0;        // of the guest, when a segment was opened last
    double flushes_per_segment = 0;
    WaitList throttled;
    AlignedBuffer zeros;  // what the pool writes; of the one task that works

    void measure_rate(Time now);
    void count_flushes();
    // The log has moved on. Requires Core::mutex.
    void on_progress();
    void pause();
    void resume();
    void wait_idle();

    // `again`: even if nothing has changed since the last one.
    Result<void> checkpoint(bool again = false);
    // The newest checkpoint is damaged; the one before it, if it is good, takes its place.
    void forget_newest_checkpoint(bool previous_is_good);
    // Changes the superblock under its mutex and writes it, durably.
    Result<void> update_superblock(const std::function<void(format::Superblock&)>& change);
    // Gives ready segments at the end of the image back, but for the pool's minimum and as many as there
    // were at open: they may have been preallocated.
    Result<void> trim_image();

    Retention retention() const;
    void start_retention();
    void count_age();
    Sequence oldest_wanted() const;
    // Of the states before the floor, those that are kept, oldest first.
    using KeptStates = std::vector<Sequence>;
    std::vector<OldState> old_states() const;
    void mark_snapshots(std::vector<OldState>& states) const;
    KeptStates kept_states() const;
    static bool keeps(const KeptStates& kept, Sequence state) {
        return std::binary_search(kept.begin(), kept.end(), state);
    }
    bool keeps_before(Sequence top) const;
    Result<std::vector<OldState>> states_to_seal(SegmentId last);
    Result<std::vector<OldState>> boundaries(SegmentId last);
    bool too_little_to_seal(SegmentId last) const;
    // Streams that are being written. What was taken for them goes back unless adopt() is called.
    struct SealedStreams {
        explicit SealedStreams(Impl& engine, format::Tier to = format::Tier::fast) : e(engine), tier(to) {}
        ~SealedStreams();
        SealedStreams(const SealedStreams&) = delete;
        SealedStreams& operator=(const SealedStreams&) = delete;

        Impl& e;
        const format::Tier tier;          // where they are written
        std::vector<StreamInfo> streams;  // oldest first
        std::unique_ptr<StreamWriter> writer;
        std::vector<SegmentId> held;      // what the first goes on in
        bool packs = false;
        bool adopted = false;
    };
    struct StreamContent {
        ExtentMap extents;  // of the state `lower`, where it differs from `upper`
        ChunkSet after;     // chunks in which `upper` has data there
        Time upper_time;
    };
    Result<void> write_stream(StreamWriter& writer, const StreamContent& content, StreamInfo* stream);
    Result<std::shared_ptr<const Dictionary>> dictionary_for(const ExtentMap& extents);
    Result<std::vector<std::vector<uint8_t>>> sample(const ExtentMap& extents, uint64_t frames, uint64_t most);
    StreamTail& tail_of(const SealedStreams& sealed) {
        return sealed.packs ? pack_tail : sealed.tier == format::Tier::fast ? stream_tail : capacity_tail;
    }
    void hold_segments(format::Tier tier, const std::vector<SegmentId>& ids);
    void let_go_segments(format::Tier tier, const std::vector<SegmentId>& ids, Sequence since, uint64_t view);
    void number_stream(StreamInfo* stream, uint64_t sectors);
    Result<size_t> read_some(std::span<const Extent> extents, uint8_t* to);
    Result<void> find_content(Sequence upper, Sequence lower, StreamContent* content);
    ExtentMap lay_out(Overlay& overlay);
    void begin_streams(SealedStreams* sealed);
    Result<void> add_stream(const StreamContent& content, StreamInfo stream, SealedStreams* sealed);
    Result<void> end_streams(SealedStreams* sealed);
    Result<void> allow_references(const std::vector<StreamInfo>& written);
    Result<std::vector<OldState>> sealable(SegmentId* last);
    Result<void> seal(const std::vector<OldState>& states, SealedStreams* sealed);
    void sealing_failed(const Error& error);
    void adopt(SealedStreams& sealed, bool appended);
    void remove_stream(const StreamInfo& stream, Sequence since);
    void begin_drop(const StreamInfo& stream, std::vector<uint8_t>* records);
    void end_drop(const StreamInfo& stream, bool appended);
    // Coalescing. A run: neighbours in the chain, newest first.
    using StreamRun = std::vector<StreamInfo>;
    std::vector<StreamRun> mergeable(format::Tier tier) const;
    StreamRun smallest_run(format::Tier tier) const;
    bool coalesce_run(const StreamRun& run);
    std::vector<StreamRun> worthwhile_runs();
    uint64_t expected_saving(const StreamRun& run);
    uint64_t exact_saving(const StreamRun& run);
    StreamRun choose_run(std::vector<StreamRun> runs);
    bool within_rate();
    void spend(const StreamRun& run);
    bool cut_step();
    bool over_limit() const;
    bool is_snapshot(Sequence state) const;
    struct Cut {
        StreamRun run;  // one: it is dropped; two: they are merged
        uint64_t saving = 0;
        bool is_point = false;
    };
    Cut choose_cut();
    Result<bool> drop_oldest(const StreamInfo& stream);
    void report_cut(Time time);
    // `cut`: states that only rules keep may lie between the streams of the run.
    bool still_mergeable(const StreamRun& run, bool cut) const;
    bool not_worth_merging(const StreamRun& run) const;
    void note_assessed(const StreamRun& run);
    Result<StreamContent> merge_streams(const StreamRun& run);
    // For room; since more was asked to be given up; or so that frames are stored after others.
    enum class MergeFor : uint8_t { space, cut, references };
    Result<bool> coalesce(const StreamRun& run, MergeFor why = MergeFor::space);
    bool on_demand() const { return demand.running && !demand.paused; }
    bool ordering() const { return on_demand() && !coalesce_failed && orderer.left() > 0; }
    uint64_t bytes_to_coalesce() const;
    void note_progress();
    void end_demand();
    void failed_to_coalesce(const Error& error);
    enum class StreamUse : uint8_t { none, by_disk, by_history };
    StreamUse stream_use(const StreamInfo& stream) const;
    const StreamInfo* needless_stream(bool in_use) const;
    bool splits_branch(Sequence floor) const;
    Result<void> close_newest_segment();
    SegmentId choose_floor(bool* forced, size_t most_segments = SIZE_MAX) const;
    Kept why_kept(Sequence point, const KeptStates& kept) const;
    Sequence oldest_reachable() const;
    void note_full();
    void note_grown(SegmentId id);
    size_t segments_missing() const;
    bool all_reclaimed() const;
    bool checkpoint_frees_space() const;
    bool make_space(uint64_t* attempts);
    Result<void> with_space(const std::function<Result<void>()>& call);
    // Packing: pack.cc. What is packed at once: segments of the log, and packs of which little is in use any more.
    struct Packable {
        bool empty() const { return segments.empty() && packs.empty(); }
        std::vector<SegmentId> segments;
        std::vector<StreamInfo> packs;
    };
    // So much of a pack was overwritten that it is packed again; nothing is stored after it any more.
    static bool is_worn(const SegmentTable::StreamUse& use, const StreamInfo& pack) {
        constexpr uint64_t kDeadPart = 4;
        return use.live < pack.sectors - pack.sectors / kDeadPart;
    }
    bool has_packs() const { return !history.streams.empty() && history.streams.back().is_pack(); }  // they are the last
    void note_pack_mark();
    void note_rest();
    uint64_t little_at_rest() const;
    Sequence cold_before() const;
    Packable choose_packable();
    Result<ExtentMap> collect_packable(const Packable& chosen);
    void collect_at(Sector start, uint64_t count, Place place, ExtentMap* found);
    Result<bool> gets_smaller(const ExtentMap& extents);
    Result<void> pack(Packable& chosen, Placement why);
    void end_packing(const Packable& chosen, const Result<void>& done, Placement why);
    Result<void> move_into_pack(const ExtentMap& extents, Place base);
    // What old history is stored after: references.cc.
    std::set<uint64_t> referenced_packs() const;
    bool refers() const;
    References find_references(const ExtentMap& extents);
    void keep_best_packs(References* references) const;
    struct ReferenceTrial {
        std::vector<uint64_t> frames;     // that were tried
        uint64_t without = 0, with = 0;   // bytes they take
    };
    Result<ReferenceTrial> try_references(const ExtentMap& extents, const References& references);
    Result<References> references_for(const ExtentMap& extents);
    const StreamInfo* keeper_of_worn_pack() const;
    const StreamInfo* referring_stream_to_move() const;
    const StreamInfo* stream_to_look_at();
    Result<bool> worth_writing_anew(const StreamInfo& stream);
    Result<void> refer(const StreamInfo& stream, bool needed);
    // Compaction: compact.cc.
    Result<uint64_t> content_begin(const StreamInfo& stream);
    Result<void> learn_content_begins();
    std::vector<StreamInfo> streams_to_compact() const;
    // Tiers: tiers.cc.
    Result<void> open_capacity(Device& device);
    bool needs_capacity_to_open() const;
    void start_tiers_work();
    bool tiers_step();
    bool move_step();
    bool coalesce_capacity_step();
    bool release_capacity_step();
    std::vector<StreamInfo> streams_to_move() const;
    bool still_there(const StreamInfo& stream) const;
    Result<void> copy_stream(const StreamInfo& from, SealedStreams* moved);
    Result<void> move_streams(const std::vector<StreamInfo>& group, format::Tier to);
    Result<void> record_moves(SealedStreams& moved);
    void tiers_work_failed(const Error& error);

    void find_leaving_data();
    void find_leaving_indexes();
    void leave(SegmentId id, Sequence since);
    void recount_use();
    bool checkpoints_allow_release() const;
    std::optional<bool> checkpoints_before_drop();
    bool prepare_checkpoints(Lock& lock);
    bool may_be_released(const Leaving& next) const;
    bool release_leaving();
    // How the image's space is used, in segments: allowance.cc.
    struct Space {
        uint64_t taken = 0;            // allocated, those that are ready among them
        uint64_t ready = 0;
        uint64_t leaving = 0;          // soon free: nothing but history that is about to be dropped needs them
        uint64_t allowed = 0;          // to be taken at most
        uint64_t live = 0, dead = 0;   // sectors of segments that are past
        uint64_t window = 0;           // sectors of log that is history
        // That can be used before more are taken than allowed. What was too much at the beginning is not counted.
        int64_t left() const { return static_cast<int64_t>(allowed) - static_cast<int64_t>(taken - ready); }
    };
    Space space() const;
    uint64_t packed_sectors() const { return Cleaner::packed_sectors(core.geometry, log.max_request_sectors()); }
    uint64_t checkpoint_need() const;
    double most_in_history(const Space& now) const;
    // Placement: placement.cc.
    bool places_apart() const;
    uint64_t placement_need() const;
    // Of the packs in the image: sectors of data, and how many of these the current state has there; segments in which there
    // is nothing else, and those that go when history has gone on.
    struct PackTotals {
        uint64_t sectors = 0, live = 0;
        uint64_t segments = 0, leaving = 0;
    };
    PackTotals pack_totals() const;
    Packable choose_apart(const Space& now);
    ExtentMap without_written_soon(const ExtentMap& extents);
    uint64_t place_apart(Packable& chosen);
    bool choose_victims(Packable* apart);
    bool choose_victims(const Space& now, Packable* apart);
    // A guest write of so many bytes waits while the cleaner is behind, for it to have made as much room.
    void throttle(uint64_t bytes);
    bool worth_cleaning(const Space& now) const;
    void note_pressing(const Space& now);
    void set_pressing(bool now);
    bool writing_ahead_pays() const;
    bool takes_too_much() const;

    Result<void> writable() const;
    // EINVAL unless the range is made of whole sectors and lies below `limit`.
    Result<void> check_range(uint64_t offset, uint64_t length, uint64_t limit) const;
    // The same for a guest request, which is counted.
    Result<void> admit(uint64_t offset, uint64_t length, uint64_t EngineStats::*requests, uint64_t EngineStats::*bytes);
    // The same with Core::mutex held.
    Result<void> admit_locked(uint64_t offset, uint64_t length, uint64_t EngineStats::*requests,
                              uint64_t EngineStats::*bytes);
    // And if data is written (read): whether it is for FineWrites (StagedReads, and what that wants to know).
    Result<void> admit_write(uint64_t offset, uint64_t length, bool* is_fine);
    Result<void> admit_read(uint64_t offset, uint64_t length, std::optional<unsigned>* staged);
    void configure_fine(const FineOptions& fine_options);
    // What the guest is going to write in a second, as far as anybody knows.
    double rate_ahead();
    // Chunks of data that just became the disk's, to be fetched.
    using Wishes = std::vector<Prefetcher::Wish>;
    Result<bool> stage_state(const Resolved& state, const Wishes& wishes);
    void wish_restored(std::span<const Extent> piece, Wishes* wishes);
    void begin_forecast(const SnapshotInfo& snapshot);
    Result<void> settle(const std::string& done);
    Result<void> map_zero(uint64_t offset, uint64_t length);
    Result<void> write(Sector start, std::span<const iovec> buffers);
    // The sequence number a moment names.
    Result<Engine::Resolved> resolve(const Moment& moment);
    Result<Engine::Resolved> resolve_time(Time time);
    Result<Engine::Resolved> with_time(Engine::Resolved resolved);
    Result<std::vector<Overlay>> way_to(Sequence target, Sequence* reached);
    // Makes a state the current one. The log's gate must be closed.
    Result<void> go_to(Sequence target, std::vector<Overlay>& way, Sequence reached);
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
    bool checkpoint_is_due() const;
    bool checkpoint_step();
    bool raise_floor_step();
    bool drop_stream_step();
    bool coalesce_step();
    bool order_step();
    bool pack_step();
    bool refer_step();
    bool compact_step();
    bool reclaim_step();
    bool learn_deltas_step();
    Result<void> learn_delta(const Extent& extent, uint64_t generation);
    std::vector<Extent> parts_of_delta(const Extent& delta) const;
    Result<void> materialise(const Extent& delta);
    bool materialise_step();
    bool clean_step();
    bool give_back_step();
    size_t pool_target();
    size_t limited_pool() const;
    CheckpointParts capture(FrozenState* view);
    Result<void> write_checkpoint(CheckpointWriter& writer, const CheckpointParts& parts,
                                  const FrozenState& view);
};

// While it lives, indexes of segments that were in the history when it began stay readable.
class HistoryReader {
  public:
    explicit HistoryReader(Engine::Impl& engine) : engine_(engine) {
        Lock lock(engine_.core.mutex);
        ++engine_.history_readers;
    }
    ~HistoryReader() {
        Lock lock(engine_.core.mutex);
        --engine_.history_readers;
    }
    HistoryReader(const HistoryReader&) = delete;
    HistoryReader& operator=(const HistoryReader&) = delete;

  private:
    Engine::Impl& engine_;
};

struct View::Impl {
    Impl(Engine::Impl& e, std::unique_ptr<FrozenState> s) : engine(e), state(std::move(s)) {}

    Engine::Impl& engine;
    std::unique_ptr<FrozenState> state;
};

}  // namespace predsnap
