// SPDX-License-Identifier: GPL-2.0-or-later
//
// The C API of shim.h: translates between its plain structs and the engine's types, and maps the
// engine's errors to errno values, once, in finish().
#include "shim.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "block/engine/activity.h"
#include "block/engine/batch.h"
#include "block/engine/engine.h"
#include "block/engine/format.h"
#include "block/qemu/shim_callbacks.h"
#include "block/qemu/shim_engine.h"

namespace {

static_assert(PDS_SEGMENT_SIZE_MIN == predsnap::format::kMinSegmentSize);
static_assert(PDS_SEGMENT_SIZE_MAX == predsnap::format::kMaxSegmentSize);

using predsnap::CallbackDevice;
using predsnap::CallbackHost;
using predsnap::Error;
using predsnap::Result;

// --- errors ---

int fail(const Error& error, char** message) {
    if (message) {
        *message = error.message.empty() ? nullptr : strdup(error.message.c_str());
    }
    return -error.code;
}

template <typename T>
int finish(const Result<T>& result, char** message = nullptr) {
    return result.ok() ? 0 : fail(result.error(), message);
}

std::string to_string(const char* s) {
    return s ? s : "";
}

predsnap::Moment to_moment(const PdsMoment& moment) {
    predsnap::Moment result;
    switch (moment.kind) {
        case PDS_MOMENT_SNAPSHOT:
            result.snapshot = to_string(moment.snapshot);
            break;
        case PDS_MOMENT_TIME:
            result.time = predsnap::Time(moment.time_us);
            break;
        case PDS_MOMENT_SEQUENCE:
            result.sequence = predsnap::Sequence(moment.sequence);
            break;
    }
    return result;
}

PdsSnapshot from_snapshot(const predsnap::SnapshotInfo& info) {
    PdsSnapshot snapshot{};
    snapshot.id = info.id;
    snapshot.name = info.name.c_str();
    snapshot.sequence = info.sequence.value;
    snapshot.time_us = info.time.value;
    snapshot.disk_size = info.disk_size;
    snapshot.vm_state_size = info.vm_state_size;
    snapshot.vm_clock_ns = info.vm_clock_ns;
    snapshot.icount = info.icount;
    snapshot.horizon_s = info.horizon_s;
    return snapshot;
}

PdsStatus from_status(const predsnap::RangeStatus& status) {
    return {status.length, status.data, status.zero, status.place.has_value(),
            status.place ? predsnap::to_bytes(*status.place) : 0};
}

template <size_t N>
void copy_text(char (&to)[N], const std::string& from) {
    const size_t length = std::min(from.size(), N - 1);
    memcpy(to, from.data(), length);
    to[length] = '\0';
}


static_assert(static_cast<int>(predsnap::Granularity::automatic) == PDS_GRANULARITY_AUTO &&
              static_cast<int>(predsnap::Granularity::block) == PDS_GRANULARITY_BLOCK);

predsnap::ThresholdOptions to_threshold(const PdsThreshold& from) {
    return {from.threshold, from.adaptive, from.min, from.max, from.target_hit_rate};
}

predsnap::FineOptions to_fine(const PdsFine& from) {
    return {from.staging_bytes,
            static_cast<predsnap::Granularity>(from.granularity),
            from.weight,
            from.stage_reads,
            {from.predict_staging, from.predict_granularity, from.predict_pool, from.predict_placement},
            to_threshold(from.threshold)};
}

}  // namespace

struct PdsEngine {
    CallbackHost host;
    CallbackDevice file;
    CallbackDevice backing;
    CallbackDevice capacity;
    std::unique_ptr<predsnap::Engine> engine;
};

struct PdsView {
    std::unique_ptr<predsnap::View> view;
};

namespace predsnap {

Engine& engine_of(const PdsEngine* engine) { return *engine->engine; }
int finish_call(const Result<void>& result, char** message) { return finish(result, message); }

}  // namespace predsnap

// --- images ---

