/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: QMP queries
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-predsnap.h"
#include "predsnap-int.h"

#define QUERY_POINTS_LIMIT_DEFAULT 10000
#define QUERY_INTERVALS_DEFAULT 60
#define QUERY_INTERVALS_MAX 10000

/* --- points --- */

typedef struct PointsCall {
    PdsPointQuery query;
    PredsnapPointList *list;
    PredsnapPointList **tail;
} PointsCall;

static PredsnapKept to_qapi_kept(PdsKept kept)
{
    switch (kept) {
    case PDS_KEPT_ALL:
        return PREDSNAP_KEPT_ALL;
    case PDS_KEPT_WINDOW:
        return PREDSNAP_KEPT_WINDOW;
    case PDS_KEPT_SNAPSHOT:
        return PREDSNAP_KEPT_SNAPSHOT;
    case PDS_KEPT_RULE:
        return PREDSNAP_KEPT_RULE;
    case PDS_KEPT_LEAVING:
        break;
    }
    return PREDSNAP_KEPT_LEAVING;
}

static void add_point(void *opaque, const PdsPoint *from)
{
    PointsCall *call = opaque;
    PredsnapPoint *to = g_new0(PredsnapPoint, 1);

    to->sequence = from->sequence;
    to->time = from->time_us;
    to->branch = from->branch;
    to->flush = from->flush;
    to->bytes_changed = from->bytes_changed;
    to->chunks_changed = from->chunks_changed;
    to->chunks_added = from->chunks_added;
    to->chunks_modified = from->chunks_modified;
    to->chunks_discarded = from->chunks_discarded;
    to->snapshot = g_strdup(from->snapshot);
    to->kept = to_qapi_kept(from->kept);
    QAPI_LIST_APPEND(call->tail, to);
}

static int coroutine_fn GRAPH_RDLOCK
co_query_points(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PointsCall *call = opaque;
    char *message = NULL;
    int ret = pds_points(s->engine, &call->query, add_point, call, &message);

    return ret < 0 ? predsnap_error(bs, ret, message, errp) : 0;
}

PredsnapPointList *coroutine_fn
qmp_predsnap_query_points(const char *node_name, bool has_since, int64_t since,
                          bool has_until, int64_t until, bool has_limit,
                          uint64_t limit, Error **errp)
{
    PointsCall call = {
        .query = {
            .since_us = has_since ? since : INT64_MIN,
            .until_us = has_until ? until : INT64_MAX,
            .limit = has_limit ? limit : QUERY_POINTS_LIMIT_DEFAULT,
        },
    };

    call.tail = &call.list;
    predsnap_co_run_on_node(node_name, false, co_query_points, &call, errp);
    return call.list;
}

/* --- activity --- */

typedef struct ActivityCall {
    PdsPointQuery query;
    size_t intervals;
    PredsnapActivity *found;
    PredsnapActivityIntervalList **tail;
} ActivityCall;

static void add_interval(void *opaque, const PdsInterval *from)
{
    ActivityCall *call = opaque;
    PredsnapActivityInterval *to = g_new0(PredsnapActivityInterval, 1);

    to->time = from->begin_us;
    to->points = from->points;
    to->bytes_changed = from->bytes_changed;
    to->chunks_changed = from->chunks_changed;
    QAPI_LIST_APPEND(call->tail, to);
}

static int coroutine_fn GRAPH_RDLOCK
co_query_activity(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    ActivityCall *call = opaque;
    char *message = NULL;
    PdsActivity facts;
    int ret = pds_activity(s->engine, &call->query, call->intervals, &facts,
                           add_interval, call, &message);

    if (ret < 0) {
        return predsnap_error(bs, ret, message, errp);
    }
    call->found->has_since = call->found->has_until = facts.points > 0;
    call->found->since = facts.begin_us;
    call->found->until = facts.end_us;
    call->found->points = facts.points;
    call->found->bytes_changed = facts.bytes_changed;
    return 0;
}

