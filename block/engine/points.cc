// SPDX-License-Identifier: GPL-2.0-or-later
//
// Points: which states the user is offered, and what changed between them.
#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_set>

#include "change_vector.h"
#include "engine_impl.h"
#include "index_ahead.h"
#include "text.h"

namespace predsnap {

namespace {

// Who asks for fewer most likely finds them in one segment.
constexpr uint64_t kFewPoints = 1000;

// What a batch has changed, from where its entries and its undo begin in the index.
void add_row(const SegmentIndex& index, const format::IndexRow& row, size_t entry, size_t undo,
             IntervalChange& change) {
    const size_t entries_end = entry + row.entry_count, undo_end = undo + row.undo_count;
    for (; entry < entries_end; ++entry) {
        const format::Entry& next = index.entries[entry];
        if (next.has(format::kEntryMoved)) {
            continue;
        }
        const bool counts = next.start < kVmStateBase.value;
        for (uint64_t left = next.count; left > 0 && undo < undo_end; ++undo) {
            const Extent before = format::unpack(index.undo[undo]);
            if (counts && before.is_data()) {
                change.had_data(before.start, before.count);
            }
            left -= std::min(left, before.count);
        }
        if (counts) {
            change.changed(Sector(next.start), next.count, next.is_data());
        }
    }
}

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
        if (!stream.is_pack() && Engine::Impl::keeps(kept, stream.lower)) {
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

// The marks a query asks for, and `before`, the point before the first of them, 0 if none. Points are recorded in the
// order of their sequence numbers, each in a batch after it, so the marks of a newer segment all come
// after those of an older one. `old`: all points before the floor, ascending.
struct Collected {
    Marks marks;
    Sequence before, floor;
    std::vector<Sequence> old;
};
static Result<Collected> collect_marks(Engine::Impl& e, const PointQuery& query, Sequence newest) {
    const auto wanted = [&](const Marks::value_type& mark) {
        return mark.first <= newest.value && mark.second.time >= query.since &&
               mark.second.time <= query.until;
    };
    const Marks live = live_marks(e);
    Collected result;
    Marks& marks = result.marks;
    uint64_t found = 0;  // of what is wanted
    const std::vector<Candidate> segments = candidates(e);
    const auto overlaps = [&](const Candidate& segment) { return segment.times.overlaps(query.since, query.until); };
    std::vector<SegmentId> overlapping;
    for (const Candidate& segment : segments) {
        if (overlaps(segment)) {
            overlapping.push_back(segment.id);
        }
    }
    IndexAhead ahead(e.core, e.indexes, std::move(overlapping), query.limit < kFewPoints ? 1 : IndexAhead::kMost);
    for (const Candidate& segment : segments) {
        if (found > query.limit) {
            break;  // one more than asked for: it is the one before the first
        }
        const bool need_before = found > 0 && wanted(*marks.begin());
        if (need_before || overlaps(segment)) {
            TRY_ASSIGN(const SegmentIndex index, overlaps(segment) ? ahead.next() : e.indexes.load(segment.id));
            const uint64_t known = marks.empty() ? UINT64_MAX : marks.begin()->first;
            add_marks(index, marks);
            found += static_cast<uint64_t>(std::count_if(marks.begin(), marks.lower_bound(known), wanted));
        }
    }
    merge(live, marks);
    result.floor = erase_dropped(e, marks);
    for (const auto& [sequence, mark] : marks) {
        if (Sequence(sequence) >= result.floor) {
            break;
        }
        result.old.push_back(Sequence(sequence));
    }
    // The newest so many of what is wanted, and what comes before the first of them.
    const auto count = static_cast<uint64_t>(std::count_if(marks.begin(), marks.end(), wanted));
    uint64_t skipped = count - std::min(count, query.limit);
    uint64_t previous = 0;
    bool begun = false;
    std::erase_if(marks, [&](const auto& mark) {
        const bool keeps = wanted(mark) && (skipped == 0 || skipped-- == 0);
        if (keeps && !begun) {
            result.before = Sequence(previous);
            begun = true;
        }
        previous = mark.first;
        return !keeps;
    });
    return result;
}

namespace {

// What changed since the point before, of points that lie before the floor or are the first after it.
class StreamChanges {
  public:
    struct Change {
        ChangeVector vector;
        uint64_t sectors = 0;
    };
    // `old`: all points before the floor.
    StreamChanges(Engine::Impl& engine, std::vector<Sequence> old) : e_(engine), old_(std::move(old)) {
        Lock lock(e_.core.mutex);
        const auto end = e_.history.streams.begin() + static_cast<ptrdiff_t>(e_.history.chain_length());
        chain_.assign(std::make_reverse_iterator(end), e_.history.streams.rend());
    }
    // Up to a state of the chain, the floor included. Of streams that are damaged, nothing; that is reported.
    Change since_the_point_before(Sequence state) {
        Change change;
        const auto next = std::lower_bound(old_.begin(), old_.end(), state);
        if (next == old_.begin()) {
            return change;  // the first one: what was before is not known
        }
        const Sequence begin = *std::prev(next);
        for (const StreamInfo& stream : chain_) {
            if (stream.lower < begin || stream.upper > state) {
                continue;
            }
            const auto summary = e_.streams.summary(stream);
            if (!summary.ok()) {
                static_cast<void>(corruption(e_.core, 0, 0, summary.error().message));
                continue;
            }
            change.sectors += summary.value()->sectors;
            change.vector = ChangeVector::join(change.vector, summary.value()->changes, {});
        }
        return change;
    }

  private:
    Engine::Impl& e_;
    std::vector<Sequence> old_;
    std::vector<StreamInfo> chain_;  // oldest first
};

void set_change(PointInfo& point, const ChangeVector& vector, uint64_t sectors) {
    point.bytes_changed = sectors * kSectorSize;
    point.chunks_added = vector.added.count();
    point.chunks_modified = vector.modified.count();
    point.chunks_discarded = vector.discarded.count();
}

// What changed in the log up to each point, of ascending points after `before`, since the one before it. What `first`
// says changed before the first of them.
Result<void> count_log_changes(Engine::Impl& e, Sequence before, std::span<PointInfo> points,
                               StreamChanges::Change first) {
    IntervalChange change;
    size_t next = 0;
    const auto visit = [&](const SegmentIndex& index) {
        size_t entry = 0, undo = 0;
        for (const format::IndexRow& row : index.rows) {
            if (row.sequence > before.value && next < points.size()) {
                add_row(index, row, entry, undo, change);
            }
            entry += row.entry_count;
            undo += row.undo_count;
            if (next < points.size() && row.sequence == points[next].sequence.value) {
                set_change(points[next], ChangeVector::join(first.vector, change.vector(), change.whole()),
                           first.sectors + change.sectors());
                first = {};
                change.clear();
                ++next;
            }
        }
    };
    return e.timeline.for_each_segment(before + 1, points.back().sequence, false,
                                       [&](const SegmentIndex& index) -> Result<void> {
                                           compute(e.core, index.entries.size() * sizeof(format::Entry),
                                                   [&] { visit(index); });
                                           return {};
                                       });
}

}  // namespace

Result<std::vector<PointInfo>> Engine::points(const PointQuery& query) {
    Impl& e = *impl_;
    Sequence newest;
    HistoryReader reading(e);
    {
        Lock lock(e.core.mutex);
        newest = e.disk.sequence;
    }
    TRY_ASSIGN(Collected found, collect_marks(e, query, newest));
    std::vector<PointInfo> points;
    for (const auto& [sequence, mark] : found.marks) {
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
    StreamChanges streams(e, std::move(found.old));
    size_t first = 0;  // in the log
    for (; first < points.size() && points[first].sequence <= found.floor; ++first) {
        const StreamChanges::Change change = streams.since_the_point_before(points[first].sequence);
        set_change(points[first], change.vector, change.sectors);
    }
    if (first < points.size()) {
        const Sequence before = first == 0 ? found.before : points[first - 1].sequence;
        TRY(count_log_changes(e, std::max(before, found.floor), std::span(points).subspan(first),
                              before < found.floor ? streams.since_the_point_before(found.floor)
                                                   : StreamChanges::Change{}));
    }
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