// The log is taken as written in requests of full size, as copying a disk does it.
uint64_t pds_image_bytes(uint64_t data_bytes, uint64_t segment_size) {
    using predsnap::kBlockSize;
    const uint64_t size = segment_size ? segment_size : predsnap::CreateOptions().segment_size;
    if (data_bytes == 0) {
        return predsnap::format::kSuperblockArea;
    }
    const uint64_t request = predsnap::Batch::Limits(static_cast<uint32_t>(size)).payload_bytes;
    const uint64_t requests_per_segment = (size - kBlockSize) / (request + kBlockSize);
    const auto segments_for = [](uint64_t bytes, uint64_t per_segment) {
        return (bytes + per_segment - 1) / per_segment;
    };
    const uint64_t log = segments_for(data_bytes, requests_per_segment * request);
    // Checksums and entries once more, for each segment.
    const uint64_t index = segments_for(data_bytes / 256, size);
    // The next segments of log and index are reserved, and a pool is kept ready.
    const uint64_t ready = segments_for(predsnap::OpenOptions().pool_min, size);
    return predsnap::format::kSuperblockArea + (log + index + ready + 2) * size;
}

bool pds_probe(const void* head, size_t length) {
    return predsnap::Engine::probe(head, length);
}

uint64_t pds_size_max(void) {
    return predsnap::kMaxSize;
}

int pds_create(PdsHost host, PdsDevice file, const PdsCreateOptions* options, char** message) {
    CallbackHost callback_host(host);
    CallbackDevice device(file);
    predsnap::CreateOptions create;
    create.size = options->size;
    if (options->segment_size > UINT32_MAX) {
        return fail(Error{EINVAL, "segment size is too large: the largest is 64 MiB"}, message);
    }
    if (options->segment_size) {
        create.segment_size = static_cast<uint32_t>(options->segment_size);
    }
    create.prewrite = options->prewrite;
    create.backing_file = to_string(options->backing_file);
    create.backing_format = to_string(options->backing_format);
    return finish(predsnap::Engine::create(callback_host, device, create), message);
}

static int64_t pack_after_us(int64_t seconds) { return seconds < 0 ? -1 : seconds * 1'000'000; }

static predsnap::Placement placement(bool apart) {
    return apart ? predsnap::Placement::apart : predsnap::Placement::log;
}

int pds_open(PdsHost host, PdsDevice file, PdsDevice backing, PdsDevice capacity, const PdsOpenOptions* options,
             PdsEngine** engine, char** message) {
    auto opened = std::unique_ptr<PdsEngine>(new PdsEngine{CallbackHost(host), CallbackDevice(file), CallbackDevice(backing),
                                                           CallbackDevice(capacity), nullptr});
    predsnap::OpenOptions open;
    open.writable = options->writable;
    open.repair = options->repair;
    open.backing = &opened->backing;
    open.capacity = capacity.ops != nullptr ? &opened->capacity : nullptr;
    open.point_interval_us = int64_t{options->point_interval_ms} * 1000;
    open.compression_level = options->compression_level;
    open.pack_after_us = pack_after_us(options->pack_after_s);
    open.placement = placement(options->places_apart);
    open.fine = to_fine(options->fine);
    auto result = predsnap::Engine::open(opened->host, opened->file, open);
    if (!result.ok()) {
        return fail(result.error(), message);
    }
    opened->engine = result.take();
    *engine = opened.release();
    return 0;
}

int pds_close(PdsEngine* engine, char** message) {
    const std::unique_ptr<PdsEngine> closed(engine);
    return finish(closed->engine->close(), message);
}

void pds_abandon(PdsEngine* engine) {
    delete engine;
}

int pds_settle(PdsEngine* engine, char** message) {
    return finish(engine->engine->settle(), message);
}

// --- guest I/O ---

int pds_preadv(PdsEngine* engine, uint64_t offset, const iovec* iov, size_t niov) {
    return finish(engine->engine->read(offset, {iov, niov}));
}

int pds_pwritev(PdsEngine* engine, uint64_t offset, const iovec* iov, size_t niov, int* changed) {
    if (changed == nullptr) {
        return finish(engine->engine->write(offset, {iov, niov}));
    }
    std::optional<uint8_t> share;
    const int result = finish(engine->engine->write(offset, {iov, niov}, &share));
    *changed = share ? int{*share} : PDS_CHANGED_UNKNOWN;
    return result;
}

int pds_write_zeroes(PdsEngine* engine, uint64_t offset, uint64_t length) {
    return finish(engine->engine->write_zeroes(offset, length));
}

