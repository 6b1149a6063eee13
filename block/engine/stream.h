// SPDX-License-Identifier: GPL-2.0-or-later
//
// Streams: what is kept of old history. The stream of two states, P and the later Q, holds the content of P
// wherever it differs from Q's: sorted by sector, in compressed frames, with an index. It refers to nothing
// outside itself but packs, so what lies between P and Q can go, and the log with it. Going back from Q to P is laying the
// stream over Q.
//
// Streams form a chain: from the floor (history.h) down to the oldest state that is kept, each begins where the one
// above it ends. Frames have virtual places, in a range that belongs to the stream for ever (StreamInfo::base),
// so views, and the current map after a rollback, refer to them as to places of the image.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "buffer.h"
#include "capacity.h"
#include "change_vector.h"
#include "core.h"
#include "frame.h"
#include "history.h"
#include "segment_table.h"
#include "stream_tier.h"

namespace predsnap {

// The beginning of a stream's index, which can be read without the rest.
struct StreamSummary {
    Time lower_time, upper_time;
    Sector first, end;        // of the guest's disk: what the stream tells of; equal: nothing
    uint64_t sectors = 0;     // of that which changed from `lower` to `upper`
    uint64_t extents = 0, frames = 0, references = 0;
    ChangeVector changes;
    bool vectors_left_out = false;  // `changes` is only what the extents tell
    // Where its dictionary is, if it has one.
    uint32_t dictionary = 0;  // 0: none
    uint32_t dictionary_bytes = 0;
    uint64_t dictionary_offset = 0, dictionary_hash = 0;
    uint64_t bytes = 0;       // of the summary

    // `seed`: of checksums.
    std::vector<uint8_t> encode(const StreamInfo& stream, uint64_t seed) const;
    // Of the first bytes of an index. Errors: EIO for what no correct writer produces.
    static Result<StreamSummary> decode(const StreamInfo& stream, uint64_t seed, std::span<const uint8_t> bytes);
    // How many bytes decode() needs, by the header at their beginning.
    static Result<uint64_t> size(const StreamInfo& stream, std::span<const uint8_t> header);
};

// What is wrong with a stream: EIO, with which one it is.
Error damaged(const StreamInfo& stream, const char* what);

struct StreamIndex {
    StreamSummary summary;
    std::vector<format::PackedExtent> extents;  // ascending; data with virtual places
    std::vector<format::FrameRow> frames;       // frame i holds the sectors from i * kFrameSectors on
    std::vector<format::ReferenceRow> references;

    // Fills in what the summary says of extents and frames.
    std::vector<uint8_t> encode(const StreamInfo& stream, uint64_t seed);
    // Errors: EIO for what no correct writer produces.
    static Result<StreamIndex> decode(const StreamInfo& stream, const Geometry& geometry, uint64_t seed,
                                      std::span<const uint8_t> bytes);
    uint64_t memory_bytes() const {
        return extents.size() * sizeof(format::PackedExtent) + frames.size() * sizeof(format::FrameRow) +
               references.size() * sizeof(format::ReferenceRow) + summary.changes.memory_bytes();
    }
};

// What is stored is stored after this: a row, or null.
inline const format::ReferenceRow* reference_of(const StreamIndex& index, const format::FrameRow& row) {
    return row.form < format::kFormAfter ? nullptr : &index.references[row.form - format::kFormAfter];
}

// What the frames of a stream that is written may be stored after; and how that is read. Where it saves little, a frame is
// stored without.
struct References {
    static constexpr size_t kNoPack = SIZE_MAX;
    struct Candidate {
        Place place{0};
        uint32_t sectors = 0;  // 0: there is nothing
        uint32_t pack = 0;     // of `packs`
    };
    std::vector<Candidate> frames;  // by the frame's number; shorter: there is nothing for the others
    std::vector<StreamInfo> packs;
    std::function<Result<void>(const StreamInfo& pack, Place place, uint64_t sectors, uint8_t* to)> read;
};

// Where the last segment that streams were written to has room yet. Not kept beyond a process.
struct StreamTail {
    SegmentId segment = kNoSegment;
    uint64_t used = 0;  // bytes of its content
};

// Writes streams, one after the other, into segments that are taken as needed; the next begins where the one before
// ends.
class StreamWriter {
  public:
    // The first stream begins at the tail, if that is in a segment.
    StreamWriter(Core& core, StreamTier& tier, int level, const StreamTail& tail);
    // Releases the segments taken unless keep() was called.
    ~StreamWriter();
    StreamWriter(const StreamWriter&) = delete;

