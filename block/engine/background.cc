// SPDX-License-Identifier: GPL-2.0-or-later
//
// Work in the background: index blobs, the pool of ready segments, checkpoints. One task does a step
// after another until there is nothing to do, or it is paused. All of it can fail (no space, say) without
// harm: it is tried again when the log has moved on by a segment.
#include <algorithm>
#include <cstring>
#include <utility>

#include "engine_impl.h"

namespace predsnap {

namespace {

// Closed segments kept in RAM before the engine flushes of its own accord; fewer where no history is kept, since
// they cannot be cleaned before that.
constexpr size_t kMaxUnflushed = 8;
constexpr size_t kMaxUnflushedWithoutHistory = 1;
constexpr uint32_t kFillStep = 1 << 20;
constexpr int64_t kRatePeriodUs = 1'000'000;
// What it takes to drop history: a checkpoint, a stream, an index segment, and one for the log.
constexpr size_t kReserve = 4;
// A checkpoint is due after so many changes of the map, or so much log: that much is replayed at worst when
// the image is opened.
constexpr uint64_t kCheckpointEntries = 1'000'000;
// But not before several times its own size was written, so that it costs little.
constexpr uint64_t kCheckpointRatio = 16;

}  // namespace

void Engine::Impl::on_progress() {
    const Time now = core.host.now();
    const uint64_t opened = segments.log().size();
    measure_rate(now);
    if (opened != segments_opened) {
        segments_opened = opened;
        index_failed = pool_failed = checkpoint_failed = floor_failed = flush_failed = clean_failed = false;
        learn_failed = materialise_failed = false;
        reclaim_due = clean_due = coalesce_due = true;
        coalesce_failed = cut_failed = pack_failed = refer_failed = compact_failed = false;
        pack_due = refer_due = true;
        count_flushes();
        // Else nobody waits for the cleaner, and to look at all segments takes time.
        retention().window_us == 0 ? note_pressing(space()) : set_pressing(false);
        seal_failed = seal_wait > 0 && --seal_wait > 0;
        tiers_failed = tiers_wait > 0 && --tiers_wait > 0;
        coalesce_capacity_due = true;
    }
    count_age();
    note_pack_mark();
    fine.sweep();
    start_tiers_work();
    if (working || paused || !core.writable) {
        return;
    }
    working = true;
    core.host.spawn([this] {
        Lock lock(core.mutex);
        do {
            again = false;
            lock.unlock();
            while (work_step()) {
            }
            lock.lock();
        } while (again && !paused);
        working = false;
        end_demand();
        short_of_space = false;  // it is as it is
        set_pressing(false);
        idle.wake_all(core.host);
    });
}

void Engine::Impl::measure_rate(Time now) {
    const int64_t passed = elapsed_us(rate_since, now);
    if (passed >= 0 && passed < kRatePeriodUs) {
        return;
    }
    const double appended = static_cast<double>(core.stats.batch_bytes - rate_bytes);
    const double rate = passed > 0 ? appended * 1e6 / static_cast<double>(passed) : 0;
    bytes_per_second = std::max(rate, (bytes_per_second + rate) / 2);  // up at once, down slowly
    rate_since = now;
    rate_bytes = core.stats.batch_bytes;
}

void Engine::Impl::count_flushes() {
    const uint64_t flushes = core.stats.flushes - std::exchange(flushes_counted, core.stats.flushes);
    flushes_per_segment = (flushes_per_segment + static_cast<double>(flushes)) / 2;
}

void Engine::Impl::pause() {
    Lock lock(core.mutex);
    paused = true;
    prefetcher.pause();
    throttled.wake_all(core.host);
}

void Engine::Impl::resume() {
    Lock lock(core.mutex);
    paused = false;
    prefetcher.resume();
    again = true;
    on_progress();
}

void Engine::Impl::wait_idle() {
    Lock lock(core.mutex);
    while (working || tiers_working) {
        idle.wait(core.host, lock);
    }
    prefetcher.wait_idle(lock);
}

bool Engine::Impl::work_step() {
    {
        Lock lock(core.mutex);
        if (paused) {
            return false;
        }
    }
    return write_index_step() || flush_step() || raise_floor_step() || drop_stream_step() || reclaim_step() ||
           checkpoint_step() || give_back_step() || clean_step() || fill_pool_step() || learn_deltas_step() ||
           materialise_step() || coalesce_step() || cut_step() || order_step() || pack_step() || refer_step() || compact_step();
}

bool Engine::Impl::write_index_step() {
    Lock lock(core.mutex);
    if (index_failed || !log.index_ready()) {
        return false;
    }
    const SegmentId id = log.open_indexes().front().segment;
    log.open_indexes().front().clock = segments[id].age_mark;
    const std::vector<uint8_t> blob = log.open_indexes().front().encode();
    lock.unlock();
    const Result<IndexStream::Appended> appended = stream.append(blob);
    lock.lock();
    if (!appended.ok()) {
        index_failed = true;
        return false;
    }
    segments[id].index = appended.value().begin;
    segments[id].index_span = appended.value().span;
    log.open_indexes().pop_front();
    return true;
}

// Closed segments whose index waits for a flush that the guest does not send.
bool Engine::Impl::flush_step() {
    {
        Lock lock(core.mutex);
        const size_t most = on_demand() || resting        ? 0
                            : retention().window_us == 0 ? kMaxUnflushedWithoutHistory
                                                         : kMaxUnflushed;
        if (index_failed || log.closed_segments() <= most || log.index_ready()) {
            return false;
        }
    }
    if (!log.flush(false).ok()) {
        Lock lock(core.mutex);
        index_failed = true;
        return false;
    }
    Lock lock(core.mutex);
    return log.index_ready();
}

// Where history is limited: segments that become free are used again; and some are for dropping history when there is no
// space.
size_t Engine::Impl::limited_pool() const {
    const bool may_drop = retention().window_us.value_or(0) > 0;
    return options.pool_min / core.geometry.segment_size + (may_drop ? kReserve : 0);
}

// Writes a piece of a new segment ahead of time: into space already written, an append and its flush
// take about half as long as into space only allocated.
bool Engine::Impl::fill_pool_step() {
    Lock lock(core.mutex);
    if (filling == kNoSegment) {
        if (segments.ready_count() >= pool_target() || segments.log().empty()) {
            fast_full = short_of_space = false;
            return false;
        }
        if (pool_failed) {
            return false;
        }
        const Result<SegmentId> reserved = segments.reserve(core.geometry);
        if (!reserved.ok()) {
            pool_failed = true;
            return false;
        }
        filling = reserved.value();
        filled = 0;
    }
    const SegmentId id = filling;
    const uint32_t length = std::min(kFillStep, core.geometry.segment_size - filled);
    lock.unlock();
    if (zeros.size() == 0) {
        zeros = AlignedBuffer(kFillStep);
        std::memset(zeros.data(), 0, zeros.size());
    }
    const Result<void> result =
        core.file.pwrite(core.geometry.offset(id) + filled, zeros.data(), length);
    lock.lock();
    filled += length;
    if (result.ok()) {
        core.stats.prewritten_bytes += length;
        note_grown(id);
    } else {
        pool_failed = true;
    }
    if (!result.ok() && result.error().code == ENOSPC) {
        segments.add_bare(id);
        filling = kNoSegment;
        full_at = id;
        lock.unlock();
        note_full();
        return true;  // it may be that history can be dropped
    }
    if (!result.ok() || filled == core.geometry.segment_size) {
        segments.add_ready(id);
        filling = kNoSegment;
    }
    return result.ok();
}

bool Engine::Impl::checkpoint_is_due() const {
    const uint64_t bytes = core.stats.batch_bytes - batch_bytes_at_checkpoint;
    const uint64_t entries = disk.entries_applied - entries_at_checkpoint;
    const bool due =
        bytes >= options.checkpoint_segments * core.geometry.segment_size || entries >= kCheckpointEntries;
    const bool is_new = disk.sequence.value != superblock.checkpoint_sequence;
    return due && is_new && !checkpoint_failed && bytes >= kCheckpointRatio * checkpoint_bytes;
}

bool Engine::Impl::checkpoint_step() {
    {
        Lock lock(core.mutex);
        const bool wanted = checkpoint_is_due() || checkpoint_frees_space() || checkpoint_wanted;
        if (!wanted || checkpoint_failed) {
            return false;
        }
    }
    const bool done = checkpoint().ok();
    Lock lock(core.mutex);
    checkpoint_wanted = checkpoint_wanted && !done;
    if (done) {
        return true;
    }
    checkpoint_failed = true;
    return false;
}

// All of the checkpoint but the map, and a view that holds the map still.
CheckpointParts Engine::Impl::capture(FrozenState* view) {
    Lock lock(core.mutex);
    CheckpointParts parts;
    parts.sequence = disk.sequence;
    parts.time = disk.time;
    parts.history = history;
    parts.log = log.applied_position();
    parts.index = stream.tail();
    for (const SegmentIndex& index : log.open_indexes()) {
        if (index.ordinal <= parts.log.ordinal) {
            parts.open_indexes.push_back(index);
        }
    }
    for (uint32_t id = 0; id < segments.size(); ++id) {
        const Segment& segment = segments[SegmentId(id)];
        const bool is_log = segment.kind == format::SegmentKind::log && segment.ordinal <= parts.log.ordinal;
        if ((!is_log && segment.kind != format::SegmentKind::index) || segment.leaving) {
            continue;
        }
        format::SegmentRow row{};
        row.id = id;
        row.kind = static_cast<uint8_t>(segment.kind);
        row.ordinal = segment.ordinal;
        row.first_sequence = segment.first.value;
        row.last_sequence = segment.last.value;
        row.first_time = segment.times.first.value;
        row.last_time = segment.times.last.value;
        row.index = segment.index;
        row.index_span = segment.index_span;
        row.clock = segment.age_mark;
        parts.segments.push_back(row);
    }
    parts.fine_chunks = fine.map().fine_chunks();
    view->sequence = view->pinned = disk.sequence;
    disk.add_view(view);
    return parts;
}

Result<void> Engine::Impl::write_checkpoint(CheckpointWriter& writer, const CheckpointParts& parts,
                                            const FrozenState& view) {
    constexpr size_t kExtentsAtOnce = 2048;
    std::vector<Extent> extents;
    for (Sector at{0}; at < kSectorLimit;) {
        extents.clear();
        {
            Lock lock(core.mutex);
            at = disk.lookup(&view, at, kSectorLimit, kExtentsAtOnce, &extents);
        }
        TRY(writer.put_extents(extents));
    }
    return writer.finish(parts);
}

void Engine::Impl::forget_newest_checkpoint(bool previous_is_good) {
    superblock.checkpoint_segment = previous_is_good ? superblock.previous_segment : kNoSegment.value;
    superblock.checkpoint_sequence = previous_is_good ? superblock.previous_sequence : 0;
    superblock.checkpoint_id = previous_is_good ? superblock.previous_id : 0;
    superblock.previous_segments = 0;
    previous_segments.clear();
}

Result<void> Engine::Impl::checkpoint(bool again) {
    TaskMutex::Guard guard(core.host, checkpointing);
    uint64_t id, batch_bytes, entries;
    {
        Lock lock(core.mutex);
        if (disk.sequence.value == 0 || (disk.sequence.value == superblock.checkpoint_sequence && !again)) {
            return {};
        }
        id = ++last_checkpoint_id;
    }
    CheckpointWriter writer(core, segments, id);
    FrozenState view;
    CheckpointParts parts;
    {
        // A rollback appends its record first and changes the map then: not in between.
        TaskMutex::Guard no_rollback(core.host, control);
        // Counted when it is captured: while a rollback is waited for, the log may move on by as much as makes one due.
        Lock lock(core.mutex);
        batch_bytes = core.stats.batch_bytes;
        entries = disk.entries_applied;
        lock.unlock();
        parts = capture(&view);
    }
    const Result<void> written = write_checkpoint(writer, parts, view);
    thaw(&view);
    TRY(written);
#if PREDSNAP_CANARY != 3  // a known bug: the superblock names a checkpoint that is not durable
    TRY(log.flush(false));
    // The map's log must be durable too, even if it was before this checkpoint was written.
    TRY(core.file.flush());
#endif
    const Result<void> named = update_superblock([&](format::Superblock& block) {
        // The one before is kept, in case this one is damaged one day.
        block.previous_segments = static_cast<uint32_t>(checkpoint_segments.size());
        block.previous_segment = checkpoint_segments.empty() ? 0 : block.checkpoint_segment;
        block.previous_sequence = block.checkpoint_sequence;
        block.previous_id = block.checkpoint_id;
        block.previous_index = checkpoint_index;
        if (parts.history.floor > Sequence(0)) {
            block.log.segment = kNoSegment.value;  // its beginning is going to be something else
        }
        block.checkpoint_segment = writer.first_segment().value;
        block.checkpoint_sequence = parts.sequence.value;
        block.checkpoint_id = id;
    });
    writer.keep();
    Lock lock(core.mutex);
    for (const SegmentId segment : writer.segments()) {
        segments[segment].announced = false;
        segments[segment].kind = format::SegmentKind::checkpoint;
    }
    if (!named.ok()) {
        // The superblock may be on the disk all the same: until it is overwritten, both are in use.
        doubtful_segments.insert(doubtful_segments.end(), writer.segments().begin(),
                                 writer.segments().end());
        return named;
    }
    for (const SegmentId old : previous_segments) {
        segments.release(old);
    }
    previous_segments = std::move(checkpoint_segments);
    previous_index = checkpoint_index;
    checkpoint_index = parts.index.at.ordinal;
    reclaim_due = true;
    checkpoint_segments = writer.segments();
    checkpoint_bytes = writer.bytes();
    batch_bytes_at_checkpoint = batch_bytes;
    entries_at_checkpoint = entries;
    ++core.stats.checkpoints;
    core.stats.checkpoint_bytes += writer.bytes();
    return {};
}

Result<void> Engine::Impl::update_superblock(const std::function<void(format::Superblock&)>& change) {
    TaskMutex::Guard guard(core.host, superblock_mutex);
    format::Superblock next = superblock;
    ++next.generation;
    change(next);
    {
        Lock lock(core.mutex);
        next.virtual_size = disk.size;
        next.durable_sequence = log.durable().value;
    }
    TRY(write_superblock(core.file, next));
    TRY(core.file.flush());
    Lock lock(core.mutex);
    superblock = next;
    // What an earlier attempt may have left in this slot is overwritten.
    for (const SegmentId id : doubtful_segments) {
        segments.release(id);
    }
    doubtful_segments.clear();
    return {};
}

Result<void> Engine::Impl::trim_image() {
    uint64_t bytes;
    {
        Lock lock(core.mutex);
        if (history.floor > Sequence(0)) {
            return {};  // checkpoints may name segments there that were free afterwards; their space is given back
        }
        const size_t pool = options.pool_min / core.geometry.segment_size;
        segments.drop_trailing_ready(std::max(pool, ready_at_open));
        bytes = core.geometry.image_bytes(segments.size());
    }
    TRY_ASSIGN(const uint64_t length, core.file.length());
    return length > bytes ? core.file.truncate(bytes) : Result<void>();
}

}  // namespace predsnap
