// SPDX-License-Identifier: GPL-2.0-or-later
//
// The log: appends with group commit, flush, points.
//
// A request joins the open batch; the first one in leads it. While appends are in flight the open batch
// gathers more requests. Batches get their sequence number and place when they are sealed, in order, and
// are applied to the disk state in order, whatever order the device completes them in; a request is
// answered after its batch is applied. So the map, the undo information and recovery all see one history.
//
// If an append fails, it and those in flight behind it are taken back: their requests fail with its
// error, their sequence numbers are used again, and the log goes on at the same place (no space) or in
// the next segment (anything else). A batch whose write failed may be on the disk all the same, and is believed
// after a crash if nothing came in its place: so a flush that finds nothing there yet first overwrites it.
#pragma once

#include <deque>
#include <memory>

#include "batch.h"
#include "core.h"
#include "disk_state.h"
#include "history.h"
#include "segment_index.h"
#include "segment_table.h"

namespace predsnap {

class Log {
  public:
    // What recovery hands over.
    struct Start {
        LogPosition position;
        std::deque<SegmentIndex> open_indexes;  // the last is of position.segment, if any
        Sequence durable;
    };

    Log(Core& core, SegmentTable& segments, DiskState& disk, History& history);
    void start(Start start);

    // Each returns the sequence number of the batch the change became part of, once that is written
    // and applied. A data request is at most max_request_sectors() long.
    Result<Sequence> append_data(Sector start, std::span<const iovec> buffers, size_t skip,
                                 uint64_t sectors);
    Result<Sequence> append_mapping(ExtentKind kind, Sector start, uint64_t sectors);
    // Records, and a mapping that goes with them if count > 0. Passes a closed gate.
    Result<Sequence> append_records(std::span<const uint8_t> records, ExtentKind kind, Sector start,
                                    uint64_t count);
    // Data that is at `from` is written again, to lie elsewhere: no state changes. A move is without effect if not all
    // of the range is there any more. All of them together are at most max_request_sectors() long, each counted in
    // whole blocks.
    struct Move {
        Sector start;
        uint64_t sectors;
        Place from;
        const uint8_t* data;
    };
    Result<Sequence> append_moves(std::span<const Move> moves);
    // The same, of data that is in a pack already, which has been added to the history: its place is `to`. At most
    // max_packed() of them.
    struct PackedMove {
        Sector start;
        uint64_t sectors;
        Place from, to;
    };
    Result<Sequence> append_packed(std::span<const PackedMove> moves);
    size_t max_packed() const { return limits_.total_bytes / 2 / (sizeof(format::Entry) + sizeof(uint32_t)); }
    // Parts of one guest write: data, or deltas, which become data if by now they may not be based on what they are.
    struct Part {
        Sector start;
        uint64_t sectors;
        size_t skip;                         // where its data is in the buffers
        const Delta* delta = nullptr;        // of one block
        Extent base;                         // of the delta
    };
    // `placed`: what each part was mapped to. The buffers must not change meanwhile.
    Result<Sequence> append_parts(std::span<Part> parts, std::span<const iovec> buffers, std::vector<Extent>* placed);
    // Most bytes of records that one append takes.
    size_t max_record_bytes() const { return limits_.total_bytes / 2; }
    uint64_t max_request_sectors() const { return limits_.payload_bytes / kSectorSize; }

    // Makes all that is applied durable, and sure that no append that failed before returns. If `point`, the state is
    // recorded as a point.
    Result<void> flush(bool point);

    // Closing the gate waits until all appends are applied, and holds new ones (but records) back.
    void close_gate();
    void open_gate();