PredsnapActivity *coroutine_fn
qmp_predsnap_query_activity(const char *node_name, bool has_since,
                            int64_t since, bool has_until, int64_t until,
                            bool has_intervals, uint32_t intervals,
                            Error **errp)
{
    ActivityCall call = {
        .query = {
            .since_us = has_since ? since : INT64_MIN,
            .until_us = has_until ? until : INT64_MAX,
            .limit = UINT64_MAX,
        },
        .intervals = has_intervals ? intervals : QUERY_INTERVALS_DEFAULT,
    };

    if (call.intervals < 1 || call.intervals > QUERY_INTERVALS_MAX) {
        error_setg(errp, "'intervals' must be from 1 to %d",
                   QUERY_INTERVALS_MAX);
        return NULL;
    }
    call.found = g_new0(PredsnapActivity, 1);
    call.tail = &call.found->intervals;
    if (predsnap_co_run_on_node(node_name, false, co_query_activity, &call,
                                errp) < 0) {
        qapi_free_PredsnapActivity(call.found);
        return NULL;
    }
    return call.found;
}

/* --- query-predsnap --- */

static void add_branch(void *opaque, const PdsBranch *from)
{
    PredsnapBranchList ***tail = opaque;
    PredsnapBranch *to = g_new0(PredsnapBranch, 1);

    to->id = from->id;
    to->first = from->first;
    to->last = from->last;
    to->parent = from->parent;
    to->current = from->current;
    QAPI_LIST_APPEND(*tail, to);
}

static void add_snapshot(void *opaque, const PdsSnapshot *from)
{
    PredsnapSnapshotList ***tail = opaque;

    QAPI_LIST_APPEND(*tail, predsnap_to_qapi_snapshot(from));
}

static PredsnapGranularity to_qapi_granularity(PdsGranularity from)
{
    switch (from) {
    case PDS_GRANULARITY_FINE:
        return PREDSNAP_GRANULARITY_FINE;
    case PDS_GRANULARITY_SUB_BLOCK:
        return PREDSNAP_GRANULARITY_SUB_BLOCK;
    case PDS_GRANULARITY_BLOCK:
        return PREDSNAP_GRANULARITY_BLOCK;
    case PDS_GRANULARITY_AUTO:
        break;
    }
    return PREDSNAP_GRANULARITY_AUTO;
}

static PredsnapStagingUse *to_qapi_use(const PdsStagingUse *from)
{
    PredsnapStagingUse *to = g_new0(PredsnapStagingUse, 1);

    to->blocks = from->entries;
    to->hits = from->hits;
    to->misses = from->misses;
    to->admitted = from->admitted;
    to->used = from->used;
    to->evictions = from->evictions;
    to->invalidations = from->invalidations;
    to->refused = from->refused;
    return to;
}

static PredsnapStaging *to_qapi_staging(const PdsFineInfo *from)
{
    PredsnapStaging *to = g_new0(PredsnapStaging, 1);

    to->size = from->fine.staging_bytes;
    to->used = from->staged_bytes;
    to->memory = from->memory_bytes;
    to->hits = from->hits;
    to->misses = from->misses;
    to->evictions = from->evictions;
    to->invalidations = from->invalidations;
    to->refused = from->refused;
    to->stage_reads = from->fine.stage_reads;
    to->rewrite = to_qapi_use(&from->rewrite);
    to->read = to_qapi_use(&from->read);
    to->prefetch = to_qapi_use(&from->prefetch);
    return to;
}

static PredsnapPrefetch *to_qapi_prefetch(const PdsFineInfo *from)
{
    PredsnapPrefetch *to = g_new0(PredsnapPrefetch, 1);

    to->queue = from->fetching.queued;
    to->running = from->fetching.running;
    to->wanted = from->fetching.wanted;
    to->dropped = from->fetching.dropped;
    to->needless = from->fetching.needless;
    to->failed = from->fetching.failures;
    to->done = from->fetching.fetched;
    to->bytes = from->fetching.bytes;
    to->used = from->prefetch.used;
    to->unused = from->fetching.unused;
    to->refused = from->fetching.refused;
    to->late = from->fetching.late;
    to->waits = from->fetching.waits;
    return to;
}

