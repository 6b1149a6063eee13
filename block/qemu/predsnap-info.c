/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: what a node tells about itself; check
 */

#include "qemu/osdep.h"
#include "qemu/uuid.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "predsnap-int.h"

static char *predsnap_uuid_string(const uint8_t id[16])
{
    QemuUUID uuid;

    memcpy(uuid.data, id, sizeof(uuid.data));
    return qemu_uuid_unparse_strdup(&uuid);
}

static PredsnapSegments *predsnap_segments(const PdsInfo *info)
{
    PredsnapSegments *segments = g_new0(PredsnapSegments, 1);

    segments->total = info->segments_total;
    segments->log = info->segments_log;
    segments->index = info->segments_index;
    segments->checkpoint = info->segments_checkpoint;
    segments->ready = info->segments_ready;
    segments->free = info->segments_free;
    segments->stream = info->segments_stream;
    segments->past = info->segments_past;
    segments->leaving = info->segments_leaving;
    return segments;
}

static PredsnapHistory *predsnap_history(const PdsInfo *info)
{
    PredsnapHistory *history = g_new0(PredsnapHistory, 1);
    const PdsRetention *retention = &info->retention;

    history->sequence = info->floor;
    history->has_time = info->floor > 0;
    history->time = info->floor_time_us;
    history->streams = info->streams;
    history->has_cdp_window = retention->has_window;
    history->cdp_window = retention->window_us / 1000000;
    history->has_cdp_bytes = retention->has_bytes;
    history->cdp_bytes = retention->bytes;
    for (unsigned i = retention->rule_count; i-- > 0; ) {
        PredsnapRetentionRule *rule = g_new0(PredsnapRetentionRule, 1);

        rule->every = retention->rules[i].every_us / 1000000;
        rule->q_for = retention->rules[i].for_us / 1000000;
        QAPI_LIST_PREPEND(history->retention, rule);
    }
    return history;
}

static PredsnapTier *predsnap_tier(PredsnapTierKind kind, const PdsTier *from)
{
    PredsnapTier *tier = g_new0(PredsnapTier, 1);

    tier->tier = kind;
    tier->attached = from->attached;
    tier->full = from->full;
    tier->size = from->bytes;
    tier->used = from->used;
    tier->streams = from->streams;
    tier->stream_bytes = from->stream_bytes;
    return tier;
}

static PredsnapTierList *predsnap_tiers(const PdsInfo *info)
{
    PredsnapTierList *tiers = NULL;

    if (info->has_capacity) {
        PredsnapTier *tier = predsnap_tier(PREDSNAP_TIER_KIND_CAPACITY,
                                           &info->capacity);

        tier->uuid = predsnap_uuid_string(info->capacity_id);
        QAPI_LIST_PREPEND(tiers, tier);
    }
    QAPI_LIST_PREPEND(tiers,
                      predsnap_tier(PREDSNAP_TIER_KIND_FAST, &info->fast));
    return tiers;
}

void predsnap_describe_image(PredsnapImage *image, const PdsInfo *info)
{
    image->uuid = predsnap_uuid_string(info->uuid);
    image->tiers = predsnap_tiers(info);
    image->segment_size = info->segment_size;
    image->segments = predsnap_segments(info);
    image->history = predsnap_history(info);
    image->sequence = info->sequence;
    image->branch = info->branch;
    image->has_oldest_point = info->has_points;
    image->oldest_point = info->oldest_point_us;
    image->has_newest_point = info->has_points;
    image->newest_point = info->newest_point_us;
    image->live_extents = info->live_extents;
    image->corrupt = info->corrupt;
}

BlockStatsSpecificPredsnap *predsnap_stats(const PdsEngine *engine)
{
    BlockStatsSpecificPredsnap *to = g_new0(BlockStatsSpecificPredsnap, 1);
    PdsStats from;

    pds_stats(engine, &from);
    to->batches = from.batches;
    to->batch_bytes = from.batch_bytes;
    to->index_bytes = from.index_bytes;
    to->checkpoint_bytes = from.checkpoint_bytes;
    to->prewritten_bytes = from.prewritten_bytes;
    to->points = from.points;
    to->snapshots = from.snapshots;
    to->rollbacks = from.rollbacks;
    to->checkpoints = from.checkpoints;
    to->checksum_errors = from.checksum_errors;
    to->append_errors = from.append_errors;
    to->cleaned_segments = from.cleaned_segments;
    to->moved_bytes = from.moved_bytes;
    to->reclaimed_segments = from.reclaimed_segments;
    to->sealed_bytes = from.sealed_bytes;
    to->stream_bytes = from.stream_bytes;
    to->packed_bytes = from.packed_bytes;
    to->pack_bytes = from.pack_bytes;
    to->streams_referred = from.streams_referred;
    to->streams_compacted = from.streams_compacted;
    to->given_back_bytes = from.given_back_bytes;
    to->moved_streams = from.moved_streams;
    to->moved_stream_bytes = from.moved_stream_bytes;
    to->recovered_batches = from.recovered_batches;
    to->open_time = from.open_us;
    return to;
}

