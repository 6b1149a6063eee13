// SPDX-License-Identifier: GPL-2.0-or-later
#include "recovery.h"

#include <algorithm>
#include <cstring>

#include "apply.h"
#include "text.h"

namespace predsnap {

using format::SegmentKind;

namespace {

// Segments may be announced before the image has grown to hold them.
constexpr uint32_t kSegmentsPastEnd = 64;
// No writer gets there: numbers above would wrap.
constexpr Sequence kSequenceLimit{1ull << 62};

// The newest open index is of the segment the log goes on in, up to there.
bool consistent(const CheckpointParts& parts) {
    if (parts.sequence >= kSequenceLimit) {
        return false;
    }
    if (parts.open_indexes.empty()) {
        return true;
    }
    const SegmentIndex& newest = parts.open_indexes.back();
    return newest.segment == parts.log.segment && newest.ordinal == parts.log.ordinal &&
           newest.end_offset == parts.log.offset && newest.last == parts.sequence &&
           parts.log.offset >= kBlockSize && parts.log.offset % kBlockSize == 0;
}

}  // namespace

LogPosition first_log_position(const Core& core, const format::Superblock& superblock) {
    LogPosition position;
    position.announced = SegmentId(superblock.log.segment);
    position.offset = core.geometry.segment_size;
    position.ordinal = superblock.log.ordinal - 1;
    position.hash = core.seed;
    return position;
}

Result<Recovery::Outcome> Recovery::run(const format::Superblock& superblock, bool accept_loss) {
    accept_loss_ = accept_loss;
    TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
    core_.geometry.id_limit = core_.geometry.segments_in(image_bytes) + kSegmentsPastEnd;
    TRY(begin(superblock));
    durable_ = std::max(disk_.sequence, Sequence(superblock.durable_sequence));
    replayed_ = Overlay(disk_.size / kSectorSize);
    replayed_.use(&supply_);
    TRY(replay_index_stream());
    lay_replayed();
    TRY(scan_log());
    if (const Result<void> lost = check_nothing_lost(superblock); !lost.ok()) {
        if (!accept_loss_) {
            return Error(lost.error());
        }
        if (core_.writable) {
            TRY(wipe_rest());
        }
    }
    TRY(mark_segments());
    if (core_.writable) {
        TRY(wipe_torn());
        // What was found may only be in a cache, left by a process that was killed. It decides which segments
        // are free: it must not be lost once they are used.
        TRY(core_.file.flush());
        durable_ = disk_.sequence;
    }
    durable_ = std::min(durable_, disk_.sequence);
    core_.session = core_.host.random();
    stream_.start(index_tail_);
    core_.geometry.id_limit = UINT32_MAX;
    segments_.adopt_image(core_.geometry, image_bytes);
    log_.start({position_, std::move(log_.open_indexes()), durable_});
    return outcome_;
}

Result<void> Recovery::begin(const format::Superblock& superblock) {
    if (superblock.checkpoint_segment == kNoSegment.value) {
        begin_empty(superblock);
        return {};
    }
    const Result<void> begun = begin_at_checkpoint(SegmentId(superblock.checkpoint_segment),
                                                   superblock.checkpoint_id, superblock.checkpoint_sequence);
    if (!begun.ok()) {
        if (!accept_loss_) {
            return Error{begun.error().code,
                         begun.error().message + "; 'qemu-img check -r all' makes a new one, without loss"};
        }
        return begin_without_newest(superblock);
    }
    if (superblock.previous_segments > 0) {
        auto chain = checkpoint_chain(core_, SegmentId(superblock.previous_segment), superblock.previous_id,
                                      superblock.previous_segments);
        if (!chain.ok() && !accept_loss_) {
            return Error(chain.error());  // what it lies in must not be taken for free only because of that
        }
        outcome_.previous_segments = chain.ok() ? chain.take() : std::vector<SegmentId>{};
    }
    return {};
}

// With the checkpoint before the newest one; or with none, if the log is still there from its beginning.
Result<void> Recovery::begin_without_newest(const format::Superblock& superblock) {
    outcome_.without_checkpoint = true;
    if (superblock.previous_segments > 0) {
        const Result<void> begun = begin_at_checkpoint(SegmentId(superblock.previous_segment),
                                                       superblock.previous_id, superblock.previous_sequence);
        outcome_.from_previous = begun.ok();
        if (begun.ok()) {
            return {};
        }
    }
    if (superblock.log.segment == kNoSegment.value) {
        return Error{EIO, "both checkpoints are damaged, and the log does not reach back to its beginning: without "
                          "them nobody knows where data is"};
    }
    begin_empty(superblock);
    return {};
}

void Recovery::begin_empty(const format::Superblock& superblock) {
    history_.initial_size = superblock.initial_size;
    disk_.size = superblock.initial_size;
    disk_.time = Time(superblock.create_time);
    position_ = first_log_position(core_, superblock);
    index_tail_ = {superblock.index, 0, core_.seed};
}

Result<void> Recovery::begin_at_checkpoint(SegmentId first, uint64_t id, uint64_t sequence) {
    TRY_ASSIGN(LoadedCheckpoint loaded, read_checkpoint(core_, first, id, &supply_));
    CheckpointParts& parts = loaded.parts;
    if (parts.sequence.value != sequence) {
        return Error{EIO, "checkpoint does not agree with the superblock"};
    }
    if (!consistent(parts)) {
        return Error{EIO, "checkpoint does not agree with itself about where the log goes on"};
    }
    outcome_.checkpoint_segments = loaded.segments;
    outcome_.checkpoint_index = parts.index.at.ordinal;
    outcome_.checkpoint_bytes = loaded.segments.size() * uint64_t{core_.geometry.segment_size};
    outcome_.fine_chunks = std::move(parts.fine_chunks);
    disk_.map.swap(loaded.map);
    disk_.sequence = parts.sequence;
    disk_.time = parts.time;
    history_ = std::move(parts.history);
    disk_.size = history_.size_at(disk_.sequence);
    position_ = parts.log;
    index_tail_ = parts.index;
    for (const format::SegmentRow& row : parts.segments) {
        Segment& segment = segments_.ensure(SegmentId(row.id));
        segment.kind = static_cast<SegmentKind>(row.kind);
        segment.ordinal = row.ordinal;
        segment.first = Sequence(row.first_sequence);
        segment.last = Sequence(row.last_sequence);
        segment.times = {Time(row.first_time), Time(row.last_time)};
        segment.index = row.index;
        segment.index_span = row.index_span;
        segment.age_mark = row.clock;
        if (segment.kind == SegmentKind::log) {
            segments_.log().push_back(SegmentId(row.id));
        }
    }
    std::sort(segments_.log().begin(), segments_.log().end(), [&](SegmentId a, SegmentId b) {
        return segments_[a].ordinal < segments_[b].ordinal;
    });
    segments_.retire(history_.floor);
    for (SegmentIndex& index : parts.open_indexes) {
        segments_.ensure(index.segment);
        log_.open_indexes().push_back(std::move(index));
    }
    if (log_.open_indexes().empty()) {
        position_.offset = core_.geometry.segment_size;  // the newest segment has its blob: it is closed
    }
    return {};
}

Result<void> Recovery::replay_index_stream() {
    for (;;) {
        const Result<IndexStream::Read> read = stream_.read(index_tail_.at);
        // A blob that cannot be read now must not be taken for one that was never written: what it leads to
        // would count as free, and yet be found again later.
        if (!read.ok() && read.error().code != IndexStream::kNoBlob && !accept_loss_) {
            return Error{read.error().code,
                         text("index stream cannot be read at segment %u offset %u; if that stays so, "
                              "'qemu-img check -r all' opens the image without it",
                              index_tail_.at.segment, index_tail_.at.offset)};
        }
        // No whole blob: the log itself, from here on, tells the rest.
        if (!read.ok() || !read.value().follows(index_tail_)) {
            return {};
        }
        TRY_ASSIGN(const bool applied, replay_blob(read.value()));
        if (!applied) {
            return {};
        }
        uint64_t ordinal = index_tail_.at.ordinal;
        for (const SegmentId id : read.value().segments) {
            // It may have been of the log when the checkpoint was made; but not of what follows that.
            if (const Segment& before = segments_.ensure(id);
                before.kind == SegmentKind::log && !before.has_index()) {
                return Error{EIO, text("segment %u is in use both in the log and in the index stream", id.value)};
            }
            Segment& segment = segments_.claim(id);
            segment.kind = SegmentKind::index;
            segment.ordinal = ordinal++;
        }
        index_tail_ = read.value().next;
    }
}

// Applies a blob if it is of the log segment that comes next.
Result<bool> Recovery::replay_blob(const IndexStream::Read& read) {
    Result<SegmentIndex> decoded = SegmentIndex::decode(core_.geometry, read.blob);
    if (!decoded.ok()) {
        return false;
    }
    const SegmentIndex& index = decoded.value();
    std::deque<SegmentIndex>& open = log_.open_indexes();
    const bool known = !open.empty();
    const uint64_t expected = known ? open.front().ordinal : position_.ordinal + 1;
    if (index.ordinal != expected || index.last < index.first ||
        (known ? index.first != open.front().first : index.first != position_.next)) {
        return false;
    }
    // What the checkpoint knows of that segment, the blob has too; and no more, if the segment was closed.
    if (known && (index.last < open.front().last ||
                  (open.size() > 1 && index.last != open.front().last))) {
        return false;
    }
    Segment& segment = segments_.ensure(index.segment);
    if (known) {
        open.pop_front();
    } else if (segment.kind == SegmentKind::log && !segment.past) {
        return false;  // still in use in the history before it
    } else {
        segment = Segment{};
        segments_.log().push_back(index.segment);
    }
    segment.kind = SegmentKind::log;
    segment.ordinal = index.ordinal;
    segment.first = index.first;
    segment.last = index.last;
    segment.times = times_of(index);
    segment.age_mark = index.clock;
    segment.index = index_tail_.at;
    segment.index_span = static_cast<uint16_t>(read.segments.size());
    TRY(replay_rows(index));
    if (open.empty()) {
        // What has a blob is closed: the log goes on in the next segment.
        position_ = LogPosition{index.segment, index.next,     core_.geometry.segment_size,
                                index.ordinal, index.last + 1, index.last_hash};
    }
    durable_ = std::max(durable_, index.last);
    return true;
}

Result<void> Recovery::replay_rows(const SegmentIndex& index) {
    size_t entry_at = 0, record_at = 0, redo_at = 0;
    for (const format::IndexRow& row : index.rows) {
        const auto redo = std::span(index.redo).subspan(redo_at, row.redo_count);
        redo_at += row.redo_count;
        const size_t entry_end = entry_at + row.entry_count;
        const auto records = std::span(index.records).subspan(record_at, row.record_bytes);
        record_at += row.record_bytes;
        if (row.sequence <= disk_.sequence.value) {  // in the checkpoint already
            entry_at = entry_end;
            continue;
        }
        for (; entry_at < entry_end; ++entry_at) {
            const format::Entry& entry = index.entries[entry_at];
            if (entry.has(format::kEntryVoid)) {
                continue;
            }
            const bool is_unit = entry.kind == static_cast<uint8_t>(ExtentKind::unit);
            replayed_.add(to_extent(core_.geometry, index.segment, entry,
                                    is_unit ? index.sums[entry.first_sum] : 0));
            ++outcome_.entries_replayed;
        }
        for (const format::PackedExtent& extent : redo) {
            replayed_.add(extent);
        }
        TRY(apply_records(Sequence(row.sequence), Time(row.time), records, nullptr));
    }
    return {};
}

void Recovery::lay_replayed() {
    replayed_.sort(core_.host);
    // Lets memory be made ready now and then.
    constexpr size_t kPiecesAtOnce = 32;
    size_t pieces = 0;
    replayed_.take_pieces([this, &pieces](std::span<const Extent> piece) {
        disk_.apply_piece(piece);
        if (++pieces % kPiecesAtOnce == 0) {
            core_.host.yield();
        }
    });
}

Result<void> Recovery::apply_records(Sequence sequence, Time time, std::span<const uint8_t> records,
                                     SegmentIndex* index) {
    const size_t rollbacks = history_.rollbacks.size();
    const Sequence before = disk_.sequence;
    disk_.sequence = sequence;
    disk_.time = time;
    if (records.empty()) {
        return {};
    }
    TRY(history_.apply(sequence, time, records));
    const bool rolled_back = history_.rollbacks.size() > rollbacks;
    if (rolled_back && history_.rollbacks.back().deep) {
        if (index != nullptr) {
            lay_replayed();
            TRY_ASSIGN(Overlay difference, timeline_.difference(before, history_.rollbacks.back().target));
            lay_deep(difference, disk_, *index);
        }
    } else if (rolled_back) {
        TRY_ASSIGN(Overlay difference, timeline_.difference(before, history_.rollbacks.back().target));
        difference.take_pieces([this](std::span<const Extent> piece) {
            for (const Extent& extent : piece) {
                replayed_.add(extent);
            }
        });
    }
    disk_.size = history_.size_at(sequence);
    segments_.retire(history_.floor);
    return {};
}

// Step 5: what is referred to but has no batch or blob in it yet.
Result<void> Recovery::mark_segments() {
    const uint32_t limit = core_.geometry.max_segments();
    if (position_.announced.value >= limit || index_tail_.at.segment >= limit) {
        return Error{EIO, text("log goes on in segment %u and index in segment %u, but the image has %u",
                               position_.announced.value, index_tail_.at.segment, limit)};
    }
    if (index_tail_.at.offset < kBlockSize || index_tail_.at.offset % kBlockSize != 0 ||
        index_tail_.at.offset > core_.geometry.segment_size - kBlockSize) {
        return Error{EIO, text("index goes on at offset %u of segment %u, which is out of range",
                               index_tail_.at.offset, index_tail_.at.segment)};
    }
    TRY_ASSIGN(Segment* const announced, claim(position_.announced));
    announced->announced = true;
    const SegmentId index_segment(index_tail_.at.segment);
    // With nothing in it yet, it may have been one of the index stream before, too.
    if (segments_.ensure(index_segment).kind != SegmentKind::index || index_tail_.at.offset == kBlockSize) {
        TRY_ASSIGN(Segment* const claimed, claim(index_segment));
        claimed->announced = true;
    }
    TRY(check_stream_places());
    for (const StreamInfo& stream : history_.streams) {
        TRY(mark_stream(stream));
    }
    for (const SegmentId id : outcome_.checkpoint_segments) {
        TRY_ASSIGN(Segment* const claimed, claim(id));
        claimed->kind = SegmentKind::checkpoint;
    }
    // An older slot of the superblock may name one that was free, and is something else by now.
    std::vector<SegmentId>& previous = outcome_.previous_segments;
    if (std::any_of(previous.begin(), previous.end(),
                    [&](SegmentId id) { return segments_.ensure(id).in_use(); })) {
        previous.clear();
    }
    for (const SegmentId id : previous) {
        segments_.claim(id).kind = SegmentKind::checkpoint;
    }
    return {};
}

// Else what the map says would mean one or the other.
Result<void> Recovery::check_stream_places() const {
    std::vector<const StreamInfo*> streams;
    for (const StreamInfo& stream : history_.streams) {
        streams.push_back(&stream);
    }
    std::sort(streams.begin(), streams.end(), [](const StreamInfo* a, const StreamInfo* b) {
        return std::pair(a->base, a->places_end()) < std::pair(b->base, b->places_end());
    });
    for (size_t i = 1; i < streams.size(); ++i) {
        if (streams[i - 1]->places_end() > streams[i]->base) {
            return Error{EIO, text("streams %llu and %llu have virtual places in common",
                                   static_cast<ull>(streams[i - 1]->id), static_cast<ull>(streams[i]->id))};
        }
    }
    return {};
}

Result<void> Recovery::mark_stream(const StreamInfo& stream) {
    segments_.add_stream_use(stream.base, stream.base + stream.sectors, stream.is_pack());
    if (stream.on_capacity()) {
        capacity_.hold(stream.segments);
        return {};
    }
    const uint32_t limit = core_.geometry.max_segments();
    for (const SegmentId id : stream.segments) {
        if (id.value >= limit) {
            return Error{EIO, text("a stream lies in segment %u, but the image has %u", id.value, limit)};
        }
        if (segments_.ensure(id).announced) {
            return Error{EIO, text("a stream lies in segment %u, which the log or the index stream goes on in", id.value)};
        }
        if (segments_.ensure(id).streams == 0) {  // it may be in a stream before this one, too
            TRY(claim(id));
        }
    }
    segments_.hold_stream(stream.segments);
    return {};
}

// A segment that was of the log when the checkpoint was made may be something else by now, if it is past.
Result<Segment*> Recovery::claim(SegmentId id) {
    const Segment& before = segments_.ensure(id);
    if (before.kind == SegmentKind::log && !before.past) {
        return Error{EIO, text("segment %u is in the log, and in use for something else, too", id.value)};
    }
    return &segments_.claim(id);
}

}  // namespace predsnap
