// SPDX-License-Identifier: GPL-2.0-or-later
//
// Placement apart: what the cleaner would copy to the log's end, amid what the guest writes, goes into packs instead
// (pack.cc: compressed, and crash-safe as these are). So data that lives long lies with its like, and is seldom copied again;
// the log is left to what dies soon. Two kinds of segments, one for what is written and one for what survived, is what "hot
// and cold" comes down to where survival tells the classes (SepBIT, FAST 2022, has six); which of two kinds a chunk
// belongs to is also what a prediction of writes says: what is likely to be written again soon is left for the cleaner, and
// goes to the log's end.
//
// By the one background task, when room is short.
#include <algorithm>
#include <set>

#include "engine_impl.h"

namespace predsnap {

namespace {

// What is packed at once, in segments: more, and what is written needs more room beside it; less, and packs share most
// of their segments with others, which keep these when a pack goes.
constexpr uint64_t kMostApart = 2;
// Less than that part of a segment is not worth a pack, and goes to the log.
constexpr uint64_t kLeastApart = 4;

// What is left in it goes to the log's end.
bool is_for_log(const Segment& segment) { return segment.sorted || segment.dense; }

}  // namespace

bool Engine::Impl::places_apart() const {
    return options.placement == Placement::apart && !pack_failed && !fast_full;
}

// Segments that putting data apart needs before others become free.
uint64_t Engine::Impl::placement_need() const {
    if (!places_apart()) {
        return 0;
    }
    const uint64_t packed = core.stats.packed_bytes;
    return packed == 0 ? kMostApart : std::min(kMostApart, kMostApart * core.stats.pack_bytes / packed + 1);
}

Engine::Impl::PackTotals Engine::Impl::pack_totals() const {
    PackTotals result;
    std::set<SegmentId> in_use, empty, others;
    const std::set<uint64_t> referenced = referenced_packs();
    for (const StreamInfo& stream : history.streams) {
        if (stream.on_capacity()) {
            continue;
        }
        const SegmentTable::StreamUse* const use = stream.is_pack() ? segments.stream_use(stream.base) : nullptr;
        const uint64_t live = use != nullptr ? use->live : 0;
        const bool kept = referenced.contains(stream.id);  // so what is dead in it is history's
        result.live += live;
        result.sectors += live == 0 ? 0 : kept ? live : stream.sectors;
        (!stream.is_pack() ? others : live > 0 || kept ? in_use : empty).insert(stream.segments.begin(), stream.segments.end());
    }
    const auto count = [&](const std::set<SegmentId>& ids, const std::set<SegmentId>& without) {
        return static_cast<uint64_t>(std::count_if(ids.begin(), ids.end(), [&](SegmentId id) {
            return !without.contains(id) && !others.contains(id);
        }));
    };
    result.segments = count(in_use, {});
    result.leaving = count(empty, in_use);
    return result;
}

// Segments and packs that are worth it most; nothing if that is too little for a pack, or what is worth it more is to go to
// the log. Requires Core::mutex.
Engine::Impl::Packable Engine::Impl::choose_apart(const Space& now) {
    struct Candidate {
        double worth;
        uint64_t sectors;
        SegmentId segment;
        const StreamInfo* pack;
    };
    std::vector<Candidate> found;
    const Sequence oldest = oldest_reachable();
    const double most_in_history = this->most_in_history(now);
    for (uint32_t id = 0; id < segments.size(); ++id) {
        const Segment& segment = std::as_const(segments)[SegmentId(id)];
        if (!segment.cleaned && segment.has_index()) {
            found.push_back({cleaner.worth(segment, oldest, most_in_history), segment.needed(), SegmentId(id), nullptr});
        }
    }
    const std::set<uint64_t> referenced = referenced_packs();
    for (const StreamInfo& stream : history.streams) {
        const bool may_go = stream.is_pack() && !referenced.contains(stream.id);
        const SegmentTable::StreamUse* const use = may_go ? segments.stream_use(stream.base) : nullptr;
        if (use != nullptr && use->failures < Cleaner::kMaxFailures) {
            found.push_back({cleaner.worth(stream.sectors, use->live, use->ordinal), use->live, kNoSegment, &stream});
        }
    }
    std::erase_if(found, [](const Candidate& candidate) { return candidate.worth <= 0; });
    std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) { return a.worth > b.worth; });
    const uint64_t segment_sectors = core.geometry.segment_size / kSectorSize;
    Packable chosen;
    uint64_t sectors = 0;
    for (const Candidate& candidate : found) {
        if (candidate.pack == nullptr && is_for_log(std::as_const(segments)[candidate.segment])) {
            break;
        }
        if (sectors + candidate.sectors > kMostApart * segment_sectors) {
            break;
        }
        sectors += candidate.sectors;
        candidate.pack != nullptr ? chosen.packs.push_back(*candidate.pack) : chosen.segments.push_back(candidate.segment);
    }
    return sectors >= segment_sectors / kLeastApart ? chosen : Packable();
}

// The extents but for chunks that are likely to be written soon.
ExtentMap Engine::Impl::without_written_soon(const ExtentMap& extents) {
    ExtentMap result;
    std::vector<Extent> some;
    for (Sector at{0}; at < kSectorLimit;) {
        some.clear();
        at = extents.lookup(at, kSectorLimit, 256, &some);
        Lock lock(core.mutex);
        for (const Extent& extent : some) {
            for (Sector from = extent.start; from < extent.end();) {
                const Sector chunk_end(align_down(from.value, kChunkSectors) + kChunkSectors);
                const Sector to = std::min(extent.end(), chunk_end);
                if (extent.in_stream() || !forecast.written_soon(from)) {  // packs are only packed again
                    result.insert(extent.slice(from, to));
                }
                from = to;
            }
        }
    }
    return result;
}

// How many bytes of log that gains, beyond what it took. If it fails, the cleaner takes over.
uint64_t Engine::Impl::place_apart(Packable& chosen) {
    const uint64_t before = core.stats.pack_bytes;
    placing = true;
    const Result<void> done = pack(chosen, Placement::apart);
    placing = false;
    Lock lock(core.mutex);
    end_packing(chosen, done, Placement::apart);
    uint64_t gained = 0;
    for (const SegmentId id : chosen.segments) {
        Segment& segment = segments[id];
        segment.sorted = done.ok() || done.error().code != ECANCELED;  // what is left, or cannot be read, is the cleaner's
        gained += segment.needed() == 0 ? core.geometry.segment_size : 0;
        core.stats.cleaned_segments += segment.needed() == 0;
    }
    return gained - std::min(gained, core.stats.pack_bytes - before);
}

}  // namespace predsnap
