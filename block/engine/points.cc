// SPDX-License-Identifier: GPL-2.0-or-later
//
// Points: which states the user is offered, and what changed between them.
#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_set>

#include "engine_impl.h"
#include "text.h"

namespace predsnap {

namespace {

constexpr uint64_t kChunkSectors = (64 << 10) / kSectorSize;

// What the batches since the point before have changed.
class Change {
  public:
    uint64_t sectors = 0;

    void add(const format::Entry& entry) {
        if (entry.start >= kVmStateBase.value || entry.has(format::kEntryMoved)) {
            return;
        }
        sectors += entry.count;
        touched_.push_back({entry.start / kChunkSectors, (entry.start + entry.count - 1) / kChunkSectors});
        if (touched_.size() >= compact_at_) {
            merge();
            compact_at_ = 2 * touched_.size() + kMinCompact;
        }
    }
    // Chunks touched, each counted once.
    uint64_t chunks() {
        merge();
        uint64_t count = 0;
        for (const Range& range : touched_) {
            count += range.last - range.first + 1;
        }
        return count;
    }

  private:
    static constexpr size_t kMinCompact = 1 << 16;
    struct Range {
        uint64_t first, last;
    };
    // Sorts the ranges and joins those that overlap or touch.
    void merge() {
        std::sort(touched_.begin(), touched_.end(),
                  [](const Range& a, const Range& b) { return a.first < b.first; });
        size_t kept = 0;
        for (const Range& range : touched_) {
            if (kept > 0 && range.first <= touched_[kept - 1].last + 1) {
                touched_[kept - 1].last = std::max(touched_[kept - 1].last, range.last);
            } else {
                touched_[kept++] = range;
            }
        }
        touched_.resize(kept);
    }