int pds_discard(PdsEngine* engine, uint64_t offset, uint64_t length) {
    return finish(engine->engine->discard(offset, length));
}

int pds_flush(PdsEngine* engine) {
    return finish(engine->engine->flush());
}

int pds_read_vm_state(PdsEngine* engine, uint64_t position, const iovec* iov, size_t niov) {
    return finish(engine->engine->read_vm_state(position, {iov, niov}));
}

int pds_write_vm_state(PdsEngine* engine, uint64_t position, const iovec* iov, size_t niov) {
    return finish(engine->engine->write_vm_state(position, {iov, niov}));
}

int pds_status(PdsEngine* engine, uint64_t offset, uint64_t length, bool with_place,
               PdsStatus* status) {
    const auto result = engine->engine->status(offset, length, with_place);
    if (result.ok()) {
        *status = from_status(result.value());
    }
    return finish(result);
}

uint64_t pds_size(const PdsEngine* engine) {
    return engine->engine->size();
}

int pds_resize(PdsEngine* engine, uint64_t size, char** message) {
    return finish(engine->engine->resize(size), message);
}

int pds_set_backing(PdsEngine* engine, const char* file, const char* format, char** message) {
    return finish(engine->engine->set_backing(to_string(file), to_string(format)), message);
}

// --- control ---

void pds_set_fine(PdsEngine* engine, const PdsFine* fine) { engine->engine->set_fine(to_fine(*fine)); }

void pds_set_point_interval(PdsEngine* engine, uint32_t interval_ms) {
    engine->engine->set_point_interval(int64_t{interval_ms} * 1000);
}

void pds_set_compression_level(PdsEngine* engine, uint8_t level) {
    engine->engine->set_compression_level(level);
}

void pds_set_pack_after(PdsEngine* engine, int64_t seconds) {
    engine->engine->set_pack_after(pack_after_us(seconds));
}

void pds_set_placement(PdsEngine* engine, bool apart) { engine->engine->set_placement(placement(apart)); }

void pds_tend(PdsEngine* engine) { engine->engine->tend(); }

namespace {

predsnap::Retention from_c(const PdsRetention& from) {
    predsnap::Retention retention;
    if (from.has_window) {
        retention.window_us = from.window_us;
    }
    if (from.has_bytes) {
        retention.bytes = from.bytes;
    }
    for (unsigned i = 0; i < from.rule_count; ++i) {
        retention.rules.push_back({from.rules[i].every_us, from.rules[i].for_us});
    }
    return retention;
}

}  // namespace

int pds_check_retention(const PdsEngine* engine, const PdsRetention* retention, char** message) {
    return finish(engine->engine->check_retention(from_c(*retention)), message);
}

int pds_set_retention(PdsEngine* engine, const PdsRetention* retention, char** message) {
    return finish(engine->engine->set_retention(from_c(*retention)), message);
}

void pds_begin_coalescing(PdsEngine* engine, const int64_t* until_us) {
    engine->engine->begin_coalescing(until_us != nullptr ? std::optional(predsnap::Time(*until_us)) : std::nullopt);
}

void pds_pause_coalescing(PdsEngine* engine, bool paused) { engine->engine->pause_coalescing(paused); }

void pds_end_coalescing(PdsEngine* engine) { engine->engine->end_coalescing(); }

bool pds_coalescing(const PdsEngine* engine, PdsCoalescing* status) {
    const predsnap::Engine::CoalesceStatus now = engine->engine->coalescing();
    *status = {now.done, now.total, now.error};
    return now.running;
}

void pds_pause_background(PdsEngine* engine) {
    engine->engine->pause_background();
}

void pds_resume_background(PdsEngine* engine) {
    engine->engine->resume_background();
}

// --- snapshots and history ---

int pds_snapshot_create(PdsEngine* engine, PdsSnapshot* snapshot, char** message) {
    predsnap::SnapshotInfo wanted;
    wanted.name = to_string(snapshot->name);
    wanted.vm_state_size = snapshot->vm_state_size;
    wanted.vm_clock_ns = snapshot->vm_clock_ns;
    wanted.icount = snapshot->icount;
    wanted.horizon_s = snapshot->horizon_s;
    const auto result = engine->engine->snapshot_create(wanted);
    if (result.ok()) {
        const char* name = snapshot->name;
        *snapshot = from_snapshot(result.value());
        snapshot->name = name;
    }
    return finish(result, message);
}

