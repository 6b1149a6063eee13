// SPDX-License-Identifier: GPL-2.0-or-later
#include "segment_index.h"

#include <algorithm>
#include <cstring>

#include "text.h"

namespace predsnap {

using format::Entry;
using format::IndexHeader;
using format::IndexRow;
using format::PackedExtent;

uint64_t unit_count(Sector start, uint64_t sectors) {
    if (sectors <= kSectorsPerBlock) {
        return 1;
    }
    const uint64_t first = start.value / kSectorsPerBlock;
    const uint64_t last = (start.value + sectors - 1) / kSectorsPerBlock;
    return last - first + 1;
}

UnitRange unit_range(Sector start, uint64_t sectors, uint64_t i) {
    if (sectors <= kSectorsPerBlock) {
        return {0, sectors};
    }
    const uint64_t lead = start.value % kSectorsPerBlock;
    const uint64_t begin = i == 0 ? 0 : i * kSectorsPerBlock - lead;
    return {begin, std::min((i + 1) * kSectorsPerBlock - lead, sectors)};
}

Extent to_extent(const Geometry& geometry, SegmentId segment, const Entry& entry, uint32_t sum) {
    Extent extent;
    extent.start = Sector(entry.start);
    extent.count = entry.count;
    extent.kind = static_cast<ExtentKind>(entry.kind);
    if (entry.has(format::kEntryPacked)) {
        extent.place = format::get_packed(entry);
    } else if (entry.is_data()) {
        extent.place = entry.is_plain() ? geometry.place(segment) + entry.place : format::get_from(entry);
    }
    if (extent.kind == ExtentKind::unit) {
        extent.checksum = sum;
    }
    return extent;
}

uint64_t delta_begin(const Geometry& geometry, SegmentId segment, const Entry& entry) {
    return Geometry::delta_offset(format::get_from(entry)) - geometry.offset(segment);
}

namespace {

// The segment is not known here: whether it lies in that is for the caller to see.
bool plausible_delta(const Geometry& geometry, const Entry& entry) {
    const Place place = format::get_from(entry);
    const bool is_block = entry.kind == static_cast<uint8_t>(ExtentKind::unit) &&
                          entry.start % kSectorsPerBlock == 0 && entry.count == kSectorsPerBlock;
    return is_block && entry.units > 0 && entry.units <= format::kMaxDeltaUnits && place < kStreamPlaces &&
           place >= Geometry::delta_place(format::kSuperblockArea) &&
           entry.place <= geometry.segment_size / kSectorSize;
}

bool plausible_packed(const Geometry& geometry, const Entry& entry) {
    const Place place = format::get_packed(entry);
    return entry.kind == static_cast<uint8_t>(ExtentKind::run) && entry.count <= kMaxDataSectors &&
           place >= kStreamPlaces && place + entry.count < kPlaceLimit &&
           entry.place <= geometry.segment_size / kSectorSize;
}

}  // namespace

bool plausible(const Geometry& geometry, const Entry& entry, uint64_t sums) {
    if (entry.kind > static_cast<uint8_t>(ExtentKind::run) || entry.count == 0 ||
        entry.start >= kSectorLimit.value || entry.count > kSectorLimit.value - entry.start) {
        return false;
    }
    if (entry.flags == format::kEntryDelta) {
        return plausible_delta(geometry, entry) && entry.first_sum < sums;
    }
    if ((entry.flags & ~format::kEntryVoid) == (format::kEntryMoved | format::kEntryPacked)) {
        return plausible_packed(geometry, entry);
    }
    if (entry.flags != 0 && (!entry.is_data() || (entry.flags & ~format::kEntryVoid) != format::kEntryMoved)) {
        return false;
    }
    if (!entry.is_data()) {
        return true;
    }
    const bool is_unit = entry.kind == static_cast<uint8_t>(ExtentKind::unit);
    if (is_unit != (entry.count <= kSectorsPerBlock) || entry.count > kMaxDataSectors) {
        return false;
    }
    if (uint64_t{entry.place} + entry.count > geometry.segment_size / kSectorSize) {
        return false;
    }
    return entry.first_sum + unit_count(Sector(entry.start), entry.count) <= sums;
}

uint64_t SegmentIndex::memory_bytes() const {
    return rows.capacity() * sizeof(IndexRow) + entries.capacity() * sizeof(Entry) +
           sums.capacity() * sizeof(uint32_t) + records.capacity() +
           (undo.capacity() + redo.capacity()) * sizeof(PackedExtent);
}

void SegmentIndex::add_to_last(std::span<const PackedExtent> changed, size_t undo_before) {
    redo.insert(redo.end(), changed.begin(), changed.end());
    rows.back().redo_count += changed.size();
    rows.back().undo_count += undo.size() - undo_before;
}

int64_t SegmentIndex::find_sum(const Geometry& geometry, Place place) const {
    const uint64_t offset = place - geometry.place(segment);
    // Data entries ascend by place, but others, without place, lie between them: step back to data.
    auto after = std::partition_point(entries.begin(), entries.end(), [&](const Entry& entry) {
        return entry.place <= offset;
    });
    while (after != entries.begin()) {
        const Entry& entry = *--after;
        if (!entry.is_plain()) {
            continue;
        }
        if (offset < entry.place || offset >= entry.place + entry.count) {
            return -1;
        }
        const uint64_t sector = entry.start + (offset - entry.place);
        const uint64_t unit = entry.count <= kSectorsPerBlock
                                  ? 0
                                  : sector / kSectorsPerBlock - entry.start / kSectorsPerBlock;
        return static_cast<int64_t>(entry.first_sum + unit);
    }
    return -1;
}

namespace {

template <typename T>
void put(std::vector<uint8_t>& out, const T* items, size_t count) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(items);
    out.insert(out.end(), bytes, bytes + count * sizeof(T));
}

// Takes as many items as the list is long off the front of `bytes`. Requires that they are there.
template <typename T>
void take(std::span<const uint8_t>& bytes, std::vector<T>& items) {
    if (!items.empty()) {
        std::memcpy(items.data(), bytes.data(), items.size() * sizeof(T));
    }
    bytes = bytes.subspan(items.size() * sizeof(T));
}

Error damaged(SegmentId segment, const char* what) {
    return Error{EIO, text("index of log segment %u: %s", segment.value, what)};
}

// Rows must account for exactly the entries, records and undo there are, in order of sequence.
Result<void> check_rows(const SegmentIndex& index) {
    uint64_t entries = 0, record_bytes = 0, undo = 0, redo = 0;
    Sequence expected = index.first;
    for (const IndexRow& row : index.rows) {
        if (row.sequence != expected.value) {
            return damaged(index.segment, "batches are not in sequence");
        }
        expected += 1;
        entries += row.entry_count;
        record_bytes += row.record_bytes;
        if (row.undo_count > index.undo.size() || row.redo_count > index.redo.size()) {
            return damaged(index.segment, "undo count is out of range");
        }
        undo += row.undo_count;
        redo += row.redo_count;
    }
    if (index.last + 1 != expected || entries != index.entries.size() ||
        record_bytes != index.records.size() || undo != index.undo.size() || redo != index.redo.size()) {
        return damaged(index.segment, "counts do not add up");
    }
    return {};
}

Result<void> check_extents(const Geometry& geometry, const SegmentIndex& index) {
    uint32_t data_end = 0;
    for (const Entry& entry : index.entries) {
        if (!plausible(geometry, entry, index.sums.size()) || entry.place < data_end) {
            return damaged(index.segment, "an entry is out of range");
        }
        if (entry.has(format::kEntryDelta) && delta_begin(geometry, index.segment, entry) >
                                                  geometry.segment_size - entry.units * kDeltaUnit) {
            return damaged(index.segment, "a delta lies elsewhere");
        }
        data_end = std::max<uint32_t>(
            data_end, entry.place + (entry.is_plain() ? static_cast<uint32_t>(entry.count) : 0));
    }
    for (const auto* list : {&index.undo, &index.redo}) {
        for (const PackedExtent& packed : *list) {
            if (packed.kind > static_cast<uint8_t>(ExtentKind::run) ||
                !plausible(geometry, format::unpack(packed))) {
                return damaged(index.segment, "an undo extent is out of range");
            }
        }
    }
    return {};
}

}  // namespace

