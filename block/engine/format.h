// SPDX-License-Identifier: GPL-2.0-or-later
//
// The on-disk format, shared by everything that reads or writes it. docs/format.md explains it byte by
// byte. All integers are little-endian. Every structure ends in, or contains, an XXH3-64 checksum of
// itself with that field taken as zero.
//
//   [0, 64 KiB)                superblock slots at 0 and 4096, the rest zeros
//   64 KiB + i * segment_size  segment i: free, log, index or checkpoint
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "extent.h"
#include "types.h"

namespace predsnap::format {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr uint8_t kMagic[4] = {'P', 'D', 'S', 0xfb};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kSuperblockArea = 64 << 10;
constexpr uint32_t kSuperblockSlots = 2;
constexpr uint32_t kMinSegmentSize = 64 << 10;
constexpr uint32_t kMaxSegmentSize = 64 << 20;

// Feature bits. Incompatible: refuse to open if any is unknown. Autoclear: cleared when opened for
// writing by a program that does not know them.
constexpr uint64_t kIncompatibleCapacity = 1;  // streams may lie on a capacity image
constexpr uint64_t kIncompatiblePacked = 2;    // the current state may have data in packs
constexpr uint64_t kIncompatibleReferences = 4;  // frames of streams may be stored after data in packs
constexpr uint64_t kKnownIncompatible = kIncompatibleCapacity | kIncompatiblePacked | kIncompatibleReferences;
constexpr uint64_t kKnownAutoclear = 0;

// Where in the log or index stream the next record is expected.
struct StreamPosition {
    uint32_t segment;   // segment id
    uint32_t offset;    // bytes from the segment's start; 0: not even its header is written
    uint64_t ordinal;   // the segment's number in its stream, from 0
};
static_assert(sizeof(StreamPosition) == 16);

// A point every so many microseconds, until it is so old.
struct RetentionRuleRow {
    int64_t every_us;
    int64_t for_us;
};
static_assert(sizeof(RetentionRuleRow) == 16);

struct Superblock {
    uint8_t magic[4];
    uint32_t version;
    uint64_t generation;  // the valid slot with the higher one counts
    uint8_t uuid[16];
    uint64_t incompatible;
    uint64_t compatible;
    uint64_t autoclear;
    uint64_t initial_size;        // bytes of guest disk at sequence 0
    uint64_t virtual_size;        // bytes of guest disk at durable_sequence; informative
    uint32_t segment_size;
    uint32_t checkpoint_segment;  // first segment of the checkpoint; 0xffffffff: none
    uint64_t checkpoint_sequence;
    uint64_t checkpoint_id;       // repeated in each of its pages
    uint64_t durable_sequence;    // history up to here was durable when this was written
    int64_t create_time;
    StreamPosition log;           // start of the log if there is no checkpoint
    StreamPosition index;         // start of the index stream if there is no checkpoint
    uint16_t backing_file_length;
    uint16_t backing_format_length;
    uint32_t reserved0;
    char backing_file[1024];
    char backing_format[16];
    uint32_t retention;           // kRetain...: which of the two limits there are
    uint32_t reserved1;
    int64_t cdp_window_us;        // history younger than that is kept
    uint64_t cdp_bytes;           // but no more of it than that
    uint32_t previous_segments;   // of the checkpoint before this one, which is kept; 0: none
    uint32_t previous_segment;    // first of them
    uint64_t previous_sequence;
    uint64_t previous_id;
    uint64_t previous_index;      // ordinal of the index segment in which it leaves off
    uint32_t rule_count;          // beyond the window: by how many rules points are kept
    uint32_t reserved2;
    RetentionRuleRow rules[8];
    uint8_t capacity[16];         // identity of the capacity image; zeros: there has been none
    uint8_t reserved[2688];
    uint64_t checksum;
};
static_assert(sizeof(Superblock) == kBlockSize);
static_assert(offsetof(Superblock, capacity) == 1384);
static_assert(offsetof(Superblock, generation) == 8);
static_assert(offsetof(Superblock, incompatible) == 32);
static_assert(offsetof(Superblock, segment_size) == 72);
static_assert(offsetof(Superblock, log) == 112);
static_assert(offsetof(Superblock, backing_file) == 152);
static_assert(offsetof(Superblock, retention) == 1192);
static_assert(offsetof(Superblock, checksum) == 4088);

// Of a capacity image, in two slots like the superblock of the image it belongs to. All else that there is to know about
// it is in that image's log.
struct CapacitySuperblock {
    uint8_t magic[4];
    uint32_t version;
    uint64_t generation;   // the valid slot with the higher one counts
    uint8_t uuid[16];      // its own
    uint8_t disk_uuid[16]; // of the image it belongs to
    uint64_t incompatible;
    uint64_t compatible;
    uint64_t autoclear;
    uint32_t segment_size; // that of the image
    uint32_t reserved0;
    int64_t create_time;
    uint8_t reserved[4000];
    uint64_t checksum;     // seed 0
};
static_assert(sizeof(CapacitySuperblock) == kBlockSize);
static_assert(offsetof(CapacitySuperblock, disk_uuid) == 32);
static_assert(offsetof(CapacitySuperblock, segment_size) == 72);
static_assert(offsetof(CapacitySuperblock, checksum) == 4088);
constexpr uint8_t kCapacityMagic[4] = {'P', 'D', 'C', 0xfb};
constexpr uint32_t kCapacityVersion = 1;

// Without either, all history is kept.
constexpr uint32_t kRetainWindow = 1;
constexpr uint32_t kRetainBytes = 2;

enum class SegmentKind : uint8_t { free = 0, log = 1, index = 2, checkpoint = 3, stream = 4 };

// First block of every segment in use. The stream's next segment is announced here, before anything
// is in it, so that recovery can follow the stream.
struct SegmentHeader {
    uint8_t magic[4];  // 'P' 'D' 'S' 's'
    uint8_t kind;      // SegmentKind
    uint8_t reserved0[3];
    uint8_t uuid[16];
    uint32_t self;            // this segment's id
    uint32_t next;            // announced next segment of the stream
    uint64_t ordinal;         // number in its stream, from 0
    uint64_t first_sequence;  // log: of its first batch; index: of its first blob; checkpoint: its id
    uint64_t previous_hash;   // log: checksum of the batch before first_sequence
    uint64_t checksum;
};
static_assert(sizeof(SegmentHeader) == 64);
constexpr uint8_t kSegmentMagic[4] = {'P', 'D', 'S', 's'};

// One append: header, entries, unit checksums, records; padded to a block; then payload, padded to a
// block. The header's checksum covers all but the payload, which the unit checksums cover.
struct BatchHeader {
    uint8_t magic[4];  // 'P' 'D' 'S' 'b'
    uint32_t header_bytes;      // this struct, entries, checksums and records, without padding
    uint64_t sequence;
    int64_t time;               // microseconds since the epoch, when the batch was sealed
    uint64_t previous_hash;     // checksum of the batch before: the log is a hash chain
    uint64_t durable_sequence;  // batches up to this one were durable when this was sealed
    uint64_t session;           // random number of the opening that wrote it
    uint32_t total_bytes;       // of the whole batch, a multiple of kBlockSize
    uint32_t entry_count;
    uint32_t sum_count;
    uint32_t record_bytes;
    uint64_t checksum;
};
static_assert(sizeof(BatchHeader) == 72);
constexpr uint8_t kBatchMagic[4] = {'P', 'D', 'S', 'b'};

// A change of the map. Entries of a batch are applied in order.
struct Entry {
    uint64_t start;      // guest sector; low 40 bits
    uint64_t count;      // sectors
    uint32_t place;      // sector of the payload, from the start of the segment; of what has none there,
                         // where the payload before it ends, so that entries ascend by place
    uint32_t first_sum;  // data: index of its first unit's checksum in the batch (or index); packed: low part of its Place
    uint8_t kind;        // ExtentKind
    uint8_t flags;       // kEntryMoved, kEntryVoid, kEntryDelta, kEntryPacked
    uint8_t units;       // delta: its length, in kDeltaUnit; packed: high part of its Place
    uint8_t from[5];     // moved: the Place it was at. Delta: the Place it is at

