// SPDX-License-Identifier: GPL-2.0-or-later
#include "history.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "text.h"

namespace predsnap {

using format::RecordType;

Result<std::optional<RecordReader::Record>> RecordReader::next() {
    if (bytes_.empty()) {
        return std::optional<Record>{};
    }
    format::RecordHeader header{};
    if (bytes_.size() < sizeof(header)) {
        return Error{EIO, "record is cut short"};
    }
    std::memcpy(&header, bytes_.data(), sizeof(header));
    bytes_ = bytes_.subspan(sizeof(header));
    if (header.length > bytes_.size()) {
        return Error{EIO, "record is longer than its batch"};
    }
    Record record{static_cast<RecordType>(header.type), bytes_.subspan(0, header.length)};
    bytes_ = bytes_.subspan(header.length);
    return std::optional<Record>(record);
}

void for_each_point(std::span<const uint8_t> records,
                    const std::function<void(const format::PointRecord&)>& visit) {
    RecordReader reader(records);
    for (;;) {
        const auto record = reader.next();
        if (!record.ok() || !record.value()) {
            return;
        }
        format::PointRecord point{};
        if (record.value()->type == format::RecordType::point &&
            record.value()->payload.size() == sizeof(point)) {
            std::memcpy(&point, record.value()->payload.data(), sizeof(point));
            visit(point);
        }
    }
}

void put_record(std::vector<uint8_t>& out, RecordType type, const void* payload, size_t length) {
    const format::RecordHeader header{static_cast<uint16_t>(type), static_cast<uint16_t>(length)};
    const auto* head = reinterpret_cast<const uint8_t*>(&header);
    const auto* body = static_cast<const uint8_t*>(payload);
    out.insert(out.end(), head, head + sizeof(header));
    out.insert(out.end(), body, body + length);
}

void put_snapshot(std::vector<uint8_t>& out, const SnapshotInfo& snapshot) {
    format::SnapshotRecord record{};
    record.id = snapshot.id;
    record.sequence = snapshot.sequence.value;
    record.time = snapshot.time.value;
    record.disk_size = snapshot.disk_size;
    record.vm_state_size = snapshot.vm_state_size;
    record.vm_clock_ns = snapshot.vm_clock_ns;
    record.icount = snapshot.icount;
    record.horizon_s = snapshot.horizon_s;
    const auto* bytes = reinterpret_cast<const uint8_t*>(&record);
    std::vector<uint8_t> payload(bytes, bytes + sizeof(record));
    payload.insert(payload.end(), snapshot.name.begin(), snapshot.name.end());
    put_record(out, RecordType::snapshot_create, payload.data(), payload.size());
}

void put_stream(std::vector<uint8_t>& out, const StreamInfo& stream) {
    format::StreamRecord record{};
    record.id = stream.id;
    record.lower = stream.lower.value;
    record.upper = stream.upper.value;
    record.lower_time = stream.lower_time.value;
    record.lower_clock = stream.lower_clock;
    record.lower_point = stream.lower_point;
    record.base = stream.base.value;
    record.sectors = stream.sectors;
    record.index_offset = stream.index_offset;
    record.index_bytes = stream.index_bytes;
    record.index_hash = stream.index_hash;
    record.tier = static_cast<uint32_t>(stream.tier);
    const auto* bytes = reinterpret_cast<const uint8_t*>(&record);
    std::vector<uint8_t> payload(bytes, bytes + sizeof(record));
    for (const SegmentId id : stream.segments) {
        const auto* value = reinterpret_cast<const uint8_t*>(&id.value);
        payload.insert(payload.end(), value, value + sizeof(id.value));
    }
    put_record(out, RecordType::stream_add, payload.data(), payload.size());
    if (!stream.references.empty()) {
        std::vector<uint64_t> numbers{stream.id};
        numbers.insert(numbers.end(), stream.references.begin(), stream.references.end());
        put_record(out, RecordType::stream_references, numbers.data(), numbers.size() * sizeof(uint64_t));
    }
}

void put_stream_drop(std::vector<uint8_t>& out, uint64_t id) {
    const format::StreamDropRecord record{id};
    put_record(out, RecordType::stream_drop, &record, sizeof(record));
}

Result<StreamInfo> parse_stream(std::span<const uint8_t> payload) {
    format::StreamRecord record{};
    if (payload.size() < sizeof(record) || (payload.size() - sizeof(record)) % sizeof(uint32_t) != 0) {
        return Error{EIO, "stream record has a wrong length"};
    }
    std::memcpy(&record, payload.data(), sizeof(record));
    StreamInfo stream;
    stream.id = record.id;
    stream.lower = Sequence(record.lower);
    stream.upper = Sequence(record.upper);
    stream.lower_time = Time(record.lower_time);
    stream.lower_clock = record.lower_clock;
    stream.lower_point = record.lower_point;
    stream.base = Place(record.base);
    stream.sectors = record.sectors;
    stream.index_offset = record.index_offset;
    stream.index_bytes = record.index_bytes;
    stream.index_hash = record.index_hash;
    stream.tier = static_cast<format::Tier>(record.tier);
    if (record.tier > static_cast<uint32_t>(format::Tier::capacity) ||
        (stream.is_pack() ? stream.lower > Sequence(0) || stream.on_capacity() : stream.lower >= stream.upper) || stream.base < kStreamPlaces || stream.sectors > kPlaceLimit.value ||
        stream.base + stream.sectors >= kPlaceLimit) {
        return Error{EIO, "stream record makes no sense"};
    }
    for (size_t at = sizeof(record); at < payload.size(); at += sizeof(uint32_t)) {
        uint32_t id;
        std::memcpy(&id, payload.data() + at, sizeof(id));
        stream.segments.push_back(SegmentId(id));
    }
    return stream;
}

Result<void> History::add_references(std::span<const uint8_t> payload) {
    format::StreamReferencesRecord record{};
    constexpr size_t kMost = format::kMaxReferencedPacks * sizeof(uint64_t);
    if (payload.size() <= sizeof(record) || payload.size() > sizeof(record) + kMost || payload.size() % sizeof(uint64_t) != 0) {
        return Error{EIO, "record of a stream's references has a wrong length"};
    }
    std::memcpy(&record, payload.data(), sizeof(record));
    const auto found = std::find_if(streams.begin(), streams.end(),
                                    [&](const StreamInfo& stream) { return stream.id == record.id; });
    if (found == streams.end() || found->is_pack()) {
        return Error{EIO, "references of a stream that is not there"};
    }
    found->references.resize((payload.size() - sizeof(record)) / sizeof(uint64_t));
    std::memcpy(found->references.data(), payload.data() + sizeof(record), payload.size() - sizeof(record));
    return {};
}

Result<SnapshotInfo> parse_snapshot(std::span<const uint8_t> payload) {
    format::SnapshotRecord record{};
    if (payload.size() <= sizeof(record) || payload.size() > sizeof(record) + 255) {
        return Error{EIO, "snapshot record has a wrong length"};
    }
    std::memcpy(&record, payload.data(), sizeof(record));
    const auto name = payload.subspan(sizeof(record));
    SnapshotInfo info;
    info.id = record.id;
    info.name.assign(name.begin(), name.end());
    info.sequence = Sequence(record.sequence);
    info.time = Time(record.time);
    info.disk_size = record.disk_size;
    info.vm_state_size = record.vm_state_size;
    info.vm_clock_ns = record.vm_clock_ns;
    info.icount = record.icount;
    info.horizon_s = record.horizon_s;
    return info;
}

namespace {

template <typename T>
Result<T> read_as(std::span<const uint8_t> payload) {
    T value{};
    if (payload.size() != sizeof(value)) {
        return Error{EIO, "record has a wrong length"};
    }
    std::memcpy(&value, payload.data(), sizeof(value));
    return value;
}

}  // namespace

Result<void> History::apply(Sequence sequence, Time time, std::span<const uint8_t> records) {
    RecordReader reader(records);
    for (;;) {
        TRY_ASSIGN(const auto record, reader.next());
        if (!record) {
            return {};
        }
        TRY(apply_one(sequence, time, *record));
    }
}

Result<void> History::apply_one(Sequence sequence, Time time, const RecordReader::Record& record) {
    switch (record.type) {
        case RecordType::point: {
            TRY_ASSIGN(const auto point, read_as<format::PointRecord>(record.payload));
            if (point.sequence >= sequence.value) {
                return Error{EIO, "point lies in the future of its batch"};
            }
            last_point = std::max(last_point, Sequence(point.sequence));
            last_point_time = Time(point.time);
            return {};
        }
        case RecordType::snapshot_create: {
            TRY_ASSIGN(SnapshotInfo info, parse_snapshot(record.payload));
            info.sequence = sequence - 1;
            info.time = time;
            next_snapshot_id = std::max(next_snapshot_id, info.id + 1);
            snapshots.push_back(std::move(info));
            return {};
        }
        case RecordType::snapshot_delete: {
            TRY_ASSIGN(const auto gone, read_as<format::SnapshotDeleteRecord>(record.payload));
            std::erase_if(snapshots, [&](const SnapshotInfo& info) { return info.id == gone.id; });
            return {};
        }
        case RecordType::rollback: {
            TRY_ASSIGN(const auto rollback, read_as<format::RollbackRecord>(record.payload));
            if (rollback.target >= sequence.value) {
                return Error{EIO, "rollback to a state that does not exist yet"};
            }
            rollbacks.push_back({sequence, Sequence(rollback.target), Sequence(rollback.target) < floor});
            return {};
        }
        case RecordType::resize: {
            TRY_ASSIGN(const auto resize, read_as<format::ResizeRecord>(record.payload));
            if (resize.size % kSectorSize != 0 || resize.size > kMaxSize) {
                return Error{EIO, "resize record has an impossible size"};
            }
            resizes.push_back({sequence, resize.size});
            return {};
        }
        case RecordType::stream_add: {
            TRY_ASSIGN(StreamInfo stream, parse_stream(record.payload));
            if (stream.upper >= sequence) {
                return Error{EIO, "a stream is of states that do not exist yet"};
            }
            next_stream_id = std::max(next_stream_id, stream.id + 1);
            next_stream_base = std::max(next_stream_base, stream.places_end());
            const auto below = std::find_if(streams.begin(), streams.end(),
                                            [&](const StreamInfo& other) { return other.upper <= stream.upper; });
            streams.insert(below, std::move(stream));
            by_place_.clear();
            return {};
        }
        case RecordType::stream_references:
            return add_references(record.payload);
        case RecordType::stream_drop: {
            TRY_ASSIGN(const auto gone, read_as<format::StreamDropRecord>(record.payload));
            std::erase_if(streams, [&](const StreamInfo& stream) { return stream.id == gone.id; });
            by_place_.clear();
            return {};
        }
        case RecordType::floor: {
            TRY_ASSIGN(const auto raised, read_as<format::FloorRecord>(record.payload));
            if (raised.sequence >= sequence.value) {
                return Error{EIO, "history would begin in the future"};
            }
            if (floor < Sequence(raised.sequence)) {
                floor = Sequence(raised.sequence);
                floor_time = Time(raised.time);
                floor_clock = raised.clock;
            }
            return {};
        }
    }
    return Error{EIO, text("unknown record type %u", static_cast<unsigned>(record.type))};
}

const SnapshotInfo* History::find(const std::string& name) const {
    const auto found = std::find_if(snapshots.begin(), snapshots.end(),
                                    [&](const SnapshotInfo& info) { return info.name == name; });
    return found == snapshots.end() ? nullptr : &*found;
}

const StreamInfo* History::stream_at(Place place) const {
    if (by_place_.size() != streams.size()) {
        by_place_.resize(streams.size());
        std::iota(by_place_.begin(), by_place_.end(), 0);
        std::sort(by_place_.begin(), by_place_.end(),
                  [&](uint32_t a, uint32_t b) { return streams[a].base < streams[b].base; });
    }
    const auto after = std::partition_point(by_place_.begin(), by_place_.end(),
                                            [&](uint32_t i) { return streams[i].base <= place; });
    if (after == by_place_.begin() || !streams[*std::prev(after)].holds(place)) {
        return nullptr;
    }
    return &streams[*std::prev(after)];
}

const StreamInfo* History::stream(uint64_t id) const {
    const auto found =
        std::find_if(streams.begin(), streams.end(), [&](const StreamInfo& stream) { return stream.id == id; });
    return found == streams.end() ? nullptr : &*found;
}

bool History::uses_capacity() const {
    return std::any_of(streams.begin(), streams.end(), [](const StreamInfo& s) { return s.on_capacity(); });
}

const StreamInfo* History::stream_from(Sequence state) const {
    const size_t count = chain_length();
    const auto end = streams.begin() + static_cast<ptrdiff_t>(count);
    const auto found =
        std::find_if(streams.begin(), end, [&](const StreamInfo& stream) { return stream.lower == state; });
    return found == end ? nullptr : &*found;
}

size_t History::chain_length() const {
    Sequence upper = floor;
    size_t count = 0;
    while (count < streams.size() && !streams[count].is_pack() && streams[count].upper == upper) {
        upper = streams[count++].lower;
    }
    return count;
}

uint64_t History::size_at(Sequence state) const {
    for (const Interval& interval : lineage(state, Way::content)) {
        // The newest resize within this run of states decides.
        const auto after = std::partition_point(resizes.begin(), resizes.end(), [&](const Resize& r) {
            return r.sequence <= interval.last;
        });
        if (after != resizes.begin() && std::prev(after)->sequence >= interval.first) {
            return std::prev(after)->size;
        }
    }
    return initial_size;
}

uint32_t History::branch_of(Sequence state) const {
    const auto after = std::partition_point(rollbacks.begin(), rollbacks.end(), [&](const Rollback& r) {
        return r.sequence <= state;
    });
    return static_cast<uint32_t>(after - rollbacks.begin());
}

std::vector<BranchInfo> History::branches(Sequence newest) const {
    std::vector<BranchInfo> result;
    for (uint32_t id = 0; id <= rollbacks.size(); ++id) {
        BranchInfo branch;
        branch.id = id;
        if (id > 0) {
            branch.first = rollbacks[id - 1].sequence;
            branch.parent = rollbacks[id - 1].target;
        }
        branch.current = id == rollbacks.size();
        branch.last = branch.current ? newest : rollbacks[id].sequence - 1;
        result.push_back(branch);
    }
    return result;
}

std::vector<History::Interval> History::lineage(Sequence state, Way way) const {
    std::vector<Interval> runs;
    for (;;) {
        uint32_t branch = branch_of(state);
        while (way == Way::batches && branch > 0 && rollbacks[branch - 1].deep) {
            --branch;
        }
        if (branch == 0) {
            runs.push_back({Sequence(0), state});
            return runs;
        }
        runs.push_back({rollbacks[branch - 1].sequence, state});
        state = rollbacks[branch - 1].target;
    }
}

std::vector<PathStep> History::path(Sequence from, Sequence to) const {
    const std::vector<Interval> up = lineage(from, Way::batches);
    const std::vector<Interval> down = lineage(to, Way::batches);
    // Two lineages share a branch if both have a run that begins with it; the newest shared one holds
    // the common ancestor, where the shorter of the two runs ends.
    size_t i = 0, j = 0;
    while (up[i].first != down[j].first) {
        up[i].first > down[j].first ? ++i : ++j;
    }
    const Sequence ancestor = std::min(up[i].last, down[j].last);

    std::vector<PathStep> steps;
    for (size_t k = 0; k <= i; ++k) {
        const Sequence first = k == i ? ancestor + 1 : up[k].first;
        if (first <= up[k].last) {
            steps.push_back({first, up[k].last, true});
        }
    }
    for (size_t k = j + 1; k-- > 0;) {
        const Sequence first = k == j ? ancestor + 1 : down[k].first;
        if (first <= down[k].last) {
            steps.push_back({first, down[k].last, false});
        }
    }
    return steps;
}

}  // namespace predsnap
