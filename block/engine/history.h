// SPDX-License-Identifier: GPL-2.0-or-later
//
// The history beside the data: snapshots, sizes, and the tree of branches that rollbacks make.
//
// State s normally follows from state s - 1. After a rollback batch r with target t, state r equals
// state t instead; what lies between t and r is left behind as a branch. So the history is a tree, and
// going from one state to another means undoing batches up to their common ancestor and redoing from
// there. Not synchronised: Core::mutex guards it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine.h"
#include "format.h"
#include "result.h"

namespace predsnap {

// A stream (stream.h): the content of state `lower` wherever it differs from that of `upper`. Or a pack (pack.cc), which is
// no state's: the current one has data in it.
struct StreamInfo {
    uint64_t id = 0;
    Sequence lower, upper;
    Time lower_time;
    int64_t lower_clock = 0;  // age of `lower`: RetentionClock
    uint32_t lower_point = 0;  // what made `lower` a point: format::PointKind; 0: nothing
    Place base;               // virtual place of its data
    uint64_t sectors = 0;     // of data
    uint64_t index_offset = 0, index_bytes = 0, index_hash = 0;
    format::Tier tier = format::Tier::fast;  // which image its segments are of
    std::vector<SegmentId> segments;
    std::vector<uint64_t> references;  // packs that its frames are stored after; they stay while it does

    bool on_capacity() const { return tier == format::Tier::capacity; }
    bool is_pack() const { return upper == Sequence(0); }
    // Where the places of the next stream can begin: no two begin alike.
    Place places_end() const { return base + (sectors > 0 ? sectors : 1); }
    bool holds(Place place) const { return place >= base && place < base + sectors; }
};

// Undo or redo the batches first..last.
struct PathStep {
    Sequence first, last;
    bool undo = false;
};

// Calls visit(type, payload) for each record until it returns an error. Errors: EIO if malformed.
class RecordReader {
  public:
    explicit RecordReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
    struct Record {
        format::RecordType type;
        std::span<const uint8_t> payload;
    };
    // The next record; nothing at the end. Errors: EIO for bytes that are no records.
    Result<std::optional<Record>> next();

  private:
    std::span<const uint8_t> bytes_;
};

// Visits the points that records tell of, up to the first bytes that are no records.
void for_each_point(std::span<const uint8_t> records,
                    const std::function<void(const format::PointRecord&)>& visit);

void put_record(std::vector<uint8_t>& out, format::RecordType type, const void* payload, size_t length);
void put_stream(std::vector<uint8_t>& out, const StreamInfo& stream);
void put_stream_drop(std::vector<uint8_t>& out, uint64_t id);
Result<StreamInfo> parse_stream(std::span<const uint8_t> payload);
void put_snapshot(std::vector<uint8_t>& out, const SnapshotInfo& snapshot);
Result<SnapshotInfo> parse_snapshot(std::span<const uint8_t> payload);

class History {
  public:
    struct Rollback {
        Sequence sequence, target;
        // The target was older than the floor: its batch has undo and redo of its own, so the way to states before
        // it leads through it, not through the target.
        bool deep = false;
    };
    struct Resize {
        Sequence sequence;
        uint64_t size;
    };

    uint64_t initial_size = 0;  // at sequence 0
    uint64_t next_snapshot_id = 1;
    std::vector<SnapshotInfo> snapshots;  // by id
    std::vector<Rollback> rollbacks;      // by sequence
    std::vector<Resize> resizes;          // by sequence
    Sequence last_point;                  // newest point recorded in the log
    Time last_point_time;
    Sequence floor;                       // the oldest state that is kept
    Time floor_time;                      // of it; means nothing while floor is 0
    int64_t floor_clock = 0;              // its age: RetentionClock
    std::vector<StreamInfo> streams;      // from the floor down; then those that lead nowhere
    uint64_t next_stream_id = 1;
    Place next_stream_base = kStreamPlaces;

    // Takes in the records of a batch. Errors: EIO for records that make no sense.
    Result<void> apply(Sequence sequence, Time time, std::span<const uint8_t> records);

    // The record of what a stream refers to. Errors: EIO.
    Result<void> add_references(std::span<const uint8_t> payload);

    const SnapshotInfo* find(const std::string& name) const;
    // The stream that a virtual place belongs to, or null.
    const StreamInfo* stream_at(Place place) const;
    // The stream with that number, or null.
    const StreamInfo* stream(uint64_t id) const;
    // Whether any lies on the capacity image.
    bool uses_capacity() const;
    // Whether a state can be gone back to by streams: it is older than the floor, and where one of them ends.
    bool in_streams(Sequence state) const { return stream_from(state) != nullptr; }
    // How many streams lead down from the floor; others only have data that is in use.
    size_t chain_length() const;
    // The stream that holds it, or null.
    const StreamInfo* stream_from(Sequence state) const;
    // Size of the disk in a state.
    uint64_t size_at(Sequence state) const;
    // The branch a state lies on: 0, or 1 + the index of the rollback that began it.
    uint32_t branch_of(Sequence state) const;
    std::vector<BranchInfo> branches(Sequence newest) const;
    // What to undo, then redo, to get from one state to another.
    std::vector<PathStep> path(Sequence from, Sequence to) const;

  private:
    struct Interval {
        Sequence first, last;
    };
    // The states from `state` back to 0, as runs of sequence numbers, newest run first. What the disk came from, or by
    // which batches one goes (for which deep rollbacks are batches like others).
    enum class Way : uint8_t { content, batches };
    std::vector<Interval> lineage(Sequence state, Way way) const;
    Result<void> apply_one(Sequence sequence, Time time, const RecordReader::Record& record);

    // Indexes of `streams` by base; made when it is needed. Empty: it must be made anew.
    mutable std::vector<uint32_t> by_place_;
};

}  // namespace predsnap
