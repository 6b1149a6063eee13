// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>

#include "checkpoint.h"
#include "checksum.h"
#include "granularity.h"
#include "text.h"
#include "wait.h"

namespace predsnap {

using format::PageHeader;
using format::PageKind;

namespace {

constexpr uint32_t kPageContent = format::kPageSize - sizeof(PageHeader);
constexpr size_t kReadBytes = 1 << 20;
constexpr size_t kReadsAhead = 3;
constexpr size_t kPiece = 256;  // extents put into the map at once

// Reads a range of the image, some pieces ahead of what is asked for.
class ReadAhead {
  public:
    ReadAhead(Core& core, uint64_t begin, uint64_t end) : core_(core), asked_(begin), end_(end) {
        for (Slot& slot : slots_) {
            ask(slot);
        }
    }
    // The next kReadBytes, or what is left; nothing at the end. Valid until the next call.
    Result<std::span<const uint8_t>> next() {
        if (at_ > 0) {
            ask(slots_[(at_ - 1) % slots_.size()]);
        }
        Slot& slot = slots_[at_++ % slots_.size()];
        if (slot.length > 0) {
            TRY(slot.reading->wait());
        }
        return std::span<const uint8_t>(slot.buffer.data(), slot.length);
    }

  private:
    struct Slot {
        AlignedBuffer buffer;
        size_t length = 0;
        std::unique_ptr<TaskGroup> reading;
    };
    void ask(Slot& slot) {
        slot.length = std::min<uint64_t>(kReadBytes, end_ - asked_);
        if (slot.length == 0) {
            return;
        }
        if (slot.buffer.data() == nullptr) {
            slot.buffer = AlignedBuffer(kReadBytes);
        }
        slot.reading = std::make_unique<TaskGroup>(core_.host, 1);
        slot.reading->run([this, &slot, from = asked_] {
            return core_.file.pread(from, slot.buffer.data(), slot.length);
        });
        asked_ += slot.length;
    }

    Core& core_;
    uint64_t asked_;
    const uint64_t end_;
    size_t at_ = 0;
    std::array<Slot, kReadsAhead + 1> slots_;
};

// The header of a checkpoint's segment; nothing if it is not that.
Result<std::optional<format::SegmentHeader>> read_header(Core& core, SegmentId id, uint64_t checkpoint,
                                                         uint64_t ordinal) {
    AlignedBuffer block(kBlockSize);
    TRY(core.file.pread(core.geometry.offset(id), block.data(), block.size()));
    format::SegmentHeader header{};
    std::memcpy(&header, block.data(), sizeof(header));
    if (std::memcmp(header.magic, format::kSegmentMagic, sizeof(header.magic)) != 0 ||
        header.checksum != self_hash(core.seed, header) || header.self != id.value ||
        header.kind != static_cast<uint8_t>(format::SegmentKind::checkpoint) ||
        header.first_sequence != checkpoint || header.ordinal != ordinal) {
        return std::optional<format::SegmentHeader>{};
    }
    return std::optional<format::SegmentHeader>(header);
}

// Collects pages of one checkpoint, checking each.
class PageStream {
  public:
    PageStream(Core& core, uint64_t id, LoadedCheckpoint& loaded)
        : core_(core), id_(id), loaded_(loaded) {}

    Result<void> read_all(SegmentId first);

    std::vector<uint8_t> state, segments, indexes, levels;

  private:
    Result<SegmentId> read_segment(SegmentId id, uint64_t ordinal);
    Result<void> take_page(SegmentId segment, uint64_t offset, const uint8_t* page);
    Result<void> take_extents(const uint8_t* content, size_t length);
    bool take_extent(const format::PackedExtent& packed);
    void lay_piece() {
        loaded_.map.insert_all(piece_, ExtentMap::Holes::keep);
        piece_.clear();
    }
    Error bad(SegmentId segment, uint64_t offset, const char* what) const {
        return Error{EIO, text("checkpoint %llu, segment %u offset %llu: %s", static_cast<ull>(id_),
                               segment.value, static_cast<ull>(offset), what)};
    }

