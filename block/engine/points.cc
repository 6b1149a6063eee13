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

struct Mark {
    uint64_t sequence;
    Time time;
    bool flush = false;

    bool operator<(const Mark& o) const { return sequence < o.sequence; }
};
// Ascending, one of each sequence number. There may be as many as flushes, so they lie side by side.
using Marks = std::vector<Mark>;

Mark mark_of(const format::PointRecord& point) {
    return {point.sequence, Time(point.time), point.kind == static_cast<uint32_t>(format::PointKind::flush)};
}

// They are recorded in order, so there is nothing to do. Should one be recorded twice, what was said last counts.
void put_in_order(Marks& marks) {
    const auto not_after = [](const Mark& a, const Mark& b) { return !(a < b); };
    if (std::adjacent_find(marks.begin(), marks.end(), not_after) == marks.end()) {
        return;
    }
    std::reverse(marks.begin(), marks.end());
    std::stable_sort(marks.begin(), marks.end());
    const auto same = [](const Mark& a, const Mark& b) { return a.sequence == b.sequence; };
    marks.erase(std::unique(marks.begin(), marks.end(), same), marks.end());
}

Marks marks_of(const SegmentIndex& index) {
    Marks marks;
    for_each_point(index.records, [&](const format::PointRecord& point) { marks.push_back(mark_of(point)); });
    put_in_order(marks);
    return marks;
}

// Of log segments, from the newest to the oldest.
class SegmentMarks {
  public:
    void add(Marks marks) {
        if (!marks.empty()) {
            segments_.push_back(std::move(marks));
        }
    }
    // Of what was added.
    const Mark* oldest() const { return segments_.empty() ? nullptr : &segments_.back().front(); }
    // Points are recorded in the order of their sequence numbers, each in a batch after it, so the marks of a newer segment all
    // come after those of an older one.
    Marks take() {
        Marks all;
        for (auto marks = segments_.rbegin(); marks != segments_.rend(); ++marks) {
            all.insert(all.end(), marks->begin(), marks->end());
        }
        segments_.clear();
        put_in_order(all);
        return all;
    }

  private:
    std::vector<Marks> segments_;
};

// Those that are in no index, and the names of snapshots; by sequence.
struct LiveMark {
    Mark mark;
    std::string snapshot;
};
using LiveMarks = std::map<uint64_t, LiveMark>;

}  // namespace

// Not yet recorded ones, snapshots, and the newest state. To be taken before indexes are read: what is recorded meanwhile
// is then in both.
static LiveMarks live_marks(Engine::Impl& e) {
    LiveMarks live;
    Lock lock(e.core.mutex);
    for (const format::PointRecord& point : e.log.pending_points()) {
        live[uint64_t{point.sequence}].mark = mark_of(point);
    }
    for (const SnapshotInfo& snapshot : e.history.snapshots) {
        const uint64_t sequence = snapshot.sequence.value;
        live.try_emplace(sequence, LiveMark{{sequence, snapshot.time}, {}}).first->second.snapshot = snapshot.name;
    }
    const Engine::Impl::KeptStates kept = e.kept_states();
    for (const StreamInfo& stream : e.history.streams) {
        if (!stream.is_pack() && Engine::Impl::keeps(kept, stream.lower)) {
            const bool flush = stream.lower_point == static_cast<uint32_t>(format::PointKind::flush);
            live.try_emplace(stream.lower.value, LiveMark{{stream.lower.value, stream.lower_time, flush}, {}});
        }
    }
    if (const uint64_t newest = e.disk.sequence.value; newest > 0) {
        live.try_emplace(newest, LiveMark{{newest, e.disk.time}, {}});
    }
    return live;
}

// What an index says of a point counts.
static void merge(const LiveMarks& live, Marks& marks) {
    const size_t recorded = marks.size();
    for (const auto& [sequence, more] : live) {
        if (!std::binary_search(marks.begin(), marks.begin() + static_cast<ptrdiff_t>(recorded), more.mark)) {
            marks.push_back(more.mark);
        }
    }
    std::inplace_merge(marks.begin(), marks.begin() + static_cast<ptrdiff_t>(recorded), marks.end());
}

