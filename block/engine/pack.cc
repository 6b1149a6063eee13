// SPDX-License-Identifier: GPL-2.0-or-later
//
// Packing: data of the current state that nobody has written for long is compressed. By the one background task.
//
//   1. A few segments of the log are chosen that are past, and whose newest batch is that old; what the disk still has there
//      has not been written since. And packs of which much has been written again.
//   2. What the disk has in them is written as a pack, a stream that is no state's, into segments of its own, and flushed.
//   3. One batch adds the pack to the history. Batches of entries without payload follow: each says that a range is in the
//      pack from now on, if it still is where it was read. What was overwritten meanwhile stays so.
//   4. The segments are free as after the cleaner: when nothing is in use there, and that is durable.
//
// A crash before 3 leaves segments that nothing refers to, which are free. Amid 3, each range is where the last batch says,
// and both places hold the same; a pack that nothing is in is dropped. No state changes, so views and the history do
// not see it: what was replaced in the window has places in the pack as it has them in the log.
#include <algorithm>
#include <set>

#include "engine_impl.h"
#include "stream.h"

namespace predsnap {

namespace {

// At once: what is written needs space beside it, and other work waits.
constexpr size_t kMostSegments = 8;
// Less is not worth a pack.
constexpr uint64_t kLeastSegments = 2;
constexpr uint64_t kLeastPartAtRest = 4;  // of a segment
// While it takes as long as data takes to get cold, the guest writes no more than that part of a segment: the disk rests, and
// what waited until there is more of it is done. Not of a disk that is written to that slowly all the time, and so has many rests.
constexpr uint64_t kPartAtRest = 8;
constexpr uint64_t kSegmentsBetweenRests = 4;
// How exactly the age of data is known: a part of what is asked for.
constexpr int64_t kMarks = 8;
// Data that gets smaller by less than that part of it stays where it is: to read it there takes less time.
constexpr uint64_t kWorthPacking = 8;
constexpr uint64_t kSampleFrames = 16;

}  // namespace

// The log has moved on, or was flushed.
void Engine::Impl::note_pack_mark() {
    if (options.pack_after_us < 0) {
        pack_marks.clear();
        resting = false;
        return;
    }
    resting = resting && core.stats.write_bytes - guest_bytes_at_rest < little_at_rest();
    const int64_t now = core.host.uptime_us();
    if (!pack_marks.empty() && now - pack_marks.back().uptime_us < options.pack_after_us / kMarks) {
        return;
    }
    pack_marks.push_back({now, disk.sequence, core.stats.write_bytes});
    pack_due = refer_due = true;
    while (pack_marks.size() > 1 && pack_marks[1].uptime_us <= now - options.pack_after_us) {
        pack_marks.pop_front();
    }
    note_rest();
}

uint64_t Engine::Impl::little_at_rest() const { return core.geometry.segment_size / kPartAtRest; }

void Engine::Impl::note_rest() {
    const uint64_t all = core.stats.write_bytes;
    const bool idle = cold_before() > Sequence(0) && all - pack_marks.front().guest_bytes < little_at_rest();
    if (idle && all - guest_bytes_at_rest >= kSegmentsBetweenRests * core.geometry.segment_size) {
        guest_bytes_at_rest = all;
        resting = compact_due = true;
    }
}

// What was written up to that state was so long ago. 0: nothing.
Sequence Engine::Impl::cold_before() const {
    const bool known = !pack_marks.empty() &&
                       pack_marks.front().uptime_us <= core.host.uptime_us() - options.pack_after_us;
    return known ? pack_marks.front().newest : Sequence(0);
}

// Those with the least in use first. Nothing if that is not worth it. Requires Core::mutex.
Engine::Impl::Packable Engine::Impl::choose_packable() {
    const Sequence cold = cold_before();
    std::vector<std::pair<uint64_t, SegmentId>> found;
    for (uint32_t id = 0; id < segments.size(); ++id) {
        const Segment& segment = std::as_const(segments)[SegmentId(id)];
        if (segment.kind == format::SegmentKind::log && segment.past && !segment.leaving && !segment.cleaned &&
            !segment.dense && segment.needed() > 0 && segment.last <= cold && segment.has_index() &&
            segment.failures < Cleaner::kMaxFailures) {
            found.emplace_back(segment.needed(), SegmentId(id));
        }
    }
    std::sort(found.begin(), found.end());
    found.resize(std::min(found.size(), kMostSegments));
    Packable chosen;
    uint64_t sectors = 0;
    for (const auto& [needed, id] : found) {
        sectors += needed;
        chosen.segments.push_back(id);
    }
    const std::set<uint64_t> referenced = referenced_packs();  // these stay whatever is moved out of them
    const uint64_t most = kMostSegments * core.geometry.segment_size / kSectorSize;
    for (const StreamInfo& stream : history.streams) {
        const SegmentTable::StreamUse* const use = stream.is_pack() ? segments.stream_use(stream.base) : nullptr;
        if (use != nullptr && use->live > 0 && is_worn(*use, stream) &&
            use->failures < Cleaner::kMaxFailures && sectors + use->live <= most && !referenced.contains(stream.id)) {
            sectors += use->live;
            chosen.packs.push_back(stream);
        }
    }
    const uint64_t segment_sectors = core.geometry.segment_size / kSectorSize;
    const bool worth = sectors >= (resting ? segment_sectors / kLeastPartAtRest : kLeastSegments * segment_sectors);
    return worth ? chosen : Packable();
}

// What the disk has of [start, start + count) at that place.
void Engine::Impl::collect_at(Sector start, uint64_t count, Place place, ExtentMap* found) {
    std::vector<Extent> extents;
    Lock lock(core.mutex);
    disk.map.lookup(start, start + count, SIZE_MAX, &extents);
    lock.unlock();
    for (const Extent& extent : extents) {
        if (extent.is_data() && extent.place == place + (extent.start - start)) {
            found->insert(extent);
        }
    }
}

Result<ExtentMap> Engine::Impl::collect_packable(const Packable& chosen) {
    ExtentMap found;
    for (const SegmentId id : chosen.segments) {
        TRY_ASSIGN(const SegmentIndex index, indexes.load(id));
        for (const format::Entry& entry : index.entries) {
            if (entry.is_data() && !entry.has(format::kEntryVoid) && !entry.has(format::kEntryPacked)) {
                collect_at(Sector(entry.start), entry.count, to_extent(core.geometry, id, entry, 0).place, &found);
            }
        }
        // Deltas, in whatever segment, that are based on what is in this one.
        std::vector<DeltaTable::Dependent> dependents;
        for (size_t position = 0; true;) {
            Lock lock(core.mutex);
            if (!segments.deltas().find_dependents(id, &position, &dependents)) {
                break;
            }
        }
        for (const DeltaTable::Dependent& dependent : dependents) {
            collect_at(dependent.block, kSectorsPerBlock, dependent.unit, &found);
        }
    }
    for (const StreamInfo& stream : chosen.packs) {
        TRY_ASSIGN(const auto index, streams.load(stream));
        for (const format::PackedExtent& packed : index->extents) {
            const Extent extent = format::unpack(packed);
            if (extent.is_data()) {
                collect_at(extent.start, extent.count, extent.place, &found);
            }
        }
    }
    return found;
}

// Whether data gets smaller by enough, by a sample.
Result<bool> Engine::Impl::gets_smaller(const ExtentMap& extents) {
    TRY_ASSIGN(const auto frames, sample(extents, extents.data_sectors() / format::kFrameSectors, kSampleFrames));
    uint64_t before = 0, after = 0;
    core.host.run_on_executor([&] {
        FramePacker packer;
        std::vector<uint8_t> packed;
        for (const std::vector<uint8_t>& frame : frames) {
            packer.pack(frame, options.compression_level, nullptr, &packed);
            before += frame.size();
            after += packed.empty() ? frame.size() : packed.size();
        }
    });
    return after <= before - before / kWorthPacking;
}

// The data of the extents is in the pack, in their order. Each range that is still where it was has its place there.
Result<void> Engine::Impl::move_into_pack(const ExtentMap& extents, Place base) {
    std::vector<Log::PackedMove> moves;
    std::vector<Extent> some;
    for (Sector at{0}; at < kSectorLimit;) {
        some.clear();
        moves.clear();
        at = extents.lookup(at, kSectorLimit, log.max_packed(), &some);
        for (const Extent& extent : some) {
            moves.push_back({extent.start, extent.count, extent.place, base});
            base += extent.count;
        }
        if (!moves.empty()) {
            TRY(log.append_packed(moves));
        }
    }
    return {};
}

// `why`: of what is put apart, what is likely to be written soon is left out.
Result<void> Engine::Impl::pack(Packable& chosen, Placement why) {
    {
        Lock lock(core.mutex);
        for (const SegmentId id : chosen.segments) {
            segments[id].cleaned = true;
        }
    }
    StreamContent content;
    TRY_ASSIGN(content.extents, collect_packable(chosen));
    if (why == Placement::apart) {
        content.extents = without_written_soon(content.extents);
    }
    if (content.extents.data_sectors() == 0) {
        return {};
    }
    TRY_ASSIGN(const bool worth, gets_smaller(content.extents));
    if (!worth) {
        Lock lock(core.mutex);
        for (const SegmentId id : chosen.segments) {
            segments[id].dense = true;
        }
        return {};
    }
    if ((superblock.incompatible & format::kIncompatiblePacked) == 0) {
        TRY(update_superblock([](format::Superblock& block) { block.incompatible |= format::kIncompatiblePacked; }));
    }
    SealedStreams sealed(*this);
    sealed.packs = true;
    begin_streams(&sealed);
    TRY(add_stream(content, StreamInfo(), &sealed));
    TRY(sealed.writer->finish());
    TRY(end_streams(&sealed));
    const Place base = sealed.streams.front().base;
    std::vector<uint8_t> records;
    put_stream(records, sealed.streams.front());
    {
        // Not while a rollback finds its way.
        TaskMutex::Guard guard(core.host, control);
        const bool added = log.append_records(records, ExtentKind::hole, Sector(0), 0).ok();
        adopt(sealed, added);
        if (!added) {
            return Error{EIO, "the record of a pack could not be written"};
        }
    }
    ++core.stats.packs;
    return move_into_pack(content.extents, base);
}

bool Engine::Impl::pack_step() {
    Packable chosen;
    {
        Lock lock(core.mutex);
        if (options.pack_after_us < 0 || pack_failed || !pack_due || history.floor == Sequence(0) ||
            !segments.counted() || !segments.deltas().complete() || cleaner.busy() || pressing || fast_full || on_demand()) {
            return false;
        }
        chosen = choose_packable();
        pack_due = !chosen.empty();
        if (!pack_due) {
            return false;
        }
    }
    const Result<void> done = pack(chosen, Placement::log);
    Lock lock(core.mutex);
    end_packing(chosen, done, Placement::log);
    return done.ok() || (done.error().code == ECANCELED && !paused);
}

// Requires Core::mutex.
void Engine::Impl::end_packing(const Packable& chosen, const Result<void>& done, Placement why) {
    const bool only_paused = !done.ok() && done.error().code == ECANCELED;
    for (const SegmentId id : chosen.segments) {
        Segment& segment = segments[id];
        segment.cleaned = false;
        segment.failures += why == Placement::log && !only_paused && !segment.dense && segment.needed() > 0;
    }
    for (const StreamInfo& stream : chosen.packs) {
        if (SegmentTable::StreamUse* const use = segments.stream_use(stream.base)) {
            use->failures += !only_paused && use->live > 0;
        }
    }
    pack_failed = !done.ok() && !only_paused;
    reclaim_due = clean_due = true;
}

}  // namespace predsnap