    Core& core_;
    const uint64_t id_;
    LoadedCheckpoint& loaded_;
    uint32_t next_page_ = 0;
    bool complete_ = false;
    uint8_t partial_[sizeof(format::PackedExtent)];  // an extent cut by a page end
    size_t partial_length_ = 0;
    Sector last_end_{0};
    std::vector<Extent> piece_;  // not yet in the map
};

Result<void> PageStream::read_all(SegmentId first) {
    SegmentId id = first;
    TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
    const uint64_t most = core_.geometry.segments_in(image_bytes + core_.geometry.segment_size);
    for (uint64_t ordinal = 0; !complete_; ++ordinal) {
        if (ordinal >= most || id.value >= core_.geometry.max_segments()) {
            return bad(id, 0, "segment chain does not end");
        }
        TRY_ASSIGN(const SegmentId next, read_segment(id, ordinal));
        loaded_.segments.push_back(id);
        id = next;
    }
    lay_piece();
    return {};
}

Result<SegmentId> PageStream::read_segment(SegmentId id, uint64_t ordinal) {
    const uint64_t offset = core_.geometry.offset(id);
    TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
    const uint64_t end = std::min<uint64_t>(offset + core_.geometry.segment_size,
                                            align_down(image_bytes, kSectorSize));
    if (offset + kBlockSize > end) {
        return bad(id, 0, "lies past the end of the image");
    }
    TRY_ASSIGN(const std::optional<format::SegmentHeader> found, read_header(core_, id, id_, ordinal));
    if (!found) {
        return bad(id, 0, "segment header is damaged");
    }
    const format::SegmentHeader& header = *found;
    // Whole pages.
    uint64_t at = offset + kBlockSize;
    ReadAhead pages(core_, at, at + align_down(end - at, format::kPageSize));
    while (!complete_) {
        TRY_ASSIGN(const std::span<const uint8_t> read, pages.next());
        if (read.empty()) {
            break;
        }
        for (size_t page = 0; page < read.size() && !complete_; page += format::kPageSize) {
            TRY(take_page(id, at + page - offset, read.data() + page));
        }
        at += read.size();
    }
    return SegmentId(header.next);
}

Result<void> PageStream::take_page(SegmentId segment, uint64_t offset, const uint8_t* page) {
    const auto* header = reinterpret_cast<const PageHeader*>(page);
    if (std::memcmp(header->magic, format::kPageMagic, sizeof(header->magic)) != 0 ||
        header->bytes > kPageContent || header->checkpoint_id != id_ ||
        header->number != next_page_ || header->checksum != self_hash(core_.seed, *header, header->bytes)) {
        return bad(segment, offset, "page is damaged");
    }
    ++next_page_;
    const uint8_t* content = page + sizeof(PageHeader);
    const auto append = [&](std::vector<uint8_t>& to) {
        to.insert(to.end(), content, content + header->bytes);
        return Result<void>();
    };
    switch (static_cast<PageKind>(header->kind)) {
        case PageKind::extents:
            return take_extents(content, header->bytes);
        case PageKind::segments:
            return append(segments);
        case PageKind::state:
            return append(state);
        case PageKind::index:
            return append(indexes);
        case PageKind::levels:
            return append(levels);
        case PageKind::last:
            complete_ = true;
            return {};
    }
    return bad(segment, offset, "unknown kind of page");
}

Result<void> PageStream::take_extents(const uint8_t* content, size_t length) {
    format::PackedExtent packed;
    while (length > 0) {
        if (partial_length_ == 0 && length >= sizeof(packed)) {
            std::memcpy(&packed, content, sizeof(packed));
            content += sizeof(packed);
            length -= sizeof(packed);
        } else {
            const size_t part = std::min(length, sizeof(partial_) - partial_length_);
            std::memcpy(partial_ + partial_length_, content, part);
            partial_length_ += part;
            content += part;
            length -= part;
            if (partial_length_ < sizeof(partial_)) {
                return {};
            }
            partial_length_ = 0;
            std::memcpy(&packed, partial_, sizeof(packed));
        }
        if (!take_extent(packed)) {
            return Error{EIO, text("checkpoint %llu: an extent is out of range", static_cast<ull>(id_))};
        }
    }
    return {};
}

bool PageStream::take_extent(const format::PackedExtent& packed) {
    const Extent extent = format::unpack(packed);
    if (packed.kind > static_cast<uint8_t>(ExtentKind::run) || extent.start < last_end_ ||
        extent.kind == ExtentKind::hole || !plausible(core_.geometry, extent)) {
        return false;
    }
    last_end_ = extent.end();
    piece_.push_back(extent);
    if (piece_.size() == kPiece) {
        lay_piece();
    }
    return true;
}

// Takes fixed-size items off a byte stream.
class Cursor {
  public:
    explicit Cursor(const std::vector<uint8_t>& bytes) : rest_(bytes) {}
    template <typename T>
    bool take(T* item) {
        if (rest_.size() < sizeof(T)) {
            return false;
        }
        std::memcpy(item, rest_.data(), sizeof(T));
        rest_ = rest_.subspan(sizeof(T));
        return true;
    }
    bool take(uint64_t length, std::span<const uint8_t>* bytes) {
        if (rest_.size() < length) {
            return false;
        }
        *bytes = rest_.subspan(0, length);
        rest_ = rest_.subspan(length);
        return true;
    }