// Those that cannot be gone back to any more. Returns the floor.
static Sequence erase_dropped(Engine::Impl& e, Marks& marks) {
    Lock lock(e.core.mutex);
    std::unordered_set<uint64_t> in_streams;
    const size_t count = e.history.chain_length();
    for (size_t i = 0; i < count; ++i) {
        in_streams.insert(e.history.streams[i].lower.value);
    }
    std::erase_if(marks, [&](const Mark& mark) {
        return Sequence(mark.sequence) < e.history.floor && !in_streams.contains(mark.sequence);
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

// The marks a query asks for, and `before`, the point before the first of them, 0 if none. `old`: all points before the
// floor, ascending.
struct Collected {
    Marks marks;
    LiveMarks live;  // for the names of snapshots
    Sequence before, floor;
    std::vector<Sequence> old;
};

// Of what is wanted, the newest so many stay.
template <typename Wanted>
static void keep_newest(Collected& found, uint64_t limit, const Wanted& wanted) {
    const auto count = static_cast<uint64_t>(std::count_if(found.marks.begin(), found.marks.end(), wanted));
    uint64_t skipped = count - std::min(count, limit), previous = 0;
    bool begun = false;
    std::erase_if(found.marks, [&](const Mark& mark) {
        const bool keeps = wanted(mark) && (skipped == 0 || skipped-- == 0);
        if (keeps && !begun) {
            found.before = Sequence(previous);
            begun = true;
        }
        previous = mark.sequence;
        return !keeps;
    });
}

static Result<Collected> collect_marks(Engine::Impl& e, const PointQuery& query, Sequence newest) {
    const auto wanted = [&](const Mark& mark) {
        return mark.sequence <= newest.value && mark.time >= query.since && mark.time <= query.until;
    };
    Collected result;
    result.live = live_marks(e);
    const std::vector<Candidate> segments = candidates(e);
    const auto overlaps = [&](const Candidate& segment) { return segment.times.overlaps(query.since, query.until); };
    std::vector<SegmentId> overlapping;
    for (const Candidate& segment : segments) {
        if (overlaps(segment)) {
            overlapping.push_back(segment.id);
        }
    }
    IndexAhead ahead(e.core, e.indexes, std::move(overlapping), query.limit < kFewPoints ? 1 : IndexAhead::kMost);
    SegmentMarks recorded;
    uint64_t found = 0;  // of what is wanted
    for (const Candidate& segment : segments) {
        if (found > query.limit) {
            break;  // one more than asked for: it is the one before the first
        }
        const bool need_before = found > 0 && wanted(*recorded.oldest());
        if (need_before || overlaps(segment)) {
            TRY_ASSIGN(const SegmentIndex index, overlaps(segment) ? ahead.next() : e.indexes.load(segment.id));
            Marks marks = marks_of(index);
            found += static_cast<uint64_t>(std::count_if(marks.begin(), marks.end(), wanted));
            recorded.add(std::move(marks));
        }
    }
    result.marks = recorded.take();
    merge(result.live, result.marks);
    result.floor = erase_dropped(e, result.marks);
    for (const Mark& mark : result.marks) {
        if (Sequence(mark.sequence) >= result.floor) {
            break;
        }
        result.old.push_back(Sequence(mark.sequence));
    }
    keep_newest(result, query.limit, wanted);
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

void set_change(PointInfo& point, const ChangeCounts& chunks, uint64_t sectors) {
    point.bytes_changed = sectors * kSectorSize;
    point.chunks_added = chunks.added;
    point.chunks_modified = chunks.modified;
    point.chunks_discarded = chunks.discarded;
}

// What changed in the log up to each point, of ascending points after `before`, since the one before it. What `first`
// says changed before the first of them.
Result<void> count_log_changes(Engine::Impl& e, Sequence before, std::span<PointInfo> points,
                               const StreamChanges::Change& first) {
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
                // Of all but the first one there are only numbers to make.
                set_change(points[next],
                           next == 0 ? ChangeVector::join(first.vector, change.vector(), change.whole()).counts() : change.counts(),
                           change.sectors() + (next == 0 ? first.sectors : 0));
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
    std::vector<PointInfo> points(found.marks.size());
    auto live = found.live.begin();
    for (size_t i = 0; i < points.size(); ++i) {
        const Mark& mark = found.marks[i];
        points[i].sequence = Sequence(mark.sequence);
        points[i].time = mark.time;
        points[i].flush = mark.flush;
        for (; live != found.live.end() && live->first <= mark.sequence; ++live) {
            points[i].snapshot = live->first == mark.sequence ? live->second.snapshot : std::string();
        }
    }
    if (points.empty()) {
        return points;
    }
    StreamChanges streams(e, std::move(found.old));
    size_t first = 0;  // in the log
    for (; first < points.size() && points[first].sequence <= found.floor; ++first) {
        const StreamChanges::Change change = streams.since_the_point_before(points[first].sequence);
        set_change(points[first], change.vector.counts(), change.sectors);
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
    const auto is_before = [&](const Mark& mark) { return mark.time <= time; };
    const LiveMarks live = live_marks(*this);
    SegmentMarks recorded;
    bool known = false;
    for (const Candidate& segment : candidates(*this)) {
        oldest = std::min(oldest, segment.times.first);
        if (segment.times.first <= time && !known) {
            TRY_ASSIGN(const SegmentIndex index, indexes.load(segment.id));
            Marks marks = marks_of(index);
            known = std::any_of(marks.begin(), marks.end(), is_before);
            recorded.add(std::move(marks));
        }
    }
    Marks marks = recorded.take();
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
    const auto found = std::find_if(marks.rbegin(), marks.rend(), is_before);
    if (found == marks.rend() && created <= time) {
        Lock lock(core.mutex);
        return Resolved{floor, created, history.size_at(floor)};
    }
    if (found != marks.rend() && Sequence(found->sequence) < floor && created <= time) {
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
    const Sequence sequence(found->sequence);
    return Resolved{sequence, found->time, history.size_at(sequence)};
}

}  // namespace predsnap