int pds_snapshot_delete(PdsEngine* engine, const char* name, char** message) {
    return finish(engine->engine->snapshot_delete(to_string(name)), message);
}

void pds_snapshots(const PdsEngine* engine, PdsSnapshotFn* fn, void* opaque) {
    for (const predsnap::SnapshotInfo& info : engine->engine->snapshots()) {
        const PdsSnapshot snapshot = from_snapshot(info);
        fn(opaque, &snapshot);
    }
}

int pds_resolve(PdsEngine* engine, const PdsMoment* moment, PdsResolved* resolved, char** message) {
    const auto result = engine->engine->resolve(to_moment(*moment));
    if (result.ok()) {
        *resolved = {result.value().sequence.value, result.value().time.value, result.value().size};
    }
    return finish(result, message);
}

int pds_rollback(PdsEngine* engine, const PdsMoment* moment, PdsRollback* rollback,
                 char** message) {
    const auto result = engine->engine->rollback(to_moment(*moment));
    if (result.ok()) {
        const auto& done = result.value();
        *rollback = {done.from.value, done.to.value, done.to_time.value, done.branch};
    }
    return finish(result, message);
}

namespace {

PdsRetention to_retention(const predsnap::Retention& from) {
    PdsRetention retention{};
    retention.has_window = from.window_us.has_value();
    retention.window_us = from.window_us.value_or(0);
    retention.has_bytes = from.bytes.has_value();
    retention.bytes = from.bytes.value_or(0);
    for (const predsnap::RetentionRule& rule : from.rules) {
        retention.rules[retention.rule_count++] = {rule.every_us, rule.for_us};
    }
    return retention;
}

PdsKept to_kept(predsnap::Kept kept) {
    switch (kept) {
        case predsnap::Kept::all:
            return PDS_KEPT_ALL;
        case predsnap::Kept::window:
            return PDS_KEPT_WINDOW;
        case predsnap::Kept::snapshot:
            return PDS_KEPT_SNAPSHOT;
        case predsnap::Kept::rule:
            return PDS_KEPT_RULE;
        case predsnap::Kept::leaving:
            break;
    }
    return PDS_KEPT_LEAVING;
}

}  // namespace

int pds_points(PdsEngine* engine, const PdsPointQuery* query, PdsPointFn* fn, void* opaque,
               char** message) {
    predsnap::PointQuery wanted;
    wanted.since = predsnap::Time(query->since_us);
    wanted.until = predsnap::Time(query->until_us);
    wanted.limit = query->limit;
    const auto result = engine->engine->points(wanted);
    if (!result.ok()) {
        return fail(result.error(), message);
    }
    for (const predsnap::PointInfo& info : result.value()) {
        PdsPoint point{};
        point.sequence = info.sequence.value;
        point.time_us = info.time.value;
        point.branch = info.branch;
        point.flush = info.flush;
        point.bytes_changed = info.bytes_changed;
        point.chunks_changed = info.chunks_changed();
        point.chunks_added = info.chunks_added;
        point.chunks_modified = info.chunks_modified;
        point.chunks_discarded = info.chunks_discarded;
        point.snapshot = info.snapshot.empty() ? nullptr : info.snapshot.c_str();
        point.kept = to_kept(info.kept);
        fn(opaque, &point);
    }
    return 0;
}

int pds_activity(PdsEngine* engine, const PdsPointQuery* query, size_t intervals, PdsActivity* activity, PdsIntervalFn* fn,
                 void* opaque, char** message) {
    predsnap::PointQuery wanted;
    wanted.since = predsnap::Time(query->since_us);
    wanted.until = predsnap::Time(query->until_us);
    wanted.limit = query->limit;
    const auto points = engine->engine->points(wanted);
    if (!points.ok()) {
        return fail(points.error(), message);
    }
    const predsnap::Activity found = predsnap::activity_of(points.value(), wanted.since, wanted.until, intervals);
    *activity = {found.begin.value, found.end.value, found.points, found.bytes_changed};
    for (const predsnap::Activity::Interval& from : found.intervals) {
        const PdsInterval interval{from.begin.value, from.points, from.bytes_changed, from.chunks_changed};
        fn(opaque, &interval);
    }
    return 0;
}