  private:
    std::span<const uint8_t> rest_;
};

const Error kShort{EIO, "checkpoint: state is cut short"};

// Takes that many bytes of records.
Result<void> take_records(Cursor& cursor, uint64_t length,
                          const std::function<Result<void>(const RecordReader::Record&)>& take) {
    std::span<const uint8_t> bytes;
    if (!cursor.take(length, &bytes)) {
        return kShort;
    }
    RecordReader reader(bytes);
    for (;;) {
        TRY_ASSIGN(const auto record, reader.next());
        if (!record) {
            return {};
        }
        TRY(take(*record));
    }
}

Result<void> parse_history(Cursor& cursor, const format::CheckpointState& state, History& history) {
    if (state.initial_size % kSectorSize != 0 || state.initial_size > kMaxSize) {
        return Error{EIO, "checkpoint: impossible disk size"};
    }
    history.initial_size = state.initial_size;
    history.next_snapshot_id = state.next_snapshot_id;
    history.last_point = Sequence(state.point_sequence);
    history.last_point_time = Time(state.point_time);
    if (state.floor_sequence > state.sequence) {
        return Error{EIO, "checkpoint: history begins after its end"};
    }
    history.floor = Sequence(state.floor_sequence);
    history.floor_time = Time(state.floor_time);
    history.floor_clock = state.floor_clock;
    TRY(take_records(cursor, state.snapshot_bytes, [&](const RecordReader::Record& record) -> Result<void> {
        TRY_ASSIGN(SnapshotInfo snapshot, parse_snapshot(record.payload));
        history.snapshots.push_back(std::move(snapshot));
        return {};
    }));
    Sequence last{0};
    for (uint64_t i = 0; i < state.rollback_count; ++i) {
        uint64_t row[2];
        if (!cursor.take(&row)) {
            return kShort;
        }
        const bool deep = (row[1] & format::kDeepRollback) != 0;
        row[1] &= ~format::kDeepRollback;
        if (row[1] >= row[0] || Sequence(row[0]) <= last) {
            return Error{EIO, "checkpoint: rollbacks are out of order"};
        }
        last = Sequence(row[0]);
        history.rollbacks.push_back({Sequence(row[0]), Sequence(row[1]), deep});
    }
    for (uint64_t i = 0; i < state.resize_count; ++i) {
        uint64_t row[2];
        if (!cursor.take(&row)) {
            return kShort;
        }
        if (row[1] % kSectorSize != 0 || row[1] > kMaxSize) {
            return Error{EIO, "checkpoint: impossible disk size"};
        }
        history.resizes.push_back({Sequence(row[0]), row[1]});
    }
    history.next_stream_id = state.next_stream_id;
    history.next_stream_base = std::max(Place(state.next_stream_base), kStreamPlaces);
    return take_records(cursor, state.stream_bytes, [&](const RecordReader::Record& record) -> Result<void> {
        if (record.type == format::RecordType::stream_references) {
            return history.add_references(record.payload);
        }
        TRY_ASSIGN(StreamInfo stream, parse_stream(record.payload));
        history.streams.insert(history.streams.begin(), std::move(stream));
        return {};
    });
}

Result<void> parse_state(const std::vector<uint8_t>& bytes, CheckpointParts& parts,
                         uint32_t* open_indexes) {
    Cursor cursor(bytes);
    format::CheckpointState state{};
    if (!cursor.take(&state)) {
        return kShort;
    }
    parts.sequence = Sequence(state.sequence);
    parts.time = Time(state.last_time);
    parts.index = {state.index, state.next_blob, state.index_hash};
    parts.log.segment = SegmentId(state.log.segment);
    parts.log.announced = SegmentId(state.log_announced);
    parts.log.offset = state.log.offset;
    parts.log.ordinal = state.log.ordinal;
    parts.log.next = parts.sequence + 1;
    parts.log.hash = state.log_hash;
    *open_indexes = state.open_indexes;
    return parse_history(cursor, state, parts.history);
}

Result<void> parse_segments(const Core& core, const std::vector<uint8_t>& bytes,
                            CheckpointParts& parts) {
    Cursor cursor(bytes);
    format::SegmentRow row{};
    while (cursor.take(&row)) {
        if (row.id >= core.geometry.max_segments() ||
            row.kind > static_cast<uint8_t>(format::SegmentKind::checkpoint)) {
            return Error{EIO, text("checkpoint: segment row %zu is out of range", parts.segments.size())};
        }
        parts.segments.push_back(row);
    }
    return {};
}

Result<void> parse_levels(const std::vector<uint8_t>& bytes, CheckpointParts& parts) {
    Cursor cursor(bytes);
    uint64_t chunk;
    while (cursor.take(&chunk)) {
        if (chunk >= kVmStateBase.value / kChunkSectors ||
            (!parts.fine_chunks.empty() && chunk <= parts.fine_chunks.back())) {
            return Error{EIO, "checkpoint: chunks with a level are out of order"};
        }
        parts.fine_chunks.push_back(chunk);
    }
    return {};
}

Result<void> parse_indexes(const Core& core, const std::vector<uint8_t>& bytes, uint32_t count,
                           CheckpointParts& parts) {
    Cursor cursor(bytes);
    for (uint32_t i = 0; i < count; ++i) {
        uint64_t length = 0;
        std::span<const uint8_t> blob;
        if (!cursor.take(&length) || !cursor.take(length, &blob)) {
            return kShort;
        }
        TRY_ASSIGN(SegmentIndex index, SegmentIndex::decode(core.geometry, blob));
        parts.open_indexes.push_back(std::move(index));
    }
    return {};
}

}  // namespace

Result<std::vector<SegmentId>> checkpoint_chain(Core& core, SegmentId first, uint64_t id, uint32_t count) {
    TRY_ASSIGN(const uint64_t image_bytes, core.file.length());
    std::vector<SegmentId> chain;
    for (SegmentId at = first; chain.size() < count;) {
        if (at.value >= core.geometry.max_segments() || core.geometry.offset(at) + kBlockSize > image_bytes) {
            return std::vector<SegmentId>{};
        }
        TRY_ASSIGN(const auto header, read_header(core, at, id, chain.size()));
        if (!header) {
            return std::vector<SegmentId>{};
        }
        chain.push_back(at);
        at = SegmentId(header->next);
    }
    return chain;
}

Result<LoadedCheckpoint> read_checkpoint(Core& core, SegmentId first, uint64_t id, ChunkSupply* supply) {
    LoadedCheckpoint loaded;
    loaded.map.use(supply);
    PageStream stream(core, id, loaded);
    TRY(stream.read_all(first));
    uint32_t open_indexes = 0;
    TRY(parse_state(stream.state, loaded.parts, &open_indexes));
    TRY(parse_segments(core, stream.segments, loaded.parts));
    TRY(parse_levels(stream.levels, loaded.parts));
    TRY(parse_indexes(core, stream.indexes, open_indexes, loaded.parts));
    return loaded;
}

}  // namespace predsnap