    // --- The rest requires Core::mutex. ---
    // Requests wait for those before them.
    bool busy() const { return pending_.size() > 1; }
    // The next append begins a segment.
    void close_segment() { position_.offset = core_.geometry.segment_size; }
    Sequence durable() const { return durable_; }
    const LogPosition& position() const { return position_; }
    // Sectors that one append could take without beginning a segment, if no other comes first.
    uint64_t room_sectors() const {
        const uint64_t left = (core_.geometry.segment_size - position_.offset) / kBlockSize;
        return left > 1 && position_.segment != kNoSegment ? (left - 1) * kSectorsPerBlock : 0;
    }
    // Where the newest applied batch ends, with its checksum.
    const LogPosition& applied_position() const { return applied_; }
    // Indexes of segments that have no blob yet, oldest first.
    std::deque<SegmentIndex>& open_indexes() { return open_indexes_; }
    // True if the oldest open index is complete, and its segment and the beginning of the next are durable: a blob
    // can be written. So no crash leads back to where the segment could go on otherwise.
    bool index_ready() const;
    // Closed segments that wait for a flush before their index can be written.
    size_t closed_segments() const { return open_indexes_.empty() ? 0 : open_indexes_.size() - 1; }
    void set_point_interval(int64_t interval_us) { point_interval_us_ = interval_us; }
    // A state is known to be a point from now on (recorded with the next batch).
    void mark_point(Sequence sequence, Time time, format::PointKind kind);
    // The newest point, recorded or not.
    Sequence newest_point() const { return newest_point_; }
    Time newest_point_time() const { return newest_point_time_; }
    // Points that no applied batch records yet.
    std::vector<format::PointRecord> pending_points() const;

    // Called under Core::mutex when a batch that opens a segment was written, and after a flush: there is
    // background work to do.
    std::function<void()> on_progress;
    // Called under Core::mutex when data that was at `from` is mapped to another place now, as it is.
    std::function<void(const Extent& now, Place from)> on_moved;

  private:
    struct Joined {
        std::shared_ptr<Batch> batch;
        bool leader;
    };
    // Waits until it is open.
    void pass_gate(Lock& lock);
    static void fill(uint8_t* payload, const Batch::Slot& slot, Sector start, uint64_t sectors,
                     std::span<const iovec> buffers, size_t skip, uint32_t* sums);
    void filled(Batch& batch);
    std::shared_ptr<Batch> empty_batch();
    Joined join(const Batch::Size& size);
    bool may_stay_delta(const Part& part, DeltaChain* chain) const;
    void unpin(Batch& batch);
    void tell_moves(std::span<const format::Entry> entries, SegmentId segment);
    Result<Sequence> complete(Joined joined, Lock& lock);
    void lead(const std::shared_ptr<Batch>& batch, Lock& lock);
    bool may_submit(const Batch& batch) const;
    int seal(Batch& batch);
    int open_segment(Batch& batch);
    void add_points(Batch& batch, Time now);
    void settle();
    void apply(Batch& batch);
    void take_back();
    void finish(Batch& batch);
    void leave_remains(const Batch& batch);
    bool has_remains(uint64_t before) const;
    Result<void> wipe_remains(Lock& lock);

    Core& core_;
    SegmentTable& segments_;
    DiskState& disk_;
    History& history_;
    Batch::Limits limits_{format::kMinSegmentSize};

    LogPosition position_;  // where the next sealed batch goes
    LogPosition applied_;   // where the batch after the newest applied one goes
    std::deque<SegmentIndex> open_indexes_;
    // Segments announced by batches that were taken back. A header that failed may be on disk and be believed
    // after a crash: so the segment it announces is used for nothing else.
    std::deque<SegmentId> taken_back_;
    // Where batches are that were taken back, and that may yet be believed: until another with the same number is
    // applied.
    struct Remains {
        uint64_t id;  // counts them
        Sequence sequence;
        uint64_t offset;     // bytes, in the image
        bool wiped = false;  // but the flush after that has not succeeded yet
    };
    std::vector<Remains> remains_;
    uint64_t next_remains_ = 0;
    bool wiping_ = false;  // remains_: nothing is sent meanwhile

    std::vector<std::shared_ptr<Batch>> batches_;  // their memory is used again; references change under the lock
    std::shared_ptr<Batch> open_;                  // takes requests
    std::deque<std::shared_ptr<Batch>> pending_;   // to be sealed, in order; the last may be open_
    std::deque<std::shared_ptr<Batch>> in_flight_; // sealed, in order
    WaitList submit_waiters_;                      // leaders
    bool failed_ = false;                          // an append in flight has failed
    unsigned lone_batches_ = 0;                    // in a row: of one request, with none in flight

    bool gate_closed_ = false;
    WaitList gate_waiters_;

    Sequence durable_;
    bool flushing_ = false;
    WaitList flush_waiters_;

    int64_t point_interval_us_ = 0;
    Sequence newest_point_;
    Time newest_point_time_;
    std::vector<format::PointRecord> pending_points_;
};

}  // namespace predsnap
