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

#include "engine_impl.h"
#include "stream.h"

namespace predsnap {

namespace {

// Streams are not made of less log than that: every one has a last segment that is not full.
constexpr size_t kLeastSegments = 4;
// Read at once, to be put into a stream; and reads of that which run at once.
constexpr uint64_t kReadSectors = (1 << 20) / kSectorSize;
constexpr size_t kReadsAtOnce = 8;
// The record of a stream names them all, in less than 64 KiB.
constexpr size_t kMostStreamSegments = 16'000;

}  // namespace

// The oldest state that is kept for itself.
Sequence Engine::Impl::oldest_kept() const {
    Sequence oldest{UINT64_MAX};
    for (const SnapshotInfo& snapshot : history.snapshots) {
        oldest = std::min(oldest, snapshot.sequence);
    }
    return oldest;
}

// States between which streams are needed for `top` to become the floor, ascending; none if no older state is kept.
std::vector<Sequence> Engine::Impl::boundaries(Sequence top) const {
    const Sequence oldest = oldest_kept();
    if (oldest >= top) {
        return {};
    }
#if PREDSNAP_CANARY == 8  // a known bug: what lies between the older streams and the newest kept state is left out
    std::vector<Sequence> states{std::max(oldest, history.floor + 1), top};
#else
    std::vector<Sequence> states{std::max(oldest, history.floor), top};
#endif
    for (const SnapshotInfo& snapshot : history.snapshots) {
        if (snapshot.sequence > states.front() && snapshot.sequence < top) {
            states.push_back(snapshot.sequence);
        }
    }
    std::sort(states.begin(), states.end());
    states.erase(std::unique(states.begin(), states.end()), states.end());
    return states;
}

// Whether so little would become past that streams are not worth it yet.
bool Engine::Impl::too_little_to_seal(SegmentId last) const {
    const std::vector<SegmentId>& list = segments.log();
    const auto at = std::find(list.begin(), list.end(), last);
    return static_cast<size_t>(at - list.begin()) + 1 < kLeastSegments && !boundaries(segments[last].last).empty();
}

// Writes one stream of these extents, whose data is read from where they say.
Result<void> Engine::Impl::write_stream(StreamWriter& writer, const ExtentMap& extents, StreamInfo* stream) {
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
        if (paused) {
            return Error{ECANCELED, "background work is paused"};
        }
    }
    return writer.end_stream(stream);
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

// The content of `lower` where it differs from `upper`.
Result<ExtentMap> Engine::Impl::difference(Sequence upper, Sequence lower) {
    TRY_ASSIGN(Overlay overlay, timeline.difference(upper, lower));
    ExtentMap extents;
    overlay.take_pieces([&](std::span<const Extent> piece) { extents.insert_all(piece, ExtentMap::Holes::keep); });
    return extents;
}

Result<void> Engine::Impl::begin_streams(SealedStreams* sealed) {
    Lock lock(core.mutex);
    sealed->next_id = history.next_stream_id;
    sealed->writer = std::make_unique<StreamWriter>(core, segments, history.next_stream_base,
                                                    options.compression_level, stream_tail);
    return {};
}

Result<void> Engine::Impl::add_stream(const ExtentMap& extents, StreamInfo stream, SealedStreams* sealed) {
    stream.id = sealed->next_id++;
    TRY(write_stream(*sealed->writer, extents, &stream));
    if (stream.segments.size() > kMostStreamSegments || stream.base + stream.sectors >= kPlaceLimit) {
        return Error{EFBIG, "what is to be kept is more than a stream, or all of them, can hold"};
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
    return core.file.flush();
}

Result<void> Engine::Impl::seal(const std::vector<Sequence>& states, SealedStreams* sealed) {
    TRY(begin_streams(sealed));
    for (size_t i = 0; i + 1 < states.size(); ++i) {
        StreamInfo stream;
        stream.lower = states[i];
        stream.upper = states[i + 1];
        TRY_ASSIGN(stream.lower_time, time_of(stream.lower));
        TRY_ASSIGN(const ExtentMap extents, difference(stream.upper, stream.lower));
        TRY(add_stream(extents, std::move(stream), sealed));
    }
    return end_streams(sealed);
}

Result<Time> Engine::Impl::time_of(Sequence state) {
    {
        Lock lock(core.mutex);
        if (state == history.floor && state > Sequence(0)) {
            return history.floor_time;
        }
    }
    TRY_ASSIGN(const Engine::Resolved resolved, with_time({state, Time(), 0}));
    return resolved.time;
}

// After the attempt to append their records.
void Engine::Impl::adopt(SealedStreams& sealed, bool appended) {
    Lock lock(core.mutex);
    sealed.writer->keep();
    stream_tail = appended ? sealed.writer->tail() : StreamTail{};
    for (const StreamInfo& stream : sealed.streams) {
        segments.add_stream(stream.segments, stream.base, stream.base + stream.sectors);
        core.stats.sealed_bytes += stream.sectors * kSectorSize;
        core.stats.stream_bytes += stream.segments.size() * core.geometry.segment_size;
    }
    if (!appended) {
        // They may be on the disk all the same, until a later batch is durable.
        for (const StreamInfo& stream : sealed.streams) {
            remove_stream(stream, disk.sequence + 1);
        }
    }
}

// The stream is not in the history any more. `since`: the first state that does not need it.
void Engine::Impl::remove_stream(const StreamInfo& stream, Sequence since) {
    std::vector<SegmentId> unused;
    segments.remove_stream(stream.segments, stream.base, &unused);
    for (const SegmentId id : unused) {
        leave(id, since);
        if (id == stream_tail.segment) {
            stream_tail = {};
        }
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
    const Sequence oldest = oldest_kept();
    for (const StreamInfo& stream : history.streams) {
        if (stream.lower < oldest && stream_use(stream) == (in_use ? StreamUse::by_disk : StreamUse::none)) {
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
    TaskMutex::Guard guard(core.host, control);
    StreamInfo gone;
    {
        Lock lock(core.mutex);
        const StreamInfo* found = segments.counted() ? needless_stream(false) : nullptr;
        if (found == nullptr) {
            return false;
        }
        gone = *found;
    }
    std::vector<uint8_t> records;
    const format::StreamDropRecord record{gone.id};
    put_record(records, format::RecordType::stream_drop, &record, sizeof(record));
    {
        Lock lock(core.mutex);
        streams.retire(gone);  // before it leaves the history; if it does not, that does no harm
    }
    const bool dropped = log.append_records(records, ExtentKind::hole, Sector(0), 0).ok();
    Lock lock(core.mutex);
    floor_failed = !dropped;
    if (dropped) {
        remove_stream(gone, disk.sequence);
        reclaim_due = true;
    } else {
        streams.keep_after_all(gone.id);
    }
    return dropped;
}

}  // namespace predsnap