std::vector<uint8_t> SegmentIndex::encode() const {
    IndexHeader header{};
    header.segment = segment.value;
    header.next_segment = next.value;
    header.ordinal = ordinal;
    header.first_sequence = first.value;
    header.last_sequence = last.value;
    header.last_hash = last_hash;
    header.end_offset = end_offset;
    header.row_count = static_cast<uint32_t>(rows.size());
    header.entry_count = entries.size();
    header.sum_count = sums.size();
    header.record_bytes = records.size();
    header.undo_count = undo.size();
    header.redo_count = redo.size();
    header.clock = clock;

    std::vector<uint8_t> out;
    out.reserve(sizeof(header) + rows.size() * sizeof(IndexRow) + entries.size() * sizeof(Entry) +
                sums.size() * sizeof(uint32_t) + records.size() +
                (undo.size() + redo.size()) * sizeof(PackedExtent));
    put(out, &header, 1);
    put(out, rows.data(), rows.size());
    put(out, entries.data(), entries.size());
    put(out, sums.data(), sums.size());
    put(out, records.data(), records.size());
    put(out, undo.data(), undo.size());
    put(out, redo.data(), redo.size());
    return out;
}

Result<SegmentIndex> SegmentIndex::decode(const Geometry& geometry, std::span<const uint8_t> bytes) {
    TRY_ASSIGN(SegmentIndex index, sized_for(geometry, bytes));
    TRY(index.fill(geometry, bytes));
    return index;
}