    bool has(uint8_t flag) const { return (flags & flag) != 0; }
    bool is_data() const { return kind >= static_cast<uint8_t>(ExtentKind::unit); }
    // Data that lies in the batch's payload as the guest wrote it.
    bool is_plain() const;
};
static_assert(sizeof(Entry) == 32);

// The same data at another place: the entry counts only if all of its range is where it was when it was copied.
constexpr uint8_t kEntryMoved = 1;
// In indexes: it did not count.
constexpr uint8_t kEntryVoid = 2;
// A block as what differs from its content before; behind the batch's header, not in its payload.
constexpr uint8_t kEntryDelta = 4;
// Moved into a pack: the data is there, not in the batch, and the checksums are those of the pack's frames.
constexpr uint8_t kEntryPacked = 8;

inline bool Entry::is_plain() const { return is_data() && !has(kEntryDelta) && !has(kEntryPacked); }

inline void set_packed(Entry& entry, Place place) {
    entry.first_sum = static_cast<uint32_t>(place.value);
    entry.units = static_cast<uint8_t>(place.value >> 32);
}

inline Place get_packed(const Entry& entry) { return Place(uint64_t{entry.units} << 32 | entry.first_sum); }

inline void set_from(Entry& entry, Place from) {
    for (unsigned i = 0; i < sizeof(entry.from); ++i) {
        entry.from[i] = static_cast<uint8_t>(from.value >> 8 * i);
    }
}

inline Place get_from(const Entry& entry) {
    uint64_t from = 0;
    for (unsigned i = 0; i < sizeof(entry.from); ++i) {
        from |= uint64_t{entry.from[i]} << 8 * i;
    }
    return Place(from);
}

// Records: what is not a change of the map. A RecordHeader, then `length` bytes.
enum class RecordType : uint16_t {
    point = 1,
    snapshot_create = 2,
    snapshot_delete = 3,
    rollback = 4,
    resize = 5,
    floor = 6,
    stream_add = 7,
    stream_drop = 8,
    stream_references = 9,
};

// Which image something lies in.
enum class Tier : uint32_t { fast = 0, capacity = 1 };

struct RecordHeader {
    uint16_t type;
    uint16_t length;  // of what follows
};
static_assert(sizeof(RecordHeader) == 4);

enum class PointKind : uint32_t { none = 0, flush = 1, interval = 2 };

#pragma pack(push, 1)
struct PointRecord {
    uint64_t sequence;  // the state that is a point; before the batch that carries the record
    int64_t time;
    uint32_t kind;      // PointKind
};
static_assert(sizeof(PointRecord) == 20);

struct SnapshotRecord {  // followed by the name
    uint64_t id;
    uint64_t sequence;   // the state it names; in the log 0: the state before the batch
    int64_t time;
    uint64_t disk_size;
    uint64_t vm_state_size;
    uint64_t vm_clock_ns;
    uint64_t icount;
    uint32_t horizon_s;
};
static_assert(sizeof(SnapshotRecord) == 60);

struct SnapshotDeleteRecord {
    uint64_t id;
};

struct RollbackRecord {
    uint64_t target;     // the state after this batch is the state at `target`
};

struct ResizeRecord {
    uint64_t size;       // bytes
};

struct FloorRecord {
    uint64_t sequence;   // states before this one are no longer kept
    int64_t time;        // of that state
    int64_t clock;       // when it was the newest one: microseconds of use of the image (retention.h)
};

struct StreamRecord {     // followed by the numbers of its segments, u32 each
    uint64_t id;
    uint64_t lower;        // the state it holds, where it differs from
    uint64_t upper;        // this one
    int64_t lower_time;
    uint64_t base;         // virtual place of its first sector of data
    uint64_t sectors;      // of data
    uint64_t index_offset; // bytes in its content: of its segments one after the other, without their first blocks
    uint64_t index_bytes;
    uint64_t index_hash;   // XXH3 of the index, seed S
    int64_t lower_clock;   // when `lower` was the newest state: microseconds of use of the image
    uint32_t lower_point;  // PointKind of `lower`; none: it is only where the stream begins
    uint32_t tier;         // Tier: which image its segments are of
};
static_assert(sizeof(StreamRecord) == 88);

struct StreamDropRecord {
    uint64_t id;
};

struct StreamReferencesRecord {  // followed by the numbers of the packs that its frames need, u64 each
    uint64_t id;                 // of a stream that was added before
};
constexpr size_t kMaxReferencedPacks = 8;  // of one stream

// A stream's index: this, then the roaring bitmaps of the chunks added, modified and discarded from `lower` to
// `upper`, then PackedExtent, FrameRow, ReferenceRow.
struct StreamIndexHeader {
    uint8_t magic[4];        // 'P' 'D' 'S' 'x'
    uint8_t algorithm;       // kAlgorithmZstd
    uint8_t flags;           // kVectorsLeftOut
    uint8_t reserved0[2];
    uint64_t stream;         // its id; these and the next as in its record
    uint64_t lower, upper;
    int64_t lower_time;
    int64_t upper_time;
    uint64_t first_sector;   // of the guest's disk: the first it tells of,
    uint64_t end_sector;     // and behind the last
    uint64_t changed_sectors;
    uint64_t extents;
    uint64_t frames;
    uint32_t added_bytes, modified_bytes, discarded_bytes;  // of the bitmaps
    uint32_t dictionary;         // id of the zstd dictionary that its frames need; 0: none
    uint64_t dictionary_offset;  // bytes in the content
    uint64_t dictionary_hash;    // XXH3 of it, seed S
    uint32_t dictionary_bytes;
    uint32_t references;         // rows; of packs none
    uint64_t checksum;           // of this header and the bitmaps
};
static_assert(sizeof(StreamIndexHeader) == 136);
constexpr uint8_t kStreamIndexMagic[4] = {'P', 'D', 'S', 'x'};
constexpr uint8_t kAlgorithmZstd = 1;
// There would be too many runs of chunks: none are told apart, where nothing was before counts as added.
constexpr uint8_t kVectorsLeftOut = 1;
constexpr uint32_t kMaxDictionaryBytes = 128 << 10;

constexpr uint64_t kFrameSectors = 32;  // 16 KiB of data; the last frame may be shorter
struct FrameRow {
    uint64_t offset;  // bytes in the content; a frame lies in one segment
    uint32_t stored;  // bytes
    uint32_t form;    // kFormZstd, kFormRaw, or from kFormAfter on: a zstd frame after reference `form` - kFormAfter
    uint64_t hash;    // XXH3 of what is stored, seed S
};
static_assert(sizeof(FrameRow) == 24);
constexpr uint32_t kFormZstd = 0, kFormRaw = 1, kFormAfter = 2;
// Data that is zstd's prefix when frames are unpacked.
struct ReferenceRow {
    uint64_t place;    // virtual, in a pack
    uint32_t sectors;  // 1 to kMaxReferenceSectors
    uint32_t reserved;
};
static_assert(sizeof(ReferenceRow) == 16);
constexpr uint64_t kMaxReferenceSectors = 2 * kFrameSectors;

constexpr uint32_t kMaxDeltaDepth = 8;
constexpr uint32_t kMaxDeltaUnits = 32;  // 2 KiB

// In a checkpoint's list of rollbacks: the target was older than the floor.
constexpr uint64_t kDeepRollback = 1ull << 63;

// An extent as stored in indexes (undo) and checkpoints.
struct PackedExtent {
    uint32_t start_low;
    uint32_t place_low;  // zero and hole: low 32 bits of the count
    uint32_t checksum;
    uint16_t count;      // data only
    uint8_t start_high;
    uint8_t place_high;  // zero and hole: high 8 bits of the count
    uint8_t kind;        // ExtentKind
    uint8_t head_tail;   // head in the low, tail in the high 4 bits
    uint16_t reserved;
};
static_assert(sizeof(PackedExtent) == 20);

// How a delta says what differs.
enum class DeltaEncoding : uint8_t {
    ranges = 1,  // bytes equal, bytes that differ (each a number in 7-bit groups), then the latter; and so on
    xored = 2,   // a zstd frame of the block XORed with the base
};

// A delta: this, `bytes` bytes, zeros up to a multiple of kDeltaUnit. With its checksum in the entry.
struct DeltaHeader {
    uint8_t magic[2];  // 'P' 'd'
    uint8_t encoding;  // DeltaEncoding
    uint8_t depth;     // 1: the base is no delta; one more than that of the base. At most kMaxDeltaDepth
    uint16_t bytes;    // of what follows
    uint16_t units;    // kDeltaUnits that it and the deltas below it take
    PackedExtent base; // what the block held before: a delta, unit, run or zero extent of just that block
};
static_assert(sizeof(DeltaHeader) == 28);
constexpr uint8_t kDeltaMagic[2] = {'P', 'd'};
#pragma pack(pop)

// One index blob describes one closed log segment. It is cut into chunks; each chunk begins at a block.
struct ChunkHeader {
    uint8_t magic[4];         // 'P' 'D' 'S' 'i'
    uint32_t bytes;           // of blob in this chunk, after this header
    uint64_t blob;            // number of the blob, from 0
    uint64_t blob_offset;     // of this chunk's bytes in the blob
    uint64_t blob_bytes;      // of the whole blob
    uint64_t blob_hash;       // of the whole blob's bytes
    uint64_t session;         // drawn when the image was opened: what is written again differs
    uint64_t previous_hash;   // checksum of the chunk before in the stream; S in the first
    StreamPosition next;      // where the next chunk (of this blob or the next) goes
    uint64_t checksum;        // of this header and the chunk's bytes
};
static_assert(sizeof(ChunkHeader) == 80);
constexpr uint8_t kChunkMagic[4] = {'P', 'D', 'S', 'i'};

// The blob: this header, then rows, entries, sums, records, undo, redo.
struct IndexHeader {
    uint32_t segment;         // the log segment described
    uint32_t next_segment;    // its announced successor
    uint64_t ordinal;         // its ordinal in the log
    uint64_t first_sequence;
    uint64_t last_sequence;   // first_sequence - 1 if it holds no batch
    uint64_t last_hash;       // checksum of its last batch (previous_hash of the segment if none)
    uint32_t end_offset;      // bytes from the segment's start to the end of its last batch
    uint32_t row_count;
    uint64_t entry_count;
    uint64_t sum_count;
    uint64_t record_bytes;
    uint64_t undo_count;
    uint64_t redo_count;
    int64_t clock;            // when it was closed: microseconds of use of the image
};
static_assert(sizeof(IndexHeader) == 96);

// One batch in an index.
struct IndexRow {
    uint64_t sequence;
    int64_t time;
    uint32_t entry_count;
    uint32_t record_bytes;
    uint64_t undo_count;
    uint64_t redo_count;
};
static_assert(sizeof(IndexRow) == 40);

// A checkpoint is a stream of pages in checkpoint segments.
enum class PageKind : uint8_t {
    extents = 1,   // PackedExtent, ascending
    segments = 2,  // SegmentRow
    state = 3,     // CheckpointState, then snapshots, rollbacks, resizes: see checkpoint.cc
    index = 4,     // bytes of the indexes of log segments that have no blob yet
    last = 5,      // nothing: the checkpoint is complete
    levels = 6,    // u64 each, ascending: numbers of the chunks whose level is fine
};

struct PageHeader {
    uint8_t magic[4];  // 'P' 'D' 'S' 'p'
    uint8_t kind;
    uint8_t reserved[3];
    uint32_t bytes;    // of content after this header
    uint32_t number;   // of the page in the checkpoint, from 0
    uint64_t checkpoint_id;
    uint64_t checksum;  // of this header and the content
};
static_assert(sizeof(PageHeader) == 32);
constexpr uint8_t kPageMagic[4] = {'P', 'D', 'S', 'p'};
constexpr uint32_t kPageSize = 16 << 10;

struct SegmentRow {
    uint32_t id;
    uint8_t kind;
    uint8_t reserved;
    uint16_t index_span;   // log: index segments its blob lies in
    uint64_t ordinal;
    uint64_t first_sequence;
    uint64_t last_sequence;
    int64_t first_time;    // log: earliest and latest time of its batches and the points they record
    int64_t last_time;
    StreamPosition index;  // log: first chunk of its blob; segment 0xffffffff: none yet
    int64_t clock;         // log: as in IndexHeader
};
static_assert(sizeof(SegmentRow) == 72);

struct CheckpointState {
    uint64_t sequence;        // the state is that after this batch
    uint64_t initial_size;    // bytes of guest disk at sequence 0
    uint64_t next_snapshot_id;
    uint64_t next_blob;
    StreamPosition index;     // where the next blob goes
    uint64_t index_hash;      // checksum of the last chunk before there
    StreamPosition log;       // where batch `sequence` ends
    uint32_t log_announced;   // the log's next segment after log.segment
    uint32_t open_indexes;    // number of indexes in the index pages
    uint64_t log_hash;        // checksum of batch `sequence`
    int64_t last_time;        // time of batch `sequence`
    uint64_t point_sequence;  // newest point
    int64_t point_time;
    uint64_t floor_sequence;  // states before it are no longer kept
    int64_t floor_time;
    int64_t floor_clock;
    uint64_t next_stream_id;
    uint64_t next_stream_base;
    uint64_t stream_bytes;    // after the resizes: stream_add records
    uint64_t snapshot_bytes;  // then: snapshot_create records
    uint64_t rollback_count;  // then: sequence, target; u64 each
    uint64_t resize_count;    // then: sequence, size; u64 each
};
static_assert(sizeof(CheckpointState) == 184);

inline PackedExtent pack(const Extent& extent) {
    const uint64_t location = extent.is_data() ? extent.place.value : extent.count;
    PackedExtent packed{};
    packed.start_low = static_cast<uint32_t>(extent.start.value);
    packed.start_high = static_cast<uint8_t>(extent.start.value >> 32);
    packed.place_low = static_cast<uint32_t>(location);
    packed.place_high = static_cast<uint8_t>(location >> 32);
    packed.checksum = extent.checksum;
    packed.count = extent.is_data() ? static_cast<uint16_t>(extent.count) : uint16_t{0};
    packed.kind = static_cast<uint8_t>(extent.kind) & 3;
    packed.head_tail = static_cast<uint8_t>(extent.head | extent.tail << 4);
    return packed;
}

inline Extent unpack(const PackedExtent& packed) {
    const uint64_t location = packed.place_low | uint64_t{packed.place_high} << 32;
    Extent extent;
    extent.start = Sector(packed.start_low | uint64_t{packed.start_high} << 32);
    extent.kind = static_cast<ExtentKind>(packed.kind);
    if (extent.is_data()) {
        extent.count = packed.count;
        extent.place = Place(location);
        extent.head = packed.head_tail & 7;
        extent.tail = packed.head_tail >> 4 & 7;
        extent.checksum = packed.checksum;
    } else {
        extent.count = location;
    }
    return extent;
}

}  // namespace predsnap::format
