// SPDX-License-Identifier: GPL-2.0-or-later
//
// Recovery, which is how every image is opened:
//
//  1. The newest valid superblock slot names the checkpoint, if there is one: map, history, segments,
//     and the indexes of the log segments that had no blob yet.
//  2. The index stream is read on from where the checkpoint left it. Each blob stands for one log segment
//     that was durable; its entries are applied.
//  3. The log is read from where the last blob ends: each batch must continue the hash chain and be whole,
//     payload included, unless the chain shows that it was durable once: then its damaged units are
//     answered with EIO when they are read. The first that is not ends the log. The announced next
//     segment is followed if its header continues the chain; batches at or after its first sequence
//     number that the segment before it still holds were taken back, and are dropped.
//  4. If a later batch, or the superblock, shows that more was durable than was found, the image is
//     damaged, and opening fails: history is never lost silently.
//  5. Segments nobody refers to are free.
#pragma once

#include "checkpoint.h"
#include "chunk_supply.h"
#include "core.h"
#include "disk_state.h"
#include "history.h"
#include "index_cache.h"
#include "index_stream.h"
#include "log.h"
#include "log_scan.h"
#include "segment_table.h"
#include "timeline.h"

namespace predsnap {

class Recovery {
  public:
    Recovery(Core& core, SegmentTable& segments, DiskState& disk, History& history, Log& log,
             IndexStream& stream, Timeline& timeline, Capacity& capacity)
        : core_(core),
          segments_(segments),
          disk_(disk),
          history_(history),
          log_(log),
          stream_(stream),
          timeline_(timeline),
          capacity_(capacity),
          supply_(core.host) {}
    ~Recovery() { disk_.map.use(nullptr); }
    Recovery(const Recovery&) = delete;
    Recovery& operator=(const Recovery&) = delete;

    struct Outcome {
        std::vector<SegmentId> checkpoint_segments;
        std::vector<SegmentId> previous_segments;  // of the checkpoint before that; none if it is damaged
        bool from_previous = false;                // it had to do
        uint64_t checkpoint_bytes = 0;
        std::vector<uint64_t> fine_chunks;
        uint64_t checkpoint_index = 0;    // ordinal of the index segment it goes on in
        bool without_checkpoint = false;  // the one there is cannot be used
        uint64_t entries_replayed = 0;
        uint64_t batches_scanned = 0;
    };
    // Fills all the parts. `accept_loss`: where step 2 would fail, do without the checkpoint; where step 4 would,
    // wipe what is cut off and go on.
    Result<Outcome> run(const format::Superblock& superblock, bool accept_loss);

  private:
    void begin_empty(const format::Superblock& superblock);
    Result<void> begin(const format::Superblock& superblock);
    Result<void> begin_at_checkpoint(SegmentId first, uint64_t id, uint64_t sequence);
    Result<void> begin_without_newest(const format::Superblock& superblock);
    Result<void> replay_index_stream();
    Result<bool> replay_blob(const IndexStream::Read& read);
    Result<void> replay_rows(const SegmentIndex& index);
    void lay_replayed();
    // One segment of the log from a position on: the payload is checked, and not kept.
    struct Link {
        std::vector<ScannedBatch> batches;
        std::optional<format::SegmentHeader> next;
        std::optional<uint32_t> taken_back;  // offset of the first batch that does not count
    };
    Result<Link> read_link(const LogPosition& at);
    Result<std::deque<Link>> read_chain();
    Sequence durable_by(const std::deque<Link>& chain) const;
    Error unreadable(const LogPosition& at) const;
    Result<void> scan_log();
    Result<void> apply_scanned(const ScannedBatch& batch);
    // `index`: its newest batch is that; null if what a deep rollback changed is known already.
    Result<void> apply_records(Sequence sequence, Time time, std::span<const uint8_t> records, SegmentIndex* index);
    void enter_segment(const format::SegmentHeader& header);
    Result<void> check_nothing_lost(const format::Superblock& superblock);
    Result<void> wipe_rest();
    Result<void> wipe_torn();
    Result<void> wipe_torn_at(SegmentId segment, uint32_t offset, const uint8_t (&magic)[4]);
    Result<void> mark_segments();
    Result<void> check_stream_places() const;
    Result<void> mark_stream(const StreamInfo& stream);
    Result<Segment*> claim(SegmentId id);

    Core& core_;
    SegmentTable& segments_;
    DiskState& disk_;
    History& history_;
    Log& log_;
    IndexStream& stream_;
    Timeline& timeline_;
    Capacity& capacity_;

    ChunkSupply supply_;  // for the map, and what is to be laid over it
    // Changes of the map from indexes, not yet in it: in order of sectors they are made several times faster.
    Overlay replayed_{0};
    LogPosition position_;
    IndexStream::Tail index_tail_;
    std::optional<ScannedSegment> newest_scanned_;  // where the chain may end
    Sequence durable_;
    bool accept_loss_ = false;
    std::vector<std::pair<SegmentId, uint32_t>> taken_back_;
    Outcome outcome_;
};

// The log position of an image in which nothing has been written, from its superblock.
LogPosition first_log_position(const Core& core, const format::Superblock& superblock);

}  // namespace predsnap