    std::vector<Range> touched_;
    size_t compact_at_ = kMinCompact;
};

// Marks of points, by sequence.
struct Mark {
    Time time;
    bool flush = false;
    std::string snapshot;
};
using Marks = std::map<uint64_t, Mark>;

// Keeps the name of a snapshot of the same state.
void add_point(const format::PointRecord& point, Marks& marks) {
    Mark& mark = marks[uint64_t{point.sequence}];
    mark.time = Time(point.time);
    mark.flush = point.kind == static_cast<uint32_t>(format::PointKind::flush);
}

void add_marks(const SegmentIndex& index, Marks& marks) {
    for_each_point(index.records, [&](const format::PointRecord& point) { add_point(point, marks); });
}

}  // namespace

// Marks that are not in any index: those not yet recorded, snapshots, and the newest state. To be taken before
// indexes are read: what is recorded meanwhile is then in both.
static Marks live_marks(Engine::Impl& e) {
    Marks marks;
    Lock lock(e.core.mutex);
    for (const format::PointRecord& point : e.log.pending_points()) {
        add_point(point, marks);
    }
    for (const SnapshotInfo& snapshot : e.history.snapshots) {
        Mark& mark = marks[snapshot.sequence.value];
        mark.time = mark.time == Time() ? snapshot.time : mark.time;
        mark.snapshot = snapshot.name;
    }
    const Engine::Impl::KeptStates kept = e.kept_states();
    for (const StreamInfo& stream : e.history.streams) {
        if (Engine::Impl::keeps(kept, stream.lower)) {
            const bool flush = stream.lower_point == static_cast<uint32_t>(format::PointKind::flush);
            marks.try_emplace(stream.lower.value, Mark{stream.lower_time, flush, {}});
        }
    }
    if (e.disk.sequence.value > 0 && !marks.contains(e.disk.sequence.value)) {
        marks[e.disk.sequence.value] = {e.disk.time, false, {}};
    }
    return marks;
}

static void merge(const Marks& live, Marks& marks) {
    for (const auto& [sequence, mark] : live) {
        marks.try_emplace(sequence, mark).first->second.snapshot = mark.snapshot;
    }
}

// Those that cannot be gone back to any more. Returns the floor.
static Sequence erase_dropped(Engine::Impl& e, Marks& marks) {
    Lock lock(e.core.mutex);
    std::unordered_set<uint64_t> in_streams;
    const size_t count = e.history.chain_length();
    for (size_t i = 0; i < count; ++i) {
        in_streams.insert(e.history.streams[i].lower.value);
    }
    std::erase_if(marks, [&](const auto& mark) {
        return Sequence(mark.first) < e.history.floor && !in_streams.contains(mark.first);
    });
    return e.history.floor;
}

// Log segments with the times in them, newest first.
struct Candidate {
    SegmentId id;
    Sequence first;
    TimeSpan times;
};
static std::vector<Candidate> candidates(Engine::Impl& e) {
    Lock lock(e.core.mutex);
    std::vector<Candidate> list;
    for (auto id = e.segments.log().rbegin(); id != e.segments.log().rend(); ++id) {
        list.push_back({*id, e.segments[*id].first, e.segments[*id].times});
    }
    return list;
}

// The marks a query asks for, and `before`, the point before the first of them. Points are recorded in the
// order of their sequence numbers, each in a batch after it, so the marks of a newer segment all come
// after those of an older one.
static Result<Marks> collect_marks(Engine::Impl& e, const PointQuery& query, Sequence newest,
                                   Sequence* before) {
    const auto wanted = [&](const Marks::value_type& mark) {
        return mark.first <= newest.value && mark.second.time >= query.since &&
               mark.second.time <= query.until;
    };
    const Marks live = live_marks(e);
    Marks marks;
    for (const Candidate& segment : candidates(e)) {
        const auto found = static_cast<uint64_t>(std::count_if(marks.begin(), marks.end(), wanted));
        if (found > query.limit) {
            break;  // one more than asked for: it is the one before the first
        }
        const bool need_before = found > 0 && wanted(*marks.begin());
        if (need_before || segment.times.overlaps(query.since, query.until)) {
            TRY_ASSIGN(const SegmentIndex index, e.indexes.load(segment.id));
            add_marks(index, marks);
        }
    }
    merge(live, marks);
    const Sequence floor = erase_dropped(e, marks);
    const Marks all = marks;
    std::erase_if(marks, [&](const auto& mark) { return !wanted(mark); });
    while (marks.size() > query.limit) {
        marks.erase(marks.begin());
    }
    if (!marks.empty()) {
        const auto first = all.find(marks.begin()->first);
        *before = std::max(floor, Sequence(first == all.begin() ? 0 : std::prev(first)->first));
    }
    return marks;
}

Result<std::vector<PointInfo>> Engine::points(const PointQuery& query) {
    Impl& e = *impl_;
    Sequence newest, before;
    HistoryReader reading(e);
    {
        Lock lock(e.core.mutex);
        newest = e.disk.sequence;
    }
    TRY_ASSIGN(const Marks marks, collect_marks(e, query, newest, &before));
    std::vector<PointInfo> points;
    for (const auto& [sequence, mark] : marks) {
        PointInfo point;
        point.sequence = Sequence(sequence);
        point.time = mark.time;
        point.flush = mark.flush;
        point.snapshot = mark.snapshot;
        points.push_back(std::move(point));
    }
    if (points.empty()) {
        return points;
    }
    // What changed up to each point, since the one before it.
    size_t next = 0;
    while (next < points.size() && points[next].sequence <= before) {
        ++next;  // of what was before the floor only the states are known
    }
    Change change;
    TRY(e.timeline.for_each_segment(
        before + 1, points.back().sequence, false,
        [&](const SegmentIndex& index) -> Result<void> {
            size_t at = 0;
            for (const format::IndexRow& row : index.rows) {
                const size_t end = at + row.entry_count;
                for (; at < end; ++at) {
                    change.add(index.entries[at]);
                }
                if (row.sequence <= before.value) {
                    change = {};
                }
                if (next < points.size() && row.sequence == points[next].sequence.value) {
                    points[next].bytes_changed = change.sectors * kSectorSize;
                    points[next].chunks_changed = change.chunks();
                    change = {};
                    ++next;
                }
            }
            return {};
        }));
    Lock lock(e.core.mutex);
    const Engine::Impl::KeptStates kept = e.kept_states();
    for (PointInfo& point : points) {
        point.branch = e.history.branch_of(point.sequence);
        point.kept = e.why_kept(point.sequence, kept);
    }
    return points;
}

// The newest point not after the time; the newest state counts as one.
Result<Engine::Resolved> Engine::Impl::resolve_time(Time time) {
    Time newest, oldest;
    HistoryReader reading(*this);
    {
        Lock lock(core.mutex);
        if (disk.time <= time) {
            return Resolved{disk.sequence, disk.time, disk.size};
        }
        newest = oldest = disk.time;
    }
    const auto best = [&](const Marks& marks) {
        return std::find_if(marks.rbegin(), marks.rend(),
                            [&](const auto& mark) { return mark.second.time <= time; });
    };
    const Marks live = live_marks(*this);
    Marks marks;
    for (const Candidate& segment : candidates(*this)) {
        oldest = std::min(oldest, segment.times.first);
        if (segment.times.first <= time && best(marks) == marks.rend()) {
            TRY_ASSIGN(const SegmentIndex index, indexes.load(segment.id));
            add_marks(index, marks);
        }
    }
    merge(live, marks);
    // Where history begins. If that is the beginning nothing was written yet: for an overlay, the disk below as it was
    // when it was put on it.
    Sequence floor;
    Time created(superblock.create_time);
    {
        Lock lock(core.mutex);
        floor = history.floor;
        created = floor > Sequence(0) ? history.floor_time : created;
    }
    erase_dropped(*this, marks);
    const auto found = best(marks);
    if (found == marks.rend() && created <= time) {
        Lock lock(core.mutex);
        return Resolved{floor, created, history.size_at(floor)};
    }
    if (found != marks.rend() && Sequence(found->first) < floor && created <= time) {
        Lock lock(core.mutex);
        return Resolved{floor, created, history.size_at(floor)};  // newer than a snapshot before it
    }
    oldest = std::min(oldest, created);
    if (found == marks.rend()) {
        return Error{ENOENT, text("time %lld lies before the history, which goes from %lld to %lld "
                                  "(microseconds since the epoch)",
                                  static_cast<long long>(time.value),
                                  static_cast<long long>(oldest.value),
                                  static_cast<long long>(newest.value))};
    }
    Lock lock(core.mutex);
    const Sequence sequence(found->first);
    return Resolved{sequence, found->second.time, history.size_at(sequence)};
}

}  // namespace predsnap