    // Begins a stream, whose frames need the dictionary; null: none. `base`: the virtual place of the first sector of its data.
    Result<void> begin_stream(Place base, std::shared_ptr<const Dictionary> dictionary, References references = {});
    // Of one stream: extents ascend and do not overlap; of data, the content follows by put_data.
    void put_extent(const Extent& extent);
    Result<void> put_data(const uint8_t* data, uint64_t sectors);
    // Instead of both, what another stream of the same base holds: its extents, then all of its frames as they are stored.
    void put_extents_of(const StreamIndex& index, uint64_t sectors);
    Result<void> put_stored_frame(std::span<const uint8_t> stored, uint32_t form) { return put_frame(stored, form); }
    // There will be no such stream; the next begins behind what was written of it.
    void abandon_stream();
    // The stream is complete. Fills in base, sectors, index and segments. `after`: the chunks of its extents that hold data
    // in state `upper`.
    Result<void> end_stream(StreamInfo* stream, Time upper_time, const ChunkSet& after);
    // Writes what is not written yet. Not durable before a flush.
    Result<void> finish() { return write_out(); }
    // Afterwards: where there is room.
    StreamTail tail() const { return {taken_.empty() ? kNoSegment : taken_.back(), used_}; }
    uint64_t bytes_written() const { return bytes_written_; }
    // All segments it has written to.
    const std::vector<SegmentId>& segments() const { return taken_; }
    void keep() { kept_ = true; }

  private:
    // Frames that are compressed at once, by the host's executor.
    static constexpr size_t kFramesAtOnce = 16;

    Result<void> pack_frames();
    Result<void> read_references(size_t count);
    Result<void> put_frame(std::span<const uint8_t> stored, uint32_t form);
    Result<void> put_frame_after(std::span<const uint8_t> stored, const References::Candidate& reference);
    Result<void> write(const uint8_t* bytes, uint64_t length);
    Result<void> begin_segment();
    Result<void> write_out();
    uint64_t capacity() const { return core_.geometry.segment_size - kBlockSize; }
    uint64_t position() const { return (taken_.size() - 1) * capacity() + used_; }

    Core& core_;
    StreamTier& tier_;
    const int level_;
    // Of the present stream.
    Place base_;
    StreamIndex index_;
    uint64_t sectors_ = 0;       // of data, so far
    std::vector<uint8_t> raw_;   // not yet compressed
    size_t first_segment_ = 0;   // in which it begins, of taken_
    bool begun_ = false;
    std::vector<uint8_t> packed_[kFramesAtOnce];
    // The same after their references; empty: that is not worth it.
    std::vector<uint8_t> packed_after_[kFramesAtOnce];
    std::vector<uint8_t> reference_data_[kFramesAtOnce];
    FramePacker packer_;
    std::shared_ptr<const Dictionary> dictionary_;
    References references_;
    std::vector<bool> packs_used_;  // of references_.packs
    AlignedBuffer buffer_;       // content of the segment being filled
    uint64_t used_ = 0;          // bytes of it,
    uint64_t on_disk_ = 0;       // which was there before this writer
    std::vector<SegmentId> taken_;
    uint64_t bytes_written_ = 0;
    bool continued_ = false;     // the first of them is not this writer's
    bool kept_ = false;
};

// Reads streams. Any task.
class StreamStore {
  public:
    // Bytes of indexes kept in memory, beside the newest used.
    static constexpr uint64_t kMaxBytes = 32 << 20;
    // Frames kept unpacked.
    static constexpr size_t kMaxFrames = 32;
    // Bytes of summaries kept in memory.
    static constexpr uint64_t kMaxSummaryBytes = 16 << 20;
    static constexpr size_t kMaxDictionaries = 16;

    StreamStore(Core& core, const History& history, Capacity& capacity)
        : core_(core), history_(history), capacity_(capacity) {}