int pds_changes(PdsEngine* engine, const PdsMoment* from, const PdsMoment* to, const PdsChangesQuery* query,
                PdsChanges* changes, PdsRangeFn* fn, void* opaque, char** message) {
    const auto result = engine->engine->changes(to_moment(*from), to_moment(*to),
                                                {query->offset, query->ranges_max, query->bytes_max});
    if (!result.ok()) {
        return fail(result.error(), message);
    }
    const predsnap::Changes& found = result.value();
    *changes = {.from = found.from.sequence.value,
                .to = found.to.sequence.value,
                .from_time_us = found.from.time.value,
                .to_time_us = found.to.time.value,
                .from_size = found.from.size,
                .to_size = found.to.size,
                .complete = !found.next,
                .next = found.next.value_or(0)};
    for (const predsnap::Changes::Range& range : found.ranges) {
        fn(opaque, range.offset, range.length);
    }
    return 0;
}

// --- views ---

int pds_view_open(PdsEngine* engine, const PdsMoment* moment, PdsView** view, char** message) {
    auto result = engine->engine->open_view(to_moment(*moment));
    if (!result.ok()) {
        return fail(result.error(), message);
    }
    *view = new PdsView{result.take()};
    return 0;
}

void pds_view_close(PdsView* view) {
    delete view;
}

uint64_t pds_view_size(const PdsView* view) {
    return view->view->size();
}

uint64_t pds_view_sequence(const PdsView* view) {
    return view->view->sequence().value;
}

int pds_view_preadv(PdsView* view, uint64_t offset, const iovec* iov, size_t niov) {
    return finish(view->view->read(offset, {iov, niov}));
}

int pds_view_read_vm_state(PdsView* view, uint64_t position, const iovec* iov, size_t niov) {
    return finish(view->view->read_vm_state(position, {iov, niov}));
}

int pds_view_status(PdsView* view, uint64_t offset, uint64_t length, PdsStatus* status) {
    const auto result = view->view->status(offset, length);
    if (result.ok()) {
        *status = from_status(result.value());
    }
    return finish(result);
}

// --- facts ---

static PdsTier to_tier(const predsnap::TierInfo& from) {
    return {from.attached, from.full, from.bytes, from.used, from.streams, from.stream_bytes};
}

void pds_info(const PdsEngine* engine, PdsInfo* info, PdsBranchFn* fn, void* opaque) {
    const predsnap::EngineInfo from = engine->engine->info();
    static_assert(sizeof(info->uuid) == sizeof(from.uuid));
    memcpy(info->uuid, from.uuid.data(), sizeof(info->uuid));
    info->virtual_size = from.virtual_size;
    info->segment_size = from.segment_size;
    copy_text(info->backing_file, from.backing_file);
    copy_text(info->backing_format, from.backing_format);
    info->sequence = from.sequence.value;
    info->durable = from.durable.value;
    info->snapshots = from.snapshots;
    info->branch = from.branch;
    info->branches = from.branches.size();
    info->has_points = from.newest_point_sequence.value != 0;
    info->oldest_point_us = from.oldest_point.value;
    info->newest_point_us = from.newest_point.value;
    info->newest_point_sequence = from.newest_point_sequence.value;
    info->segments_total = from.segments_total;
    info->segments_log = from.segments_log;
    info->segments_index = from.segments_index;
    info->segments_checkpoint = from.segments_checkpoint;
    info->segments_ready = from.segments_ready;
    info->segments_free = from.segments_free;
    info->segments_stream = from.segments_stream;
    info->streams = from.streams;
    info->fast = to_tier(from.fast);
    info->capacity = to_tier(from.capacity);
    info->has_capacity = from.capacity_id != predsnap::Uuid{};
    memcpy(info->capacity_id, from.capacity_id.data(), sizeof(info->capacity_id));
    info->segments_past = from.segments_past;
    info->segments_leaving = from.segments_leaving;
    info->floor = from.floor.value;
    info->floor_time_us = from.floor_time.value;
    info->retention = to_retention(from.retention);
    info->image_bytes = from.image_bytes;
    info->live_extents = from.live_extents;
    info->map_memory_bytes = from.map_memory_bytes;
    info->packed_live_bytes = from.packed_live_bytes;
    info->views_open = from.views_open;
    info->corrupt = from.corrupt;
    if (!fn) {
        return;
    }
    for (const predsnap::BranchInfo& branch : from.branches) {
        const PdsBranch element = {branch.id, branch.first.value, branch.last.value,
                                   branch.parent.value, branch.current};
        fn(opaque, &element);
    }
}