static PredsnapGranularityInfo *to_qapi_fine(const PdsFineInfo *from)
{
    PredsnapGranularityInfo *to = g_new0(PredsnapGranularityInfo, 1);

    to->mode = to_qapi_granularity(from->fine.granularity);
    to->weight = from->fine.weight;
    to->chunks_fine = from->chunks_fine;
    to->deltas = from->live_deltas;
    to->deltas_written = from->deltas;
    to->delta_bytes = from->delta_bytes;
    to->delta_guest_bytes = from->delta_guest_bytes;
    to->materialised = from->materialised;
    return to;
}

static PredsnapInfo *node_info(BlockDriverState *bs, PdsEngine *engine)
{
    BDRVPredsnapState *s = bs->opaque;
    PredsnapInfo *to = g_new0(PredsnapInfo, 1);
    PredsnapBranchList **branches = &to->branches;
    PredsnapSnapshotList **snapshots = &to->snapshots;
    PdsFineInfo fine;
    PdsInfo from;

    pds_info(engine, &from, add_branch, &branches);
    pds_fine_info(engine, &fine);
    pds_snapshots(engine, add_snapshot, &snapshots);
    predsnap_describe_image(qapi_PredsnapInfo_base(to), &from);
    to->node_name = g_strdup(bdrv_get_node_name(bs));
    to->size = from.virtual_size;
    to->writable = predsnap_may_write(bs);
    to->active = !(bs->open_flags & BDRV_O_INACTIVE);
    to->point_interval = s->settings.point_interval_ms;
    to->compression_level = s->settings.compression_level;
    to->pack_after = s->settings.pack_after_s;
    to->placement = s->settings.places_apart ? PREDSNAP_PLACEMENT_APART
                                             : PREDSNAP_PLACEMENT_LOG;
    to->packed = from.packed_live_bytes;
    to->durable = from.durable;
    to->image_size = from.image_bytes;
    to->map_memory = from.map_memory_bytes;
    to->views = from.views_open;
    to->staging = to_qapi_staging(&fine);
    to->prefetch = to_qapi_prefetch(&fine);
    to->granularity = to_qapi_fine(&fine);
    to->prediction = predsnap_prediction_info(engine, &fine.fine);
    to->threshold = predsnap_threshold_info(engine);
    predsnap_add_forecasts(engine, to->snapshots);
    to->stats = predsnap_stats(engine);
    return to;
}

/* Does nothing if the image could not be opened. */
static void add_node_info(PredsnapInfoList ***tail, BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_get(s);

    if (engine) {
        QAPI_LIST_APPEND(*tail, node_info(bs, engine));
        predsnap_put(s);
    }
}

static PredsnapInfoList *query_one(const char *node_name, Error **errp)
{
    PredsnapInfoList *list = NULL, **tail = &list;
    BlockDriverState *bs;

    GRAPH_RDLOCK_GUARD_MAINLOOP();
    bs = predsnap_find_node(node_name, errp);
    if (bs && predsnap_check_usable(bs, false, errp)) {
        add_node_info(&tail, bs);
    }
    return list;
}

PredsnapInfoList *qmp_query_predsnap(const char *node_name, Error **errp)
{
    PredsnapInfoList *list = NULL, **tail = &list;
    BlockDriverState *bs;

    if (node_name) {
        return query_one(node_name, errp);
    }
    GRAPH_RDLOCK_GUARD_MAINLOOP();
    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        if (bs->drv == &bdrv_predsnap) {
            add_node_info(&tail, bs);
        }
    }
    return list;
}