static ImageInfoSpecificPredsnap *predsnap_image_info(const PdsInfo *info)
{
    ImageInfoSpecificPredsnap *image = g_new0(ImageInfoSpecificPredsnap, 1);

    predsnap_describe_image(qapi_ImageInfoSpecificPredsnap_base(image), info);
    image->branches = info->branches;
    image->snapshots = info->snapshots;
    return image;
}

ImageInfoSpecific *predsnap_get_specific_info(BlockDriverState *bs,
                                              Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_get(s);
    ImageInfoSpecific *specific;
    PdsInfo info;

    if (!engine) {
        return NULL;
    }
    pds_info(engine, &info, NULL, NULL);
    predsnap_put(s);
    specific = g_new0(ImageInfoSpecific, 1);
    specific->type = IMAGE_INFO_SPECIFIC_KIND_PREDSNAP;
    specific->u.predsnap.data = predsnap_image_info(&info);
    return specific;
}

BlockStatsSpecific *predsnap_get_specific_stats(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    g_autofree BlockStatsSpecificPredsnap *stats = NULL;
    PdsEngine *engine = predsnap_get(s);
    BlockStatsSpecific *specific;

    if (!engine) {
        return NULL;
    }
    stats = predsnap_stats(engine);
    predsnap_put(s);
    specific = g_new0(BlockStatsSpecific, 1);
    specific->driver = BLOCKDEV_DRIVER_PREDSNAP;
    specific->u.predsnap = *stats;
    return specific;
}

int coroutine_fn predsnap_co_get_info(BlockDriverState *bs,
                                      BlockDriverInfo *bdi)
{
    /* There are no clusters: any run of sectors can be written by itself */
    bdi->cluster_size = 0;
    bdi->vm_state_offset = 0;
    bdi->is_dirty = false;
    return 0;
}

/* --- check --- */

static void predsnap_print_finding(void *opaque, const char *finding)
{
    fprintf(stderr, "%s\n", finding);
}

/* What kept the image from being opened in the usual way. */
static int coroutine_fn GRAPH_RDLOCK
predsnap_co_check_damage(BlockDriverState *bs, BdrvCheckResult *result,
                         bool repair)
{
    BDRVPredsnapState *s = bs->opaque;
    Error *local_err = NULL;
    int ret;

    if (!s->damage) {
        return 0;
    }
    fprintf(stderr, "%s\n", s->damage);
    if (!repair) {
        result->corruptions++;
        return 0;
    }
    ret = predsnap_co_engine_repair(bs, &local_err);
    if (ret < 0) {
        error_report_err(local_err);
        return ret;
    }
    result->corruptions_fixed++;
    return 0;
}

int coroutine_fn predsnap_co_check(BlockDriverState *bs,
                                   BdrvCheckResult *result, BdrvCheckMode fix)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsCheck check;
    PdsInfo info;
    char *message = NULL;
    int ret;

    QEMU_LOCK_GUARD(&s->control);
    if (!s->engine) {
        return -EIO;
    }
    ret = predsnap_co_check_damage(bs, result, fix & BDRV_FIX_ERRORS);
    if (ret < 0) {
        result->check_errors++;
        return ret;
    }
    ret = pds_check(s->engine, &check, predsnap_print_finding, NULL, &message);
    if (ret < 0) {
        fprintf(stderr, "%s\n", message ?: strerror(-ret));
        free(message);
        result->check_errors++;
        return ret;
    }

    pds_info(s->engine, &info, NULL, NULL);
    result->corruptions += check.corruptions;
    result->leaks += DIV_ROUND_UP(check.leaked_bytes, info.segment_size);
    result->image_end_offset = check.image_end;
    return 0;
}