void pds_fine_info(const PdsEngine* engine, PdsFineInfo* info) {
    const predsnap::FineInfo from = engine->engine->fine_info();
    const predsnap::EngineStats stats = engine->engine->stats();
    info->fine.granularity = static_cast<PdsGranularity>(from.options.granularity);
    info->fine.weight = static_cast<uint8_t>(from.options.weight);
    info->fine.staging_bytes = from.options.staging_bytes;
    info->staged_bytes = from.staging.bytes;
    info->memory_bytes = from.staging.memory_bytes;
    info->hits = from.staging.hits;
    info->misses = from.staging.misses;
    info->evictions = from.staging.evictions;
    info->invalidations = from.staging.invalidations;
    info->refused = from.staging.refused;
    info->fine.stage_reads = from.options.stage_reads;
    info->fine.predict_staging = from.options.use.staging;
    info->fine.predict_granularity = from.options.use.granularity;
    info->fine.predict_pool = from.options.use.pool;
    info->fine.predict_placement = from.options.use.placement;
    PdsStagingUse* const uses[] = {&info->rewrite, &info->read, &info->prefetch};
    for (size_t i = 0; i < 3; ++i) {
        const predsnap::StagingUse& use = from.staging.by_purpose[i];
        *uses[i] = {use.entries, use.hits,      use.misses,        use.admitted,
                    use.used,    use.evictions, use.invalidations, use.refused};
    }
    const predsnap::PrefetchInfo fetch = engine->engine->prefetch_info();
    info->fetching = {fetch.queued, fetch.running, fetch.unused, fetch.wanted, fetch.dropped, fetch.needless,
                      fetch.failures, fetch.fetched, fetch.bytes, fetch.refused, fetch.late, fetch.waits};
    info->chunks_fine = from.chunks_fine;
    info->live_deltas = from.live_deltas;
    info->deltas = stats.deltas;
    info->delta_bytes = stats.delta_bytes;
    info->delta_guest_bytes = stats.deltas * predsnap::kBlockSize;
    info->materialised = stats.materialised;
}

void pds_stats(const PdsEngine* engine, PdsStats* stats) {
    const predsnap::EngineStats from = engine->engine->stats();
    stats->batches = from.batches;
    stats->batch_bytes = from.batch_bytes;
    stats->index_bytes = from.index_bytes;
    stats->checkpoint_bytes = from.checkpoint_bytes;
    stats->prewritten_bytes = from.prewritten_bytes;
    stats->points = from.points;
    stats->snapshots = from.snapshots;
    stats->rollbacks = from.rollbacks;
    stats->checkpoints = from.checkpoints;
    stats->checksum_errors = from.checksum_errors;
    stats->append_errors = from.append_errors;
    stats->cleaned_segments = from.cleaned_segments;
    stats->moved_bytes = from.moved_bytes;
    stats->reclaimed_segments = from.reclaimed_segments;
    stats->sealed_bytes = from.sealed_bytes;
    stats->stream_bytes = from.stream_bytes;
    stats->packed_bytes = from.packed_bytes;
    stats->pack_bytes = from.pack_bytes;
    stats->streams_referred = from.streams_referred;
    stats->streams_compacted = from.streams_compacted;
    stats->given_back_bytes = from.given_back_bytes;
    stats->moved_streams = from.moved_streams;
    stats->moved_stream_bytes = from.moved_stream_bytes;
    stats->recovered_batches = from.recovered_batches;
    stats->open_us = from.open_us;
}

int pds_check(PdsEngine* engine, PdsCheck* check, PdsFindingFn* fn, void* opaque, char** message) {
    const auto result = engine->engine->check({});
    if (!result.ok()) {
        return fail(result.error(), message);
    }
    const predsnap::CheckResult& found = result.value();
    *check = {found.corruptions, found.leaks, found.extents_checked, found.image_end};
    for (const std::string& finding : found.findings) {
        fn(opaque, finding.c_str());
    }
    return 0;
}