    // These require Core::mutex not to be held.
    Result<std::shared_ptr<const StreamIndex>> load(const StreamInfo& stream);
    Result<std::shared_ptr<const StreamSummary>> summary(const StreamInfo& stream);
    // Null if it has none. Errors: EIO, not reported.
    Result<std::shared_ptr<const Dictionary>> dictionary(const StreamInfo& stream, const StreamSummary& summary);
    // Sectors at a virtual place. Errors: EIO, reported, if they are damaged.
    Result<void> read(Place place, uint64_t sectors, uint8_t* to);
    // The same of a stream whose segments are not given away meanwhile, from a sector of its data on; not reported.
    Result<void> read_data(const StreamInfo& stream, uint64_t from, uint64_t sectors, uint8_t* to);
    // Frame `number` as it is stored, verified. The same.
    Result<std::vector<uint8_t>> read_stored(const StreamInfo& stream, const StreamIndex& index, uint64_t number);
    // --- Require Core::mutex ---
    // The stream is not in the history any more, but whoever looked a place of it up before may read it yet,
    void retire(const StreamInfo& stream) { retired_.push_back(stream); }
    void keep_after_all(uint64_t stream) {
        std::erase_if(retired_, [&](const StreamInfo& retired) { return retired.id == stream; });
    }
    // until its segments are given away. Does nothing for segments of other streams.
    void forget(format::Tier tier, SegmentId segment);
    // Packs that such streams refer to.
    void add_retired_references(std::set<uint64_t>* packs) const {
        for (const StreamInfo& stream : retired_) {
            packs->insert(stream.references.begin(), stream.references.end());
        }
    }
    // Whether there is such a stream in the segment.
    bool retired_in(format::Tier tier, SegmentId segment) const;

  private:
    struct Frame {
        uint64_t stream = 0, number = UINT64_MAX;
        std::vector<uint8_t> bytes;
    };
    struct Loaded {
        uint64_t stream;
        uint64_t index_hash;  // of the same stream elsewhere it is another one
        std::shared_ptr<const StreamIndex> index;
    };
    const StreamInfo* find(Place place) const;
    Result<void> read_segment(const StreamInfo& stream, SegmentId id, uint64_t offset, AlignedBuffer& to);
    Result<void> read_content(const StreamInfo& stream, uint64_t offset, uint64_t length, uint8_t* to);
    Result<std::shared_ptr<const StreamIndex>> load_index(const StreamInfo& stream);
    Result<StreamSummary> read_summary(const StreamInfo& stream);
    Result<std::shared_ptr<const Dictionary>> read_dictionary(const StreamInfo& stream, const StreamSummary& summary);
    Result<uint64_t> length_of_tier(const StreamInfo& stream);
    Result<std::vector<uint8_t>> stored_frame(const StreamInfo& stream, const StreamIndex& index, uint64_t number);
    // Null if it is not in memory.
    std::shared_ptr<const Frame> kept_frame(const StreamInfo& stream, uint64_t number);
    void keep_frame(std::shared_ptr<const Frame> frame);
    Result<std::shared_ptr<const Frame>> frame(const StreamInfo& stream, const StreamIndex& index, uint64_t number);
    Result<std::vector<uint8_t>> read_reference(const StreamInfo& stream, Place place, uint64_t sectors);
    Result<std::vector<std::vector<uint8_t>>> read_references(const StreamInfo& stream, const StreamIndex& index,
                                                              std::span<const format::FrameRow> rows);
    Result<uint64_t> read_run(const StreamInfo& stream, const StreamIndex& index, uint64_t from, uint64_t sectors, uint8_t* to);
    Result<void> read_sectors(const StreamInfo& stream, uint64_t from, uint64_t sectors, uint8_t* to);

    Core& core_;
    const History& history_;
    Capacity& capacity_;
    // Guarded by Core::mutex; newest first.
    std::list<Loaded> recent_;
    std::list<std::shared_ptr<const Frame>> frames_;
    std::list<std::pair<uint64_t, std::shared_ptr<const StreamSummary>>> summaries_;
    // By their hash: streams may have the same one.
    std::list<std::pair<uint64_t, std::shared_ptr<const Dictionary>>> dictionaries_;
    std::vector<StreamInfo> retired_;
};

}  // namespace predsnap
