// SPDX-License-Identifier: GPL-2.0-or-later
//
// Checking an image: every structure and every unit of payload, against each other.
#include <algorithm>

#include "engine_impl.h"
#include "log_scan.h"
#include "text.h"

namespace predsnap {

namespace {

constexpr size_t kMaxFindings = 1000;

class Checker {
  public:
    Checker(Engine::Impl& engine, const CheckOptions& options) : e_(engine), options_(options) {}

    Result<CheckResult> run();

  private:
    void found(std::string what) {
        ++result_.corruptions;
        if (result_.findings.size() < kMaxFindings) {
            result_.findings.push_back(std::move(what));
        }
    }
    std::vector<SegmentId> segments_in_use();
    Result<void> check_superblocks();
    void check_previous_checkpoint();
    Result<void> check_segment(SegmentId id);
    Result<void> check_batches(const ScannedSegment& scanned, const SegmentIndex& index);
    void check_payload(const ScannedSegment& scanned, const ScannedBatch& batch);
    void check_against_index(const ScannedBatch& batch, const SegmentIndex& index, size_t row,
                             size_t first_entry);
    void check_map();
    void check_deltas();
    void check_streams();
    void check_places_in(const StreamInfo& pack, const StreamIndex& index);
    void check_references(const StreamInfo& stream, const StreamIndex& index);

