// SPDX-License-Identifier: GPL-2.0-or-later
#include "apply.h"

#include <cstring>

#include "history.h"

namespace predsnap {

namespace {

void include_points(std::span<const uint8_t> records, TimeSpan* times) {
    for_each_point(records, [&](const format::PointRecord& point) { times->include(Time(point.time)); });
}

// Says in the entry whether it counts.
void apply_move(const Geometry& geometry, const Extent& extent, Sequence sequence, SegmentTable& segments,
                format::Entry& entry, DiskState& disk) {
    std::vector<Extent> before;
    entry.flags &= static_cast<uint8_t>(~format::kEntryVoid);
    if (!disk.move(extent, format::get_from(entry), &before)) {
        entry.flags |= format::kEntryVoid;
        return;
    }
    segments.added(geometry, extent);
    for (const Extent& part : before) {
        segments.removed(geometry, part, sequence);
    }
}

}  // namespace

void open_log_segment(const LogPosition& position, SegmentTable& segments,
                      std::deque<SegmentIndex>& indexes) {
    Segment& segment = segments.ensure(position.segment);
    segment = Segment{};
    segment.kind = format::SegmentKind::log;
    segment.ordinal = position.ordinal;
    segment.first = position.next;
    segment.last = position.next - 1;
    segments.log().push_back(position.segment);

    SegmentIndex index;
    index.segment = position.segment;
    index.next = position.announced;
    index.ordinal = position.ordinal;
    index.first = position.next;
    index.last = position.next - 1;
    index.last_hash = position.hash;
    index.end_offset = kBlockSize;
    indexes.push_back(std::move(index));
}

void apply_batch(const Geometry& geometry, const PlacedBatch& batch, SegmentTable& segments,
                 SegmentIndex& index, DiskState& disk) {
    const size_t undo_before = index.undo.size();
    const auto sum_base = static_cast<uint32_t>(index.sums.size());
    if (batch.entries.size() > 1) {
        // To wait for all their places in the map at once takes less time than for one after the other.
        for (const format::Entry& entry : batch.entries) {
            disk.map.prefetch(Sector(entry.start));
        }
    }
    for (format::Entry entry : batch.entries) {
        const bool is_unit = entry.kind == static_cast<uint8_t>(ExtentKind::unit);
        const uint32_t sum = is_unit ? batch.sums[entry.first_sum] : 0;
        const Extent extent = to_extent(geometry, index.segment, entry, sum);
        if (entry.has(format::kEntryMoved)) {
            apply_move(geometry, extent, batch.sequence, segments, entry, disk);
        } else {
            disk.apply(extent, &index.undo);
            segments.added(geometry, extent);
        }
        entry.first_sum += entry.has(format::kEntryPacked) ? 0 : sum_base;
        index.entries.push_back(entry);
    }
    for (size_t i = undo_before; i < index.undo.size(); ++i) {
        segments.replaced(geometry, format::unpack(index.undo[i]), batch.sequence);
    }
    index.sums.insert(index.sums.end(), batch.sums.begin(), batch.sums.end());
    index.records.insert(index.records.end(), batch.records.begin(), batch.records.end());
    index.rows.push_back({batch.sequence.value, batch.time.value,
                          static_cast<uint32_t>(batch.entries.size()),
                          static_cast<uint32_t>(batch.records.size()), index.undo.size() - undo_before, 0});
    index.last = batch.sequence;
    index.last_hash = batch.hash;
    index.end_offset = batch.end_offset;
    Segment& segment = segments[index.segment];
    segment.last = batch.sequence;
    segment.times.include(batch.time);
    include_points(batch.records, &segment.times);
}

void lay_deep(Overlay& difference, DiskState& disk, SegmentIndex& index, const Overlay::Visit& visit) {
    const size_t undo_before = index.undo.size();
    std::vector<format::PackedExtent> changed;
    difference.take_pieces([&](std::span<const Extent> piece) {
        if (visit) {
            visit(piece);
        }
        for (const Extent& extent : piece) {
            disk.apply(extent, &index.undo);
            changed.push_back(format::pack(extent));
        }
    });
    index.add_to_last(changed, undo_before);
}

TimeSpan times_of(const SegmentIndex& index) {
    TimeSpan times;
    for (const format::IndexRow& row : index.rows) {
        times.include(Time(row.time));
    }
    include_points(index.records, &times);
    return times;
}

}  // namespace predsnap