Result<SegmentIndex> SegmentIndex::sized_for(const Geometry& geometry, std::span<const uint8_t> bytes) {
    IndexHeader header{};
    if (bytes.size() < sizeof(header)) {
        return Error{EIO, "segment index is too short"};
    }
    std::memcpy(&header, bytes.data(), sizeof(header));
    bytes = bytes.subspan(sizeof(header));
    // Bounds first, so that the sum below cannot overflow.
    const uint64_t most = bytes.size();
    if (header.entry_count > most || header.sum_count > most || header.record_bytes > most ||
        header.undo_count > most || header.redo_count > most) {
        return damaged(SegmentId(header.segment), "counts are larger than the blob");
    }
    const uint64_t need = header.row_count * sizeof(IndexRow) + header.entry_count * sizeof(Entry) +
                          header.sum_count * sizeof(uint32_t) + header.record_bytes +
                          (header.undo_count + header.redo_count) * sizeof(PackedExtent);
    if (need != bytes.size() || header.end_offset > geometry.segment_size ||
        header.segment >= geometry.max_segments()) {
        return damaged(SegmentId(header.segment), "sizes do not add up");
    }
    SegmentIndex index;
    index.segment = SegmentId(header.segment);
    index.next = SegmentId(header.next_segment);
    index.ordinal = header.ordinal;
    index.first = Sequence(header.first_sequence);
    index.last = Sequence(header.last_sequence);
    index.last_hash = header.last_hash;
    index.end_offset = header.end_offset;
    index.clock = header.clock;
    index.rows.resize(header.row_count);
    index.entries.resize(header.entry_count);
    index.sums.resize(header.sum_count);
    index.records.resize(header.record_bytes);
    index.undo.resize(header.undo_count);
    index.redo.resize(header.redo_count);
    return index;
}

Result<void> SegmentIndex::fill(const Geometry& geometry, std::span<const uint8_t> bytes) {
    bytes = bytes.subspan(sizeof(IndexHeader));
    take(bytes, rows);
    take(bytes, entries);
    take(bytes, sums);
    take(bytes, records);
    take(bytes, undo);
    take(bytes, redo);
    TRY(check_rows(*this));
    return check_extents(geometry, *this);
}

}  // namespace predsnap
