// SPDX-License-Identifier: GPL-2.0-or-later
//
// Sealing: before history is dropped, what is still needed of it goes into streams; and streams that nothing needs any
// more are dropped. All of it by the one background task.
//
//   1. The differences between the states that are kept, and the new floor, are computed from indexes, written into
//      segments of their own, and flushed.
//   2. One batch has the records of the streams and of the floor. If it cannot be written, it may still be on the disk,
//      so their segments are not used again before a later batch is durable.
#include <algorithm>
#include <map>

#include "engine_impl.h"
#include "stream.h"

namespace predsnap {

namespace {

// Streams are not made of less log than that: every one has a last segment that is not full.
constexpr size_t kLeastSegments = 4;
// Read at once, to be put into a stream; and reads of that which run at once.
constexpr uint64_t kReadSectors = (2 << 20) / kSectorSize;
static_assert(kReadSectors >= kMaxDataSectors, "one extent fits at least");
constexpr size_t kReadsAtOnce = 8;
// What the records of a stream take at most, on average: it names few segments, which it shares with others, and some packs.
constexpr size_t kRecordBytes = 128 + sizeof(format::RecordHeader) + sizeof(format::StreamReferencesRecord) +
                                format::kMaxReferencedPacks * sizeof(uint64_t);
// The empty disk is a point that nobody recorded.
constexpr uint32_t kFirstState = static_cast<uint32_t>(format::PointKind::interval);
// The record of a stream names them all, in less than 64 KiB.
constexpr size_t kMostStreamSegments = 16'000;

}  // namespace

// States before the floor that there are streams of, oldest first.
std::vector<OldState> Engine::Impl::old_states() const {
    std::vector<OldState> states;
    for (size_t i = history.chain_length(); i-- > 0;) {
        const StreamInfo& stream = history.streams[i];
        states.push_back({stream.lower, stream.lower_time, stream.lower_clock, stream.lower_point, false});
    }
    mark_snapshots(states);
    return states;
}

void Engine::Impl::mark_snapshots(std::vector<OldState>& states) const {
    for (const SnapshotInfo& snapshot : history.snapshots) {
        const auto found = std::lower_bound(states.begin(), states.end(), snapshot.sequence,
                                            [](const OldState& s, Sequence at) { return s.sequence < at; });
        if (found != states.end() && found->sequence == snapshot.sequence) {
            found->snapshot = true;
        }
    }
}

// Which states before the floor are kept, oldest first.
Engine::Impl::KeptStates Engine::Impl::kept_states() const {
    const std::vector<OldState> states = old_states();
    const std::vector<bool> kept = thin(retention().rules, states, retention_clock);
    KeptStates result;
    for (size_t i = 0; i < states.size(); ++i) {
        if (kept[i]) {
            result.push_back(states[i].sequence);
        }
    }
    return result;
}

// Whether anything is kept of what was before that state.
bool Engine::Impl::keeps_before(Sequence top) const {
    return !retention().rules.empty() ||
           std::any_of(history.snapshots.begin(), history.snapshots.end(),
                       [&](const SnapshotInfo& snapshot) { return snapshot.sequence < top; });
}

// The states from the floor to the end of that segment that may be kept: the floor, points and snapshots.
Result<std::vector<OldState>> Engine::Impl::states_to_seal(SegmentId last) {
    std::map<Sequence, OldState> found;
    Sequence floor, top;
    const auto clock_at = [&](Sequence state) {
        const size_t at = segments.log_position(state);
        return at < segments.log().size() ? segments[segments.log()[at]].age_mark : retention_clock.reading();
    };
    bool points;
    Sequence recorded;  // a point is recorded in a batch after it
    std::vector<format::PointRecord> pending;
    {
        Lock lock(core.mutex);
        floor = history.floor;
        top = recorded = segments[last].last;
        if (const size_t next = segments.log_position(top) + 1; next < segments.log().size()) {
            recorded = segments[segments.log()[next]].first;
        }
        points = !retention().rules.empty();
        if (points) {
            pending = log.pending_points();
        }
        const Time floor_time = floor > Sequence(0) ? history.floor_time : Time(superblock.create_time);
        found[floor] = {floor, floor_time, history.floor_clock, floor == Sequence(0) ? kFirstState : 0, false};
        for (const SnapshotInfo& snapshot : history.snapshots) {
            if (snapshot.sequence > floor && snapshot.sequence < top) {
                found[snapshot.sequence] = {snapshot.sequence, snapshot.time, clock_at(snapshot.sequence), 0, false};
            }
        }
    }
    const auto add = [&](const format::PointRecord& point) {
        const Sequence state(point.sequence);
        if (state >= floor && state < top) {
            Lock lock(core.mutex);
            found.try_emplace(state, OldState{state, Time(point.time), clock_at(state), 0, false})
                .first->second.point = point.kind;
        }
    };
    if (points) {
        TRY(timeline.for_each_segment(floor + 1, recorded, false, [&](const SegmentIndex& index) -> Result<void> {
            for_each_point(index.records, add);
            return {};
        }));
    }
    std::for_each(pending.begin(), pending.end(), add);
    std::vector<OldState> states;
    for (const auto& [sequence, state] : found) {
        states.push_back(state);
    }
    return states;
}

// States between which streams are needed for the end of that segment to become the floor, ascending, that last; none
// if no older state is kept.
Result<std::vector<OldState>> Engine::Impl::boundaries(SegmentId last) {
    TRY_ASSIGN(const std::vector<OldState> sealable, states_to_seal(last));
    Lock lock(core.mutex);
    std::vector<OldState> states = old_states();
    const size_t older = states.size();
    states.insert(states.end(), sealable.begin(), sealable.end());
    mark_snapshots(states);
    const std::vector<bool> kept = thin(retention().rules, states, retention_clock);
    std::vector<OldState> result;
#if PREDSNAP_CANARY == 8  // a known bug: what lies between the older streams and the newest kept state is left out
    const bool chain = false;
#else
    const auto first_sealable = kept.begin() + static_cast<ptrdiff_t>(older);
    const bool chain = std::find(kept.begin(), first_sealable, true) != first_sealable;
#endif
    for (size_t i = older; i < states.size(); ++i) {
        if (kept[i] || (i == older && chain)) {
            result.push_back(states[i]);
        }
    }
    if (!result.empty()) {
        result.push_back({segments[last].last, segments[last].times.last, 0, 0, false});
    }
    return result;
}

// Whether so little would become past that streams are not worth it yet.
bool Engine::Impl::too_little_to_seal(SegmentId last) const {
    return !on_demand() && !fast_full && !resting && segments.log_count(last) < kLeastSegments && keeps_before(segments[last].last);
}

// Writes one stream of these extents, whose data is read from where they say.
Result<void> Engine::Impl::write_stream(StreamWriter& writer, const StreamContent& content, StreamInfo* stream) {
    const ExtentMap& extents = content.extents;
    TRY_ASSIGN(std::shared_ptr<const Dictionary> dictionary, dictionary_for(extents));
    References references;
    if (!stream->is_pack() && !stream->on_capacity()) {
        TRY_ASSIGN(references, references_for(extents));
    }
    TRY(writer.begin_stream(stream->base, std::move(dictionary), std::move(references)));
    AlignedBuffer data(kReadSectors * kSectorSize);
    std::vector<Extent> some;
    for (Sector at{0}; at < kSectorLimit;) {
        some.clear();
        at = extents.lookup(at, kSectorLimit, kReadSectors / kSectorsPerBlock, &some);
        for (size_t i = 0; i < some.size();) {
            TRY_ASSIGN(const size_t count, read_some(std::span<const Extent>(some).subspan(i), data.data()));
            const uint8_t* bytes = data.data();
            for (const size_t end = i + count; i < end; ++i) {
                writer.put_extent(some[i]);
                if (some[i].is_data()) {
                    TRY(writer.put_data(bytes, some[i].count));
                    bytes += some[i].count * kSectorSize;
                }
            }
        }
        if (paused || (stream->is_pack() && pressing && !placing)) {  // guest writes wait for the cleaner
            return Error{ECANCELED, "background work is paused"};
        }
    }
    return writer.end_stream(stream, content.upper_time, content.after);
}

// Reads the data of as many of the extents as fit, one after the other. Returns how many.
Result<size_t> Engine::Impl::read_some(std::span<const Extent> extents, uint8_t* to) {
    TaskGroup group(core.host, kReadsAtOnce);
    uint64_t sectors = 0;
    size_t count = 0;
    for (const Extent& extent : extents) {
        const uint64_t need = extent.is_data() ? extent.count : 0;
        if (sectors + need > kReadSectors) {
            break;
        }
        if (need > 0) {
            group.run([this, &extent, at = to + sectors * kSectorSize] { return reader.read_extent(extent, at); });
        }
        sectors += need;
        ++count;
    }
    TRY(group.wait());
    return count;
}

// What a stream is to hold, in one pass over the indexes.
Result<void> Engine::Impl::find_content(Sequence upper, Sequence lower, StreamContent* content) {
    IntervalChange change;
    TRY_ASSIGN(Overlay overlay, timeline.difference(upper, lower, &change));
    content->extents = lay_out(overlay);
    content->after = change.data_after();
    return {};
}

// What lies on top, holes included.
ExtentMap Engine::Impl::lay_out(Overlay& overlay) {
    ExtentMap extents;
    overlay.sort(core.host);
    overlay.take_pieces([&](std::span<const Extent> piece) { extents.insert_all(piece, ExtentMap::Holes::keep); });
    return extents;
}

// What the writer goes on in must not be given away meanwhile, even if all streams in it are dropped, or moved.
void Engine::Impl::begin_streams(SealedStreams* sealed) {
    Lock lock(core.mutex);
    const StreamTail tail = tail_of(*sealed);
    StreamTier& tier = sealed->tier == format::Tier::fast ? static_cast<StreamTier&>(fast_tier) : capacity;
    sealed->writer = std::make_unique<StreamWriter>(core, tier, options.compression_level, tail);
    if (!sealed->writer->segments().empty()) {
        sealed->held = sealed->writer->segments();
        hold_segments(sealed->tier, sealed->held);
    }
}

Engine::Impl::SealedStreams::~SealedStreams() {
    if (!adopted && !held.empty()) {
        Lock lock(e.core.mutex);
        e.let_go_segments(tier, held, e.disk.sequence, e.disk.next_view());
    }
}

void Engine::Impl::hold_segments(format::Tier tier, const std::vector<SegmentId>& ids) {
    tier == format::Tier::fast ? segments.hold_stream(ids) : capacity.hold(ids);
}

// What nothing is in any more is free when state `since` is durable, and views before `view` are closed.
void Engine::Impl::let_go_segments(format::Tier tier, const std::vector<SegmentId>& ids, Sequence since, uint64_t view) {
    std::vector<SegmentId> unused;
    tier == format::Tier::fast ? segments.let_go_stream(ids, &unused) : capacity.let_go(ids, &unused);
    for (const SegmentId id : unused) {
        if (tier == format::Tier::fast) {
            segments[id].leaving = true;
        }
        // A stream that shared it may have been dropped before, and views may need that yet.
        const uint64_t gate = streams.retired_in(tier, id) ? disk.next_view() : view;
        (tier == format::Tier::fast ? leaving : leaving_capacity)
            .push_back({id, since, core.readers.epoch(), gate});
        for (StreamTail* tail : {&stream_tail, &pack_tail}) {
            *tail = tier == format::Tier::fast && id == tail->segment ? StreamTail() : *tail;
        }
        capacity_tail = tier == format::Tier::capacity && id == capacity_tail.segment ? StreamTail() : capacity_tail;
    }
}

// Its number and places, which no other has, whoever writes one at the same time.
void Engine::Impl::number_stream(StreamInfo* stream, uint64_t sectors) {
    Lock lock(core.mutex);
    stream->id = history.next_stream_id++;
    stream->base = history.next_stream_base;
    stream->sectors = sectors;
    history.next_stream_base = stream->places_end();
}

Result<void> Engine::Impl::add_stream(const StreamContent& content, StreamInfo stream, SealedStreams* sealed) {
    const uint64_t sectors = content.extents.data_sectors();
    {
        Lock lock(core.mutex);
        if (history.next_stream_base + sectors >= kPlaceLimit) {
            return Error{EFBIG, "what is to be kept is more than all streams can hold"};
        }
    }
    stream.tier = sealed->tier;
    number_stream(&stream, sectors);
    TRY(write_stream(*sealed->writer, content, &stream));
    if (stream.segments.size() > kMostStreamSegments) {
        return Error{EFBIG, "what is to be kept is more than a stream can hold"};
    }
    sealed->streams.push_back(std::move(stream));
    return {};
}

// All of them are written, durably.
Result<void> Engine::Impl::end_streams(SealedStreams* sealed) {
    if (sealed->streams.empty()) {
        return {};
    }
    TRY(sealed->writer->finish());
    TRY(allow_references(sealed->streams));
#if PREDSNAP_CANARY == 10  // a known bug: what has been moved is not durable
    return sealed->tier == format::Tier::fast ? core.file.flush() : Result<void>();
#else
    return sealed->tier == format::Tier::fast ? core.file.flush() : capacity.device().flush();
#endif
}

// An older driver, which knows of none, must not open the image.
Result<void> Engine::Impl::allow_references(const std::vector<StreamInfo>& written) {
    const bool any = std::any_of(written.begin(), written.end(),
                                 [](const StreamInfo& stream) { return !stream.references.empty(); });
    if (!any || (superblock.incompatible & format::kIncompatibleReferences) != 0) {
        return {};
    }
    return update_superblock([](format::Superblock& block) { block.incompatible |= format::kIncompatibleReferences; });
}

// The most segments of the log whose streams have records that fit into one batch: of one they do. `last`: the last of
// those that may be sealed; then of those that will be.
Result<std::vector<OldState>> Engine::Impl::sealable(SegmentId* last) {
    for (;;) {
        TRY_ASSIGN(std::vector<OldState> states, boundaries(*last));
        if (states.size() * kRecordBytes <= log.max_record_bytes()) {
            return states;
        }
        Lock lock(core.mutex);
        bool forced;
        const SegmentId fewer = choose_floor(&forced, segments.log_count(*last) / 2);
        if (fewer == kNoSegment) {
            return states;
        }
        *last = fewer;
    }
}

// Writes the streams between those states.
Result<void> Engine::Impl::seal(const std::vector<OldState>& states, SealedStreams* sealed) {
    begin_streams(sealed);
    for (size_t i = 0; i + 1 < states.size(); ++i) {
        StreamInfo stream;
        stream.lower = states[i].sequence;
        stream.lower_time = states[i].time;
        stream.lower_clock = states[i].clock;
        stream.lower_point = states[i].point;
        stream.upper = states[i + 1].sequence;
        StreamContent content;
        content.upper_time = states[i + 1].time;
        TRY(find_content(stream.upper, stream.lower, &content));
        TRY(add_stream(content, std::move(stream), sealed));
    }
    return end_streams(sealed);
}

// After the attempt to append their records.
void Engine::Impl::adopt(SealedStreams& sealed, bool appended) {
    Lock lock(core.mutex);
    sealed.writer->keep();
    sealed.adopted = true;
    (sealed.packs ? core.stats.pack_bytes : core.stats.stream_bytes) += sealed.writer->bytes_written();
    tail_of(sealed) = appended ? sealed.writer->tail() : StreamTail{};
    for (const StreamInfo& stream : sealed.streams) {
        hold_segments(sealed.tier, stream.segments);
        segments.add_stream_use(stream.base, stream.base + stream.sectors, stream.is_pack(),
                                log.position().ordinal);
        (stream.is_pack() ? core.stats.packed_bytes : core.stats.sealed_bytes) += stream.sectors * kSectorSize;
    }
    if (!sealed.held.empty()) {
        let_go_segments(sealed.tier, sealed.held, disk.sequence + 1, disk.next_view());
    }
    if (!appended) {
        // They may be on the disk all the same, until a later batch is durable.
        for (const StreamInfo& stream : sealed.streams) {
            remove_stream(stream, disk.sequence + 1);
        }
    } else {
        start_tiers_work();
    }
}

// The stream is not in the history any more. `since`: the first state that does not need it.
void Engine::Impl::remove_stream(const StreamInfo& stream, Sequence since) {
    segments.remove_stream_use(stream.base);
    compact_due = true;
    let_go_segments(stream.tier, stream.segments, since, disk.next_view());
}

// Before and after the attempt to append the record that it is dropped. Both require Core::mutex.
void Engine::Impl::begin_drop(const StreamInfo& stream, std::vector<uint8_t>* records) {
    put_stream_drop(*records, stream.id);
    streams.retire(stream);  // before it leaves the history; if it does not, that does no harm
}

void Engine::Impl::end_drop(const StreamInfo& stream, bool appended) {
    if (appended) {
        remove_stream(stream, disk.sequence);
    } else {
        streams.keep_after_all(stream.id);
    }
}

// Who refers to places of the stream, beside its state.
Engine::Impl::StreamUse Engine::Impl::stream_use(const StreamInfo& stream) const {
    const SegmentTable::StreamUse* const use = segments.stream_use(stream.base);
    if (use == nullptr) {
        return StreamUse::by_history;  // a hostile image has two with the same places
    }
    if (use->last_death > oldest_reachable()) {
        return StreamUse::by_history;
    }
    return use->live > 0 ? StreamUse::by_disk : StreamUse::none;
}

// A stream that no kept state needs; which one does not matter, as long as nobody uses it.
const StreamInfo* Engine::Impl::needless_stream(bool in_use) const {
    const KeptStates kept = kept_states();
    const Sequence oldest = kept.empty() ? Sequence(UINT64_MAX) : kept.front();
    const std::set<uint64_t> referenced = referenced_packs();
    for (const StreamInfo& stream : history.streams) {
        const SegmentTable::StreamUse* const use = segments.stream_use(stream.base);
        if (stream.is_pack()) {  // which is emptied by packing what is left of it again
#if PREDSNAP_CANARY == 11  // a known bug: what the history has in packs is forgotten
            if (!in_use && (use == nullptr || use->live == 0)) {
                return &stream;
            }
#endif
            if (!in_use && !referenced.contains(stream.id) && stream_use(stream) == StreamUse::none) {
                return &stream;
            }
            continue;
        }
        const bool tried = in_use && use != nullptr && use->failures >= Cleaner::kMaxFailures;
        if (stream.lower < oldest && !tried &&
            stream_use(stream) == (in_use ? StreamUse::by_disk : StreamUse::none)) {
            return &stream;
        }
    }
    return nullptr;
}

bool Engine::Impl::drop_stream_step() {
    {
        Lock lock(core.mutex);
        if (floor_failed || history.streams.empty() || !segments.counted() || needless_stream(false) == nullptr) {
            return false;
        }
    }
    if (const std::optional<bool> made = checkpoints_before_drop()) {
        return *made;
    }
    TaskMutex::Guard guard(core.host, control);
    StreamInfo gone;
    std::vector<uint8_t> records;
    {
        Lock lock(core.mutex);
        const StreamInfo* found = segments.counted() ? needless_stream(false) : nullptr;
        if (found == nullptr || !checkpoints_allow_release()) {
            return found != nullptr;  // a rollback came first: look again
        }
        gone = *found;
        begin_drop(gone, &records);
    }
    const bool dropped = log.append_records(records, ExtentKind::hole, Sector(0), 0).ok();
    Lock lock(core.mutex);
    floor_failed = !dropped;
    end_drop(gone, dropped);
    reclaim_due = reclaim_due || dropped;
    return dropped;
}

}  // namespace predsnap
