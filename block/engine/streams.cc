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
constexpr int kLevel = 1;
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

// Writes the stream of the content of `lower` where it differs from `upper`.
Result<void> Engine::Impl::write_stream(StreamWriter& writer, StreamInfo* stream) {
    TRY_ASSIGN(Overlay difference, timeline.difference(stream->upper, stream->lower));
    ExtentMap extents;
    difference.take_pieces(
        [&](std::span<const Extent> piece) { extents.insert_all(piece, ExtentMap::Holes::keep); });
    std::vector<Extent> some;
    for (Sector at{0}; at < kSectorLimit;) {
        some.clear();
        at = extents.lookup(at, kSectorLimit, 1024, &some);
        for (const Extent& extent : some) {
            writer.put_extent(extent);
            if (extent.is_data()) {
                AlignedBuffer data(extent.count * kSectorSize);
                TRY(reader.read_extent(extent, data.data()));
                TRY(writer.put_data(data.data(), extent.count));
            }
        }
        if (paused) {
            return Error{ECANCELED, "background work is paused"};
        }
    }
    return writer.finish(stream);
}

Result<void> Engine::Impl::seal(const std::vector<Sequence>& states, SealedStreams* sealed) {
    uint64_t id;
    Place base;
    {
        Lock lock(core.mutex);
        id = history.next_stream_id;
        base = history.next_stream_base;
    }
    for (size_t i = 0; i + 1 < states.size(); ++i) {
        StreamInfo stream;
        stream.id = id++;
        stream.lower = states[i];
        stream.upper = states[i + 1];
        TRY_ASSIGN(stream.lower_time, time_of(stream.lower));
        sealed->writers.push_back(std::make_unique<StreamWriter>(core, segments, base, kLevel));
        TRY(write_stream(*sealed->writers.back(), &stream));
        if (stream.segments.size() > kMostStreamSegments || stream.sectors >= kPlaceLimit - base) {
            return Error{EFBIG, "what is to be kept is more than a stream, or all of them, can hold"};
        }
        base += stream.sectors;
        sealed->streams.push_back(std::move(stream));
    }
    return sealed->streams.empty() ? Result<void>() : core.file.flush();
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
    for (size_t i = 0; i < sealed.streams.size(); ++i) {
        const StreamInfo& stream = sealed.streams[i];
        sealed.writers[i]->keep();
        segments.add_stream(stream.segments, stream.base, stream.base + stream.sectors);
        core.stats.sealed_bytes += stream.sectors * kSectorSize;
        core.stats.stream_bytes += stream.segments.size() * core.geometry.segment_size;
        if (!appended) {
            segments.remove_stream(stream.base);
            for (const SegmentId id : stream.segments) {
                segments[id].leaving = true;
                leaving.push_back({id, disk.sequence + 1, core.readers.epoch()});
            }
        }
    }
}

// A stream that no kept state needs; which one does not matter, as long as nobody uses it.
const StreamInfo* Engine::Impl::needless_stream(bool in_use) const {
    const Sequence oldest = oldest_kept();
    for (const StreamInfo& stream : history.streams) {
        const Segment* first = stream.segments.empty() ? nullptr : &segments[stream.segments.front()];
        const bool used = first != nullptr && first->live > 0;
        const bool reachable = first != nullptr && first->last_death > oldest_reachable();
        if (stream.lower < oldest && stream.lower < disk.oldest_view_state() && used == in_use && !reachable) {
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
        segments.remove_stream(gone.base);
        for (const SegmentId id : gone.segments) {
            leave(id);
        }
        reclaim_due = true;
    } else {
        streams.keep_after_all(gone.id);
    }
    return dropped;
}

}  // namespace predsnap
