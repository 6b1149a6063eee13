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
struct Change {
    uint64_t sectors = 0;
    std::unordered_set<uint64_t> chunks;

    void add(const format::Entry& entry) {
        if (entry.start >= kVmStateBase.value) {
            return;
        }
        sectors += entry.count;
        // A trim of everything counts as the disk's chunks, without listing them all.
        constexpr uint64_t kMostListed = 1 << 16;
        const uint64_t first = entry.start / kChunkSectors;
        const uint64_t last = (entry.start + entry.count - 1) / kChunkSectors;
        for (uint64_t chunk = first; chunk <= std::min(last, first + kMostListed); ++chunk) {
            chunks.insert(chunk);
        }
        more += last > first + kMostListed ? last - first - kMostListed : 0;
    }
    uint64_t more = 0;
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
    Mark& mark = marks[point.sequence];
    mark.time = Time(point.time);
    mark.flush = point.kind == static_cast<uint32_t>(format::PointKind::flush);
}

void add_marks(const SegmentIndex& index, Marks& marks) {
    RecordReader reader(index.records);
    for (;;) {
        const auto record = reader.next();
        if (!record.ok() || !record.value()) {
            return;
        }
        format::PointRecord point{};
        if (record.value()->type == format::RecordType::point &&
            record.value()->payload.size() == sizeof(point)) {
            std::memcpy(&point, record.value()->payload.data(), sizeof(point));
            add_point(point, marks);
        }
    }
}

}  // namespace

// Marks that are not in any index: those not yet recorded, snapshots, and the newest state.
static void add_live_marks(Engine::Impl& e, Marks& marks) {
    Lock lock(e.core.mutex);
    for (const format::PointRecord& point : e.log.pending_points()) {
        add_point(point, marks);
    }
    for (const SnapshotInfo& snapshot : e.history.snapshots) {
        Mark& mark = marks[snapshot.sequence.value];
        mark.time = mark.time == Time() ? snapshot.time : mark.time;
        mark.snapshot = snapshot.name;
    }
    if (e.disk.sequence.value > 0 && !marks.contains(e.disk.sequence.value)) {
        marks[e.disk.sequence.value] = {e.disk.time, false, {}};
    }
}

// Segments that may hold the points asked for: all from the first that reaches `since` on, or fewer if
// the newest `limit` points lie in fewer. Points of a segment's last states are recorded in later ones.
// `before` becomes the point before the first of them.
static Result<Marks> collect_marks(Engine::Impl& e, const PointQuery& query, Sequence newest,
                                   Sequence* before) {
    Marks marks;
    add_live_marks(e, marks);
    std::vector<SegmentId> log;
    std::vector<Time> times;
    {
        Lock lock(e.core.mutex);
        log = e.segments.log();
        for (const SegmentId id : log) {
            times.push_back(e.segments[id].min_time);
        }
    }
    const auto wanted = [&](const Marks::value_type& mark) {
        return mark.first <= newest.value && mark.second.time >= query.since &&
               mark.second.time <= query.until;
    };
    for (size_t i = log.size(); i-- > 0;) {
        if (static_cast<uint64_t>(std::count_if(marks.begin(), marks.end(), wanted)) > query.limit ||
            (i + 1 < log.size() && times[i + 1] < query.since && times[i] < query.since)) {
            break;
        }
        TRY_ASSIGN(const SegmentIndex index, e.indexes.load(log[i]));
        add_marks(index, marks);
    }
    const Marks all = marks;
    std::erase_if(marks, [&](const auto& mark) { return !wanted(mark); });
    while (marks.size() > query.limit) {
        marks.erase(marks.begin());
    }
    if (!marks.empty()) {
        const auto first = all.find(marks.begin()->first);
        *before = Sequence(first == all.begin() ? 0 : std::prev(first)->first);
    }
    return marks;
}

Result<std::vector<PointInfo>> Engine::points(const PointQuery& query) {
    Impl& e = *impl_;
    Sequence newest, before;
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
                    points[next].chunks_changed = change.chunks.size() + change.more;
                    change = {};
                    ++next;
                }
            }
            return {};
        }));
    Lock lock(e.core.mutex);
    for (PointInfo& point : points) {
        point.branch = e.history.branch_of(point.sequence);
    }
    return points;
}

// The newest point not after the time; the newest state counts as one.
Result<Engine::Resolved> Engine::Impl::resolve_time(Time time) {
    Sequence newest;
    Time newest_time, oldest;
    std::vector<SegmentId> log_segments;
    std::vector<Time> times;
    {
        Lock lock(core.mutex);
        newest = disk.sequence;
        newest_time = oldest = disk.time;
        log_segments = segments.log();
        for (const SegmentId id : log_segments) {
            times.push_back(segments[id].min_time);
            oldest = std::min(oldest, times.back());
        }
        if (newest_time <= time) {
            return Resolved{newest, newest_time, disk.size};
        }
    }
    Marks marks;
    add_live_marks(*this, marks);
    const auto best = [&]() -> const Marks::value_type* {
        for (auto mark = marks.rbegin(); mark != marks.rend(); ++mark) {
            if (mark->second.time <= time) {
                return &*mark;
            }
        }
        return nullptr;
    };
    // A point is recorded in the batches after it, so the search may end one segment after a hit.
    size_t i = log_segments.size();
    const Marks::value_type* found = best();
    while (i > 0) {
        --i;
        const bool hit = found != nullptr;
        if (times[i] <= time || hit || i + 1 == log_segments.size()) {
            TRY_ASSIGN(const SegmentIndex index, indexes.load(log_segments[i]));
            add_marks(index, marks);
            found = best();
        }
        if (hit) {
            break;
        }
    }
    Lock lock(core.mutex);
    if (found == nullptr) {
        return Error{ENOENT, text("time %lld lies before the history, which goes from %lld to %lld "
                                  "(microseconds since the epoch)",
                                  static_cast<long long>(time.value), static_cast<long long>(oldest.value),
                                  static_cast<long long>(newest_time.value))};
    }
    const Sequence sequence(found->first);
    return Resolved{sequence, found->second.time, history.size_at(sequence)};
}

}  // namespace predsnap
