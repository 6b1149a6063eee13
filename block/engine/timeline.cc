// SPDX-License-Identifier: GPL-2.0-or-later
#include "timeline.h"

#include <algorithm>
#include <utility>

#include "chunk_supply.h"
#include "index_ahead.h"

namespace predsnap {

namespace {

// What `from` holds of what the step changes, the last change first.
void tell_redo(const SegmentIndex& index, const PathStep& step, IntervalChange& change) {
    const auto tell = [&](uint64_t start, uint64_t count, bool data) {
        if (start < kVmStateBase.value) {
            change.changed_before(Sector(start), std::min(count, kVmStateBase.value - start), data);
        }
    };
    size_t end = index.entries.size(), redo_end = index.redo.size();
    for (auto row = index.rows.rbegin(); row != index.rows.rend(); ++row) {
        const size_t begin = end - row->entry_count, redo_begin = redo_end - row->redo_count;
        if (row->sequence >= step.first.value && row->sequence <= step.last.value) {
            for (size_t i = redo_end; i-- > redo_begin;) {
                const Extent extent = format::unpack(index.redo[i]);
                tell(extent.start.value, extent.count, extent.is_data());
            }
            for (size_t i = end; i-- > begin;) {
                const format::Entry& entry = index.entries[i];
                if (!entry.has(format::kEntryMoved)) {
                    tell(entry.start, entry.count, entry.is_data());
                }
            }
        }
        end = begin;
        redo_end = redo_begin;
    }
}

// The same of a step that is done again: what it replaces is what `from` holds.
void tell_undo(const SegmentIndex& index, const PathStep& step, IntervalChange& change) {
    size_t begin = 0;
    for (const format::IndexRow& row : index.rows) {
        const size_t end = begin + row.undo_count;
        if (row.sequence >= step.first.value && row.sequence <= step.last.value) {
            for (size_t i = begin; i < end; ++i) {
                const Extent extent = format::unpack(index.undo[i]);
                if (extent.start < kVmStateBase) {
                    const uint64_t most = kVmStateBase - extent.start;
                    change.changed_before(extent.start, std::min(extent.count, most), extent.is_data());
                }
            }
        }
        begin = end;
    }
}

}  // namespace

Result<Overlay> Timeline::difference(Sequence from, Sequence to, IntervalChange* change) {
    std::vector<PathStep> steps;
    std::vector<StreamInfo> streams;
    uint64_t size;
    {
        std::lock_guard lock(core_.mutex);
        const size_t count = history_.chain_length();
        for (size_t i = 0; i < count && history_.streams[i].lower >= to; ++i) {
            streams.push_back(history_.streams[i]);
        }
        size = std::max(history_.size_at(from), history_.size_at(to));
        steps = history_.path(from, std::max(to, history_.floor));
    }
    ChunkSupply supply(core_.host);
    Overlay overlay(size / kSectorSize);
    overlay.use(&supply);
    for (const PathStep& step : steps) {
        TRY(for_each_segment(step.first, step.last, step.undo, [&](const SegmentIndex& index) {
            step.undo ? undo(index, step, overlay) : redo(index, step, overlay);
            if (change != nullptr) {
                step.undo ? tell_redo(index, step, *change) : tell_undo(index, step, *change);
            }
            return Result<void>();
        }));
    }
    for (const StreamInfo& stream : streams) {
        TRY_ASSIGN(const auto index, streams_.load(stream));
        for (const format::PackedExtent& extent : index->extents) {
            overlay.add(extent);
        }
    }
    overlay.use(nullptr);
    overlay.sort(core_.host);
    return overlay;
}

Result<void> Timeline::for_each_segment(Sequence first, Sequence last, bool backwards,
                                        const Visit& visit) {
    std::vector<SegmentId> ids;
    {
        std::lock_guard lock(core_.mutex);
        const std::vector<SegmentId>& log = segments_.log();
        for (size_t i = segments_.log_position(first);
             i < log.size() && segments_[log[i]].first <= last; ++i) {
            ids.push_back(log[i]);
        }
    }
    if (backwards) {
        std::reverse(ids.begin(), ids.end());
    }
    IndexAhead indexes(core_, indexes_, std::move(ids));
    while (indexes.more()) {
        TRY_ASSIGN(const SegmentIndex index, indexes.next());
        TRY(visit(index));
    }
    return {};
}

// Newest first, so that what remains is the oldest content: that before the step.
void Timeline::undo(const SegmentIndex& index, const PathStep& step, Overlay& overlay) const {
    size_t end = index.undo.size();
    for (auto row = index.rows.rbegin(); row != index.rows.rend(); ++row) {
        const size_t begin = end - row->undo_count;
        if (row->sequence >= step.first.value && row->sequence <= step.last.value) {
            for (size_t i = end; i-- > begin;) {
                overlay.add(index.undo[i]);
            }
        }
        end = begin;
    }
}

void Timeline::redo(const SegmentIndex& index, const PathStep& step, Overlay& overlay) const {
    size_t begin = 0, redo_begin = 0;
    for (const format::IndexRow& row : index.rows) {
        const size_t end = begin + row.entry_count;
        const size_t redo_end = redo_begin + row.redo_count;
        if (row.sequence >= step.first.value && row.sequence <= step.last.value) {
            for (size_t i = begin; i < end; ++i) {
                const format::Entry& entry = index.entries[i];
                if (entry.has(format::kEntryMoved)) {
                    continue;  // no state differs; and going back has left it where it is
                }
                const bool is_unit = entry.kind == static_cast<uint8_t>(ExtentKind::unit);
                overlay.add(to_extent(core_.geometry, index.segment, entry,
                                      is_unit ? index.sums[entry.first_sum] : 0));
            }
            for (size_t i = redo_begin; i < redo_end; ++i) {
                overlay.add(index.redo[i]);
            }
        }
        begin = end;
        redo_begin = redo_end;
    }
}

}  // namespace predsnap