    Engine::Impl& e_;
    const CheckOptions& options_;
    CheckResult result_;
};

Result<CheckResult> Checker::run() {
    TRY(check_superblocks());
    HistoryReader reading(e_);
    const std::vector<SegmentId> log = segments_in_use();
    for (size_t i = 0; i < log.size(); ++i) {
        if (options_.progress && !options_.progress(static_cast<double>(i) / static_cast<double>(log.size()))) {
            return Error{ECANCELED, "check was stopped"};
        }
        TRY(check_segment(log[i]));
    }
    check_map();
    check_deltas();
    check_streams();
    check_previous_checkpoint();
    TRY_ASSIGN(result_.image_end, e_.core.file.length());
    return std::move(result_);
}

// Log segments of the history, and past ones that the current state refers to: another may have been given away
// before a crash, and not be known to be free yet.
std::vector<SegmentId> Checker::segments_in_use() {
    Lock lock(e_.core.mutex);
    while (!e_.segments.counted()) {
        e_.segments.count_piece(e_.core.geometry, e_.disk.map);
        lock.unlock();
        e_.core.host.yield();
        lock.lock();
    }
    std::vector<SegmentId> ids;
    for (uint32_t id = 0; id < e_.segments.size(); ++id) {
        const Segment& segment = e_.segments[SegmentId(id)];
        if (segment.kind == format::SegmentKind::log && (!segment.past || segment.needed() > 0)) {
            ids.push_back(SegmentId(id));
        }
    }
    return ids;
}

// One damaged slot loses nothing, so it is said but not counted: opening for writing mends it.
Result<void> Checker::check_superblocks() {
    TRY_ASSIGN(const std::vector<uint32_t> damaged, damaged_slots(e_.core.file));
    for (const uint32_t slot : damaged) {
        result_.findings.push_back(text("superblock slot %u (offset %u) is damaged; the other one is good, "
                                        "and opening the image for writing mends it",
                                        slot, slot * kBlockSize));
    }
    return {};
}

// It is only there in case the newest one is damaged: so it is said but not counted.
void Checker::check_previous_checkpoint() {
    TaskMutex::Guard none_is_made(e_.core.host, e_.checkpointing);
    SegmentId first = kNoSegment;
    uint64_t id = 0;
    {
        Lock lock(e_.core.mutex);
        if (e_.superblock.previous_segments > 0) {
            first = SegmentId(e_.superblock.previous_segment);
            id = e_.superblock.previous_id;
        }
    }
    if (first == kNoSegment) {
        return;
    }
    const auto read = read_checkpoint(e_.core, first, id);
    if (!read.ok()) {
        result_.findings.push_back("of the two checkpoints the older one is damaged, which does no harm as long as the "
                                   "newer one is good: " +
                                   read.error().message);
    }
}

Result<void> Checker::check_segment(SegmentId id) {
    Result<SegmentIndex> index = e_.indexes.load(id);
    if (!index.ok()) {
        found(text("log segment %u (offset %llu): %s", id.value,
                   static_cast<ull>(e_.core.geometry.offset(id)), index.error().message.c_str()));
        return {};
    }
    if (index.value().empty()) {
        return {};  // just begun: its header is still being written
    }
    TRY_ASSIGN(const ScannedSegment scanned, ScannedSegment::read(e_.core, id));
    const auto header = scanned.header();
    if (!header || header->ordinal != index.value().ordinal ||
        header->next != index.value().next.value) {
        found(text("header of log segment %u (offset %llu) is damaged", id.value,
                   static_cast<ull>(e_.core.geometry.offset(id))));
    }
    return check_batches(scanned, index.value());
}

// The index says which batches there are; the segment must hold just these.
Result<void> Checker::check_batches(const ScannedSegment& scanned, const SegmentIndex& index) {
    uint32_t offset = kBlockSize;
    std::optional<uint64_t> hash;
    size_t first_entry = 0;
    for (size_t row = 0; row < index.rows.size(); ++row) {
        const Sequence sequence(index.rows[row].sequence);
        const format::BatchHeader* header = scanned.intact_header_at(offset);
        const uint64_t previous = hash ? *hash : (header != nullptr ? header->previous_hash : 0);
        const auto batch = scanned.chained_at(offset, sequence, previous);
        if (!batch) {
            found(text("batch %llu at image offset %llu is damaged; the rest of segment %u was not checked",
                       static_cast<ull>(sequence.value),
                       static_cast<ull>(e_.core.geometry.offset(scanned.id()) + offset),
                       scanned.id().value));
            return {};
        }
        check_against_index(*batch, index, row, first_entry);
        first_entry += index.rows[row].entry_count;
        if (options_.verify_data) {
            check_payload(scanned, *batch);
        }
        offset += batch->header.total_bytes;
        hash = batch->header.checksum;
    }
    if (offset != index.end_offset) {
        found(text("log segment %u ends at %u, its index says %u", scanned.id().value, offset,
                   index.end_offset));
    }
    return {};
}

void Checker::check_against_index(const ScannedBatch& batch, const SegmentIndex& index, size_t row,
                                  size_t first_entry) {
    bool same = batch.entries.size() == index.rows[row].entry_count &&
                batch.header.time == index.rows[row].time;
    for (size_t i = 0; same && i < batch.entries.size(); ++i) {
        const format::Entry& a = batch.entries[i];
        const format::Entry& b = index.entries[first_entry + i];
        const bool packed = a.has(format::kEntryPacked);
        const uint64_t sums = a.is_data() && !packed ? unit_count(Sector(a.start), a.count) : 0;
        same = a.start == b.start && a.count == b.count && a.place == b.place && a.kind == b.kind && a.units == b.units &&
               (a.flags & ~format::kEntryVoid) == (b.flags & ~format::kEntryVoid) &&
               format::get_from(a) == format::get_from(b) &&
               (!packed || a.first_sum == b.first_sum) &&
               // first_sum means nothing where there is no data.
               (sums == 0 ||
                std::equal(batch.sums.begin() + a.first_sum, batch.sums.begin() + a.first_sum + sums,
                           index.sums.begin() + b.first_sum));
    }
    result_.extents_checked += batch.entries.size();
    if (!same) {
        found(text("index of log segment %u does not agree with batch %llu", index.segment.value,
                   static_cast<ull>(batch.header.sequence)));
    }
}

void Checker::check_payload(const ScannedSegment& scanned, const ScannedBatch& batch) {
    for (const format::Entry& entry : batch.entries) {
        if (const auto bad = scanned.bad_unit(batch, entry)) {
            const uint64_t begin = entry.has(format::kEntryDelta)
                                       ? delta_begin(e_.core.geometry, scanned.id(), entry)
                                       : (entry.place + bad->begin) * kSectorSize;
            found(text("data of guest offset %llu, written in batch %llu, is damaged at image offset %llu",
                       static_cast<ull>((entry.start + bad->begin) * kSectorSize),
                       static_cast<ull>(batch.header.sequence),
                       static_cast<ull>(e_.core.geometry.offset(scanned.id()) + begin)));
        }
    }
}

// Data of the current map must lie in log segments.
void Checker::check_map() {
    Lock lock(e_.core.mutex);
    std::vector<Extent> stray;
    e_.disk.map.for_each(Sector(0), [&](const Extent& extent) {
        if (!extent.is_data()) {
            return true;
        }
        if (extent.in_stream()) {
            if (e_.history.stream_at(extent.place) == nullptr) {
                stray.push_back(extent);
            }
            return stray.size() < kMaxFindings;
        }
        const SegmentId id = e_.core.geometry.segment_of(extent);
        if (!e_.segments.contains(id) || e_.segments[id].kind != format::SegmentKind::log) {
            stray.push_back(extent);
        }
        return stray.size() < kMaxFindings;
    });
    for (const Extent& extent : stray) {
        found(text("guest offset %llu maps to image offset %llu, which is not in the log",
                   static_cast<ull>(to_bytes(extent.start)), static_cast<ull>(to_bytes(extent.place))));
    }
}

// What the current state has as deltas must be readable down to its base, in whatever segment that lies.
void Checker::check_deltas() {
    constexpr size_t kAtOnce = 256;
    std::vector<Extent> extents;
    for (Sector at{0}; at < kSectorLimit && options_.verify_data;) {
        extents.clear();
        Lock lock(e_.core.mutex);
        const ReadPins::Pin pin = e_.core.readers.pin();
        at = e_.disk.map.lookup(at, kSectorLimit, kAtOnce, &extents);
        lock.unlock();
        for (const Extent& extent : extents) {
            const Result<void> read = extent.is_delta() ? e_.reader.verify_delta(extent) : Result<void>();
            if (!read.ok()) {
                found(read.error().message);
            }
        }
    }
}

void Checker::check_streams() {
    std::vector<StreamInfo> streams;
    {
        Lock lock(e_.core.mutex);
        streams = e_.history.streams;
    }
    AlignedBuffer data(format::kFrameSectors * kSectorSize);
    uint64_t not_there = 0;
    for (const StreamInfo& stream : streams) {
        if (stream.on_capacity() && !e_.capacity.present()) {
            ++not_there;
            continue;
        }
        const auto index = e_.streams.load(stream);
        if (!index.ok()) {
            found(index.error().message);
            continue;
        }
        if (stream.is_pack()) {
            check_places_in(stream, *index.value());
        }
        check_references(stream, *index.value());
        const auto dictionary = e_.streams.dictionary(stream, index.value()->summary);
        if (!dictionary.ok()) {
            found(dictionary.error().message);  // once, not for each frame that needs it
            continue;
        }
        for (uint64_t at = 0; at < stream.sectors && options_.verify_data; at += format::kFrameSectors) {
            const Result<void> read = e_.streams.read_data(
                stream, at, std::min(format::kFrameSectors, stream.sectors - at), data.data());
            if (!read.ok()) {
                found(read.error().message);
            }
        }
        result_.extents_checked += index.value()->extents.size();
    }
    if (not_there > 0) {
        result_.findings.push_back(text("%llu streams lie in the capacity image, which is not given: they were not checked",
                                        static_cast<ull>(not_there)));
    }
}

// What a stream's frames are stored after must be in packs that its record names: only these stay.
void Checker::check_references(const StreamInfo& stream, const StreamIndex& index) {
    Lock lock(e_.core.mutex);
    const bool right = std::all_of(index.references.begin(), index.references.end(), [&](const format::ReferenceRow& row) {
        const StreamInfo* const pack = e_.history.stream_at(Place(row.place));
        return pack != nullptr && pack->is_pack() &&
               std::find(stream.references.begin(), stream.references.end(), pack->id) != stream.references.end();
    });
    if (!right) {
        found(text("stream %llu refers to data that is in no pack of its record", static_cast<ull>(stream.id)));
    }
}

// What the map has in a pack must be what the pack says it holds of these sectors. Not if the guest writes meanwhile.
void Checker::check_places_in(const StreamInfo& pack, const StreamIndex& index) {
    const auto in_use = [&] {
        const SegmentTable::StreamUse* const use = e_.segments.stream_use(pack.base);
        return std::pair(use == nullptr ? 0 : use->live, e_.disk.sequence);
    };
    Lock lock(e_.core.mutex);
    const auto before = in_use();
    uint64_t right = 0;
    std::vector<Extent> extents;
    for (const format::PackedExtent& packed : index.extents) {
        const Extent said = format::unpack(packed);
        extents.clear();
        e_.disk.map.lookup(said.start, said.end(), SIZE_MAX, &extents);
        for (const Extent& extent : extents) {
            const bool same = said.is_data() && extent.is_data() && extent.place == said.place + (extent.start - said.start);
            right += same ? extent.count : 0;
        }
        lock.unlock();
        lock.lock();
    }
    if (in_use() == before && right < before.first) {
        found(text("%llu sectors of the disk are said to be in pack %llu at places that hold something else",
                   static_cast<ull>(before.first - right), static_cast<ull>(pack.id)));
    }
}

}  // namespace

Result<CheckResult> Engine::check(const CheckOptions& options) {
    return Checker(*impl_, options).run();
}

}  // namespace predsnap
