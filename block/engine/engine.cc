// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "checksum.h"
#include "engine_impl.h"
#include "recovery.h"
#include "text.h"

namespace predsnap {

namespace {

constexpr size_t kMaxParallelWrites = 8;

Result<void> validate_size(uint64_t size) {
    if (size % kSectorSize != 0 || size > kMaxSize) {
        return Error{EINVAL, text("size %llu is not a multiple of %u up to %llu (256 TiB)",
                                  static_cast<ull>(size), kSectorSize, static_cast<ull>(kMaxSize))};
    }
    return {};
}

Result<void> validate(const CreateOptions& options) {
    TRY(validate_size(options.size));
    if (!std::has_single_bit(options.segment_size) || options.segment_size < format::kMinSegmentSize ||
        options.segment_size > format::kMaxSegmentSize) {
        return Error{EINVAL, text("segment size %u is not a power of two from 64 KiB to 64 MiB",
                                  options.segment_size)};
    }
    return {};
}

Result<void> put_backing(format::Superblock& block, const std::string& file, const std::string& name) {
    if (file.size() >= sizeof(block.backing_file) || name.size() >= sizeof(block.backing_format)) {
        return Error{EINVAL, text("backing file name or format is too long (at most %zu and %zu bytes)",
                                  sizeof(block.backing_file) - 1, sizeof(block.backing_format) - 1)};
    }
    std::memset(block.backing_file, 0, sizeof(block.backing_file));
    std::memset(block.backing_format, 0, sizeof(block.backing_format));
    std::memcpy(block.backing_file, file.data(), file.size());
    std::memcpy(block.backing_format, name.data(), name.size());
    block.backing_file_length = static_cast<uint16_t>(file.size());
    block.backing_format_length = static_cast<uint16_t>(name.size());
    return {};
}

Result<void> prewrite(Device& file, uint64_t from, uint64_t length) {
    AlignedBuffer zeros(1 << 20);
    std::memset(zeros.data(), 0, zeros.size());
    for (uint64_t done = 0; done < length;) {
        const uint64_t part = std::min<uint64_t>(length - done, zeros.size());
        TRY(file.pwrite(from + done, zeros.data(), part));
        done += part;
    }
    return {};
}

}  // namespace

bool Engine::probe(const void* head, size_t length) {
    return length >= sizeof(format::kMagic) &&
           std::memcmp(head, format::kMagic, sizeof(format::kMagic)) == 0;
}

Result<void> Engine::create(Host& host, Device& file, const CreateOptions& options) {
    TRY(validate(options));
    format::Superblock block{};
    std::memcpy(block.magic, format::kMagic, sizeof(block.magic));
    block.version = format::kVersion;
    block.generation = 1;
    block.initial_size = block.virtual_size = options.size;
    block.segment_size = options.segment_size;
    block.checkpoint_segment = kNoSegment.value;
    block.create_time = host.now().value;
    block.log = {0, 0, 0};
    block.index = {1, kBlockSize, 0};
    std::memcpy(block.uuid, options.uuid.data(), sizeof(block.uuid));
    if (options.uuid == Uuid{}) {
        const uint64_t random[2] = {host.random(), host.random()};
        std::memcpy(block.uuid, random, sizeof(block.uuid));
        block.uuid[6] = static_cast<uint8_t>((block.uuid[6] & 0x0f) | 0x40);  // RFC 4122, version 4
        block.uuid[8] = static_cast<uint8_t>((block.uuid[8] & 0x3f) | 0x80);
    }
    TRY(put_backing(block, options.backing_file, options.backing_format));

    AlignedBuffer area(format::kSuperblockArea);
    std::memset(area.data(), 0, area.size());
    TRY(file.pwrite(0, area.data(), area.size()));
    const Geometry geometry{options.segment_size};
    TRY(prewrite(file, geometry.offset(SegmentId(0)), align_up(options.prewrite, options.segment_size)));
    for (uint32_t slot = 0; slot < format::kSuperblockSlots; ++slot) {
        ++block.generation;
        TRY(write_superblock(file, block));
    }
    return file.flush();
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::open(Host& host, Device& file, const OpenOptions& options) {
    const Time begin = host.now();
    auto impl = std::make_unique<Impl>(host, file);
    TRY_ASSIGN(impl->superblock, read_superblock(file));
    impl->options = options;
    impl->options.pool_max = std::max(options.pool_min, options.pool_max);
    Core& core = impl->core;
    core.writable = options.writable;
    core.geometry.segment_size = impl->superblock.segment_size;
    core.seed = image_seed(impl->superblock.uuid);
    std::memcpy(core.uuid.data(), impl->superblock.uuid, core.uuid.size());
    impl->reader.set_backing(options.backing);

    Recovery recovery(core, impl->segments, impl->disk, impl->history, impl->log, impl->stream,
                      impl->timeline, impl->capacity);
    std::copy_n(impl->superblock.capacity, impl->expected_capacity.size(), impl->expected_capacity.begin());
    impl->capacity.expect(impl->expected_capacity);
    if (options.capacity != nullptr) {
        TRY(impl->capacity.attach(*options.capacity));
    }
    TRY_ASSIGN(Recovery::Outcome outcome, recovery.run(impl->superblock, options.repair));
    impl->checkpoint_segments = std::move(outcome.checkpoint_segments);
    impl->previous_segments = std::move(outcome.previous_segments);
    impl->previous_index = impl->superblock.previous_index;
    impl->last_checkpoint_id = impl->superblock.checkpoint_id;
    if (outcome.without_checkpoint) {
        impl->forget_newest_checkpoint(outcome.from_previous);
    }
    const bool previous_lost = impl->previous_segments.empty() && impl->superblock.previous_segments > 0;
    if (previous_lost) {
        impl->superblock.previous_segments = 0;
    }
    impl->checkpoint_bytes = outcome.checkpoint_bytes;
    core.stats.recovered_batches = outcome.batches_scanned;
    impl->checkpoint_index = outcome.checkpoint_index;
    impl->fine.map().restore(outcome.fine_chunks);
    impl->ready_at_open = impl->segments.ready_count();
    impl->segments_opened = impl->segments.log().size();
    impl->rate_since = begin;
    impl->start_retention();
    impl->recount_use();  // when data was replaced is not stored
    if (!impl->history.rollbacks.empty()) {
        impl->forecast.rolled_back(impl->history.rollbacks.back().sequence);
    }
    if (options.writable) {
        TRY_ASSIGN(const std::vector<uint32_t> damaged, damaged_slots(file));
        const bool lost = impl->superblock.durable_sequence > impl->disk.sequence.value;
        const bool unknown = (impl->superblock.autoclear & ~format::kKnownAutoclear) != 0;
        // What an older checkpoint lay in is free if it is damaged: nobody may look for it there any more.
        if (!damaged.empty() || lost || unknown || previous_lost) {
            TRY(impl->update_superblock(
                [](format::Superblock& block) { block.autoclear &= format::kKnownAutoclear; }));
        }
        Lock lock(core.mutex);
        impl->log.set_point_interval(options.point_interval_us);
        impl->configure_fine(options.fine);
        // What was recovered can be gone back to, however the image was left.
        impl->log.mark_point(impl->disk.sequence, impl->disk.time, format::PointKind::interval);
        impl->log.on_moved = [raw = impl.get()](const Extent& now, Place from) { raw->fine.moved(now, from); };
        impl->log.on_progress = [raw = impl.get()] { raw->on_progress(); };
    }
    if (options.capacity != nullptr) {
        TRY(impl->open_capacity(*options.capacity));
    }
    if (options.writable && outcome.without_checkpoint) {
        TRY(impl->checkpoint(true));
    }
    core.stats.open_us = elapsed_us(begin, host.now());
    return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Result<void> Engine::settle() {
    if (!impl_->core.writable) {
        return {};
    }
    constexpr uint64_t kWorthCheckpoint = 100'000;  // changes of the map
    TRY(impl_->log.flush(false));
    bool known, worth;
    {
        Lock lock(impl_->core.mutex);
        known = impl_->superblock.durable_sequence == impl_->log.durable().value;
        worth = impl_->disk.entries_applied - impl_->entries_at_checkpoint >= kWorthCheckpoint ||
                impl_->needs_capacity_to_open();
    }
    if (worth) {
        impl_->checkpoint().ok();  // only saves time: without it the log is replayed
    }
    // So that damage to the newest batches cannot be taken for a torn end.
    return known ? Result<void>() : impl_->update_superblock([](format::Superblock&) {});
}

Result<void> Engine::close() {
    impl_->pause();
    impl_->wait_idle();
    if (!impl_->core.writable) {
        return {};
    }
    TRY(settle());
    {
        Lock lock(impl_->core.mutex);
        if (impl_->filling != kNoSegment) {
            impl_->segments.add_ready(impl_->filling);
            impl_->filling = kNoSegment;
        }
    }
    return impl_->trim_image();
}

Result<void> Engine::Impl::writable() const {
    return core.writable ? Result<void>() : Error{EROFS, "image is open read-only"};
}

Result<void> Engine::Impl::check_range(uint64_t offset, uint64_t length, uint64_t limit) const {
    if (offset % kSectorSize != 0 || length % kSectorSize != 0) {
        return Error{EINVAL, text("request at %llu of %llu bytes is not a multiple of %u",
                                  static_cast<ull>(offset), static_cast<ull>(length), kSectorSize)};
    }
    if (length > limit || offset > limit - length) {
        return Error{EINVAL, text("request at %llu of %llu bytes goes past the end at %llu",
                                  static_cast<ull>(offset), static_cast<ull>(length),
                                  static_cast<ull>(limit))};
    }
    return {};
}

Result<void> Engine::Impl::admit(uint64_t offset, uint64_t length, uint64_t EngineStats::*requests,
                                 uint64_t EngineStats::*bytes) {
    Lock lock(core.mutex);
    return admit_locked(offset, length, requests, bytes);
}

Result<void> Engine::Impl::admit_locked(uint64_t offset, uint64_t length, uint64_t EngineStats::*requests,
                                        uint64_t EngineStats::*bytes) {
    TRY(check_range(offset, length, disk.size));
    ++(core.stats.*requests);
    core.stats.*bytes += length;
    return {};
}

Result<void> Engine::Impl::admit_write(uint64_t offset, uint64_t length, bool* is_fine) {
    Lock lock(core.mutex);
    TRY(admit_locked(offset, length, &EngineStats::writes, &EngineStats::write_bytes));
    const Sector start(offset / kSectorSize);
    *is_fine = fine.wants(start, length / kSectorSize);
    forecast.note(ChunkTable::kWritten, start, length / kSectorSize, disk.sequence, disk.time);
    return {};
}

Result<void> Engine::Impl::admit_read(uint64_t offset, uint64_t length, std::optional<unsigned>* staged) {
    Lock lock(core.mutex);
    TRY(admit_locked(offset, length, &EngineStats::reads, &EngineStats::read_bytes));
    const Sector start(offset / kSectorSize);
    *staged = staged_reads.wants(start, length / kSectorSize);
    forecast.note(ChunkTable::kRead, start, length / kSectorSize, disk.sequence, disk.time);
    return {};
}

Result<void> Engine::read(uint64_t offset, std::span<const iovec> buffers) {
    const size_t length = total_length(buffers);
    std::optional<unsigned> staged;
    TRY(impl_->admit_read(offset, length, &staged));
    const Sector from(offset / kSectorSize);
    const Prefetcher::GuestRead waiting(impl_->prefetcher);
    return staged ? impl_->staged_reads.read(nullptr, from, length / kSectorSize, buffers, *staged)
                  : impl_->reader.read(nullptr, from, length / kSectorSize, buffers, 0);
}

// Long writes are cut into pieces that are appended side by side.
Result<void> Engine::Impl::write(Sector start, std::span<const iovec> buffers) {
    const uint64_t sectors = total_length(buffers) / kSectorSize;
    const uint64_t most = log.max_request_sectors();
    if (sectors <= most) {
        return sectors == 0 ? Result<void>() : log.append_data(start, buffers, 0, sectors).discard();
    }
    TaskGroup group(core.host, kMaxParallelWrites);
    for (uint64_t done = 0; done < sectors; done += most) {
        group.run([this, start, buffers, done, part = std::min(most, sectors - done)] {
            return log.append_data(start + done, buffers, done * kSectorSize, part).discard();
        });
    }
    return group.wait();
}

Result<void> Engine::write(uint64_t offset, std::span<const iovec> buffers, std::optional<uint8_t>* changed) {
    if (changed != nullptr) {
        changed->reset();
    }
    TRY(impl_->writable());
    const size_t length = total_length(buffers);
    bool fine;
    TRY(impl_->admit_write(offset, length, &fine));
    impl_->throttle(length);
    const Sector start(offset / kSectorSize);
    return impl_->with_space([&] {
        return fine ? impl_->fine.write(start, buffers, changed) : impl_->write(start, buffers);
    });
}

Result<void> Engine::write_zeroes(uint64_t offset, uint64_t length) {
    TRY(impl_->writable());
    TRY(impl_->admit(offset, length, &EngineStats::zeroes, &EngineStats::zero_bytes));
    return impl_->with_space([&] { return impl_->map_zero(offset, length); });
}

Result<void> Engine::discard(uint64_t offset, uint64_t length) {
    TRY(impl_->writable());
    TRY(impl_->admit(offset, length, &EngineStats::discards, &EngineStats::discard_bytes));
    // Zeros, not a hole: what a backing disk holds must not come back.
    return impl_->with_space([&] { return impl_->map_zero(offset, length); });
}

Result<void> Engine::Impl::map_zero(uint64_t offset, uint64_t length) {
    if (length == 0) {
        return {};
    }
    return log.append_mapping(ExtentKind::zero, Sector(offset / kSectorSize), length / kSectorSize)
        .discard();
}

Result<void> Engine::flush() {
    {
        Lock lock(impl_->core.mutex);
        ++impl_->core.stats.flushes;
    }
    return impl_->core.writable ? impl_->log.flush(true) : Result<void>();
}

Result<RangeStatus> Engine::Impl::status(const FrozenState* view, uint64_t offset, uint64_t length,
                                         bool with_place) {
    TRY(check_range(offset, length, kMaxSize));
    constexpr size_t kExtents = 1024;
    const Sector from(offset / kSectorSize), to = from + length / kSectorSize;
    std::vector<Extent> extents;
    Sector reached;
    {
        Lock lock(core.mutex);
        reached = disk.lookup(view, from, to, kExtents, &extents);
    }
    RangeStatus status;
    Sector end = from;
    if (extents.empty() || extents.front().start > from) {
        end = extents.empty() ? reached : extents.front().start;
    } else {
        status.zero = extents.front().kind == ExtentKind::zero;
        status.data = !status.zero;
        if (with_place && status.data && extents.front().place < kDeltaPlaces) {
            status.place = extents.front().place;
        }
        for (const Extent& extent : extents) {
            if (extent.start != end || (extent.kind == ExtentKind::zero) != status.zero ||
                (status.place && extent.place != *status.place + (extent.start - from))) {
                break;
            }
            end = extent.end();
        }
    }
    status.length = (end - from) * kSectorSize;
    return status;
}

Result<RangeStatus> Engine::status(uint64_t offset, uint64_t length, bool with_place) {
    return impl_->status(nullptr, offset, length, with_place);
}

Result<void> Engine::write_vm_state(uint64_t position, std::span<const iovec> buffers) {
    TRY(impl_->writable());
    TRY(impl_->check_range(position, total_length(buffers), kMaxVmState));
    return impl_->write(kVmStateBase + position / kSectorSize, buffers);
}

Result<void> Engine::read_vm_state(uint64_t position, std::span<const iovec> buffers) {
    TRY(impl_->check_range(position, total_length(buffers), kMaxVmState));
    return impl_->reader.read(nullptr, kVmStateBase + position / kSectorSize,
                              total_length(buffers) / kSectorSize, buffers, 0);
}

uint64_t Engine::size() const {
    Lock lock(impl_->core.mutex);
    return impl_->disk.size;
}

Result<void> Engine::resize(uint64_t size) {
    TRY(impl_->writable());
    TRY(validate_size(size));
    TaskMutex::Guard guard(impl_->core.host, impl_->control);
    const uint64_t old = this->size();
    if (size == old) {
        return impl_->log.flush(false);  // that no resize returns which failed before
    }
    std::vector<uint8_t> records;
    const format::ResizeRecord record{size};
    put_record(records, format::RecordType::resize, &record, sizeof(record));
    // Growth reads as zeros even where the backing disk is longer; what is cut off is forgotten.
    const ExtentKind kind = size > old ? ExtentKind::zero : ExtentKind::hole;
    const Sector from(std::min(size, old) / kSectorSize), to(std::max(size, old) / kSectorSize);
    TRY(impl_->log.append_records(records, kind, from, to - from));
    return impl_->settle("the disk was resized");
}

Result<void> Engine::set_backing(const std::string& file, const std::string& name) {
    TRY(impl_->writable());
    format::Superblock probe{};
    TRY(put_backing(probe, file, name));
    return impl_->update_superblock(
        [&](format::Superblock& block) { put_backing(block, file, name).take(); });
}

void Engine::set_backing_device(Device* backing) {
    Lock lock(impl_->core.mutex);
    impl_->reader.set_backing(backing);
    ++impl_->core.backing_use;
}

void Engine::set_point_interval(int64_t interval_us) {
    Lock lock(impl_->core.mutex);
    impl_->log.set_point_interval(interval_us);
}

void Engine::set_compression_level(int level) {
    Lock lock(impl_->core.mutex);
    impl_->options.compression_level = level;
}

void Engine::set_pack_after(int64_t pack_after_us) {
    Lock lock(impl_->core.mutex);
    impl_->options.pack_after_us = pack_after_us;
    impl_->pack_marks.clear();
    impl_->resting = false;
    impl_->pack_due = impl_->refer_due = impl_->again = true;
    impl_->on_progress();
}

void Engine::set_placement(Placement placement) {
    Lock lock(impl_->core.mutex);
    impl_->options.placement = placement;
    impl_->clean_due = impl_->again = true;
    impl_->on_progress();
}

void Engine::tend() {
    Lock lock(impl_->core.mutex);
    impl_->again = true;
    impl_->on_progress();
}

void Engine::pause_background() { impl_->pause(); }
void Engine::resume_background() { impl_->resume(); }
Result<void> Engine::checkpoint() {
    TRY(impl_->writable());
    return impl_->checkpoint();
}

EngineStats Engine::stats() const {
    Lock lock(impl_->core.mutex);
    return impl_->core.stats;
}

EngineInfo Engine::info() const {
    Lock lock(impl_->core.mutex);
    const Impl& e = *impl_;
    EngineInfo info;
    info.uuid = e.core.uuid;
    info.virtual_size = e.disk.size;
    info.segment_size = e.core.geometry.segment_size;
    info.backing_file.assign(e.superblock.backing_file, e.superblock.backing_file_length);
    info.backing_format.assign(e.superblock.backing_format, e.superblock.backing_format_length);
    info.sequence = e.disk.sequence;
    info.durable = e.log.durable();
    info.snapshots = e.history.snapshots.size();
    info.branches = e.history.branches(e.disk.sequence);
    info.branch = static_cast<uint32_t>(e.history.rollbacks.size());
    info.newest_point = e.log.newest_point_time();
    info.oldest_point = e.disk.time;
    info.floor = e.history.floor;
    info.floor_time = e.history.floor_time;
    info.retention = e.retention();
    if (e.history.floor > Sequence(0)) {
        info.oldest_point = e.history.floor_time;
    }
    info.newest_point_sequence = e.log.newest_point();
    for (uint32_t id = 0; id < e.segments.size(); ++id) {
        const Segment& segment = e.segments[SegmentId(id)];
        info.segments_log += segment.kind == format::SegmentKind::log;
        info.segments_index += segment.kind == format::SegmentKind::index;
        info.segments_checkpoint += segment.kind == format::SegmentKind::checkpoint;
        info.segments_past += segment.past;
        info.segments_stream += segment.kind == format::SegmentKind::stream;
        info.segments_leaving += segment.leaving;
        if (segment.kind == format::SegmentKind::log && !segment.past) {
            info.oldest_point = std::min(info.oldest_point, segment.times.first);
        }
    }
    info.segments_total = e.segments.size();
    info.segments_ready = e.segments.ready_count();
    info.segments_free = info.segments_total - info.segments_log - info.segments_index -
                         info.segments_checkpoint - info.segments_ready - info.segments_stream;
    info.packs = static_cast<uint64_t>(std::count_if(e.history.streams.begin(), e.history.streams.end(),
                                                     [](const StreamInfo& stream) { return stream.is_pack(); }));
    info.streams = e.history.streams.size() - info.packs;
    info.fast.attached = true;
    info.fast.bytes = e.core.geometry.image_bytes(e.segments.size());
    info.fast.used = (info.segments_total - info.segments_ready - info.segments_free) * uint64_t{info.segment_size};
    info.fast.full = e.fast_full;
    info.capacity_id = e.capacity.present() ? e.capacity.id() : e.expected_capacity;
    info.capacity.attached = e.capacity.present();
    info.capacity.bytes = e.capacity.bytes();
    info.capacity.used = e.capacity.used() * uint64_t{info.segment_size};
    info.capacity.full = e.capacity.full();
    for (const StreamInfo& stream : e.history.streams) {
        if (stream.is_pack()) {
            const SegmentTable::StreamUse* const use = e.segments.stream_use(stream.base);
            info.packed_live_bytes += (use == nullptr ? 0 : use->live) * kSectorSize;
            continue;
        }
        TierInfo& tier = stream.on_capacity() ? info.capacity : info.fast;
        ++tier.streams;
        tier.stream_bytes += stream.sectors * kSectorSize;
    }
    info.image_bytes = e.core.geometry.image_bytes(e.segments.size());
    info.live_extents = e.disk.map.extent_count();
    info.map_memory_bytes = e.disk.map.memory_bytes();
    info.views_open = e.disk.view_count();
    info.corrupt = e.core.corrupt;
    return info;
}

bool Engine::totals_right() const {
    Impl& e = *impl_;
    Lock lock(e.core.mutex);
    const uint64_t packed = e.packed_sectors();
    return e.segments.totals(packed) == e.segments.count_all(packed);
}

}  // namespace predsnap
