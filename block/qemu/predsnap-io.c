/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: guest I/O
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/qapi-events-predsnap.h"
#include "predsnap-int.h"

#define POINT_EVENT_INTERVAL_MS 1000

/* Reads into or writes from the part of @qiov that begins at @qiov_offset. */
static int coroutine_fn GRAPH_RDLOCK
predsnap_co_transfer(BlockDriverState *bs, bool write, int64_t offset,
                     int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_co_get(s);
    QEMUIOVector slice;
    int ret;

    if (unlikely(!engine)) {
        return -EIO;
    }
    BLKDBG_CO_EVENT(bs->file, write ? BLKDBG_WRITE_AIO : BLKDBG_READ_AIO);
    if (!write) {
        predsnap_note(s, PDS_ACCESS_READ, offset, bytes, PDS_CHANGED_UNKNOWN);
    }
    qemu_iovec_init_slice(&slice, qiov, qiov_offset, bytes);
    if (write) {
        int changed = PDS_CHANGED_UNKNOWN;

        ret = pds_pwritev(engine, offset, slice.iov, slice.niov,
                          unlikely(s->access_log) ? &changed : NULL);
        predsnap_note(s, PDS_ACCESS_WRITE, offset, bytes, changed);
    } else if (unlikely(s->loaded_snapshot)) {
        ret = pds_view_preadv(s->loaded_snapshot, offset, slice.iov,
                              slice.niov);
    } else {
        ret = pds_preadv(engine, offset, slice.iov, slice.niov);
    }
    qemu_iovec_destroy(&slice);
    predsnap_put(s);
    return ret;
}

int coroutine_fn
predsnap_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                        QEMUIOVector *qiov, size_t qiov_offset,
                        BdrvRequestFlags flags)
{
    return predsnap_co_transfer(bs, false, offset, bytes, qiov, qiov_offset);
}

/* With FUA a request is done when it is durable. */
static int coroutine_fn GRAPH_RDLOCK
predsnap_co_finish_write(BlockDriverState *bs, int ret, BdrvRequestFlags flags)
{
    if (ret == 0 && (flags & BDRV_REQ_FUA)) {
        ret = predsnap_co_flush(bs);
    }
    return ret;
}

int coroutine_fn
predsnap_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                         QEMUIOVector *qiov, size_t qiov_offset,
                         BdrvRequestFlags flags)
{
    int ret = predsnap_co_transfer(bs, true, offset, bytes, qiov, qiov_offset);

    return predsnap_co_finish_write(bs, ret, flags);
}

int coroutine_fn
predsnap_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                          BdrvRequestFlags flags)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_co_get(s);
    int ret;

    if (unlikely(!engine)) {
        return -EIO;
    }
    predsnap_note(s, PDS_ACCESS_WRITE_ZEROES, offset, bytes,
                  PDS_CHANGED_UNKNOWN);
    /* Zeros take no space in the log, whether they may be unmapped or not */
    ret = pds_write_zeroes(engine, offset, bytes);
    predsnap_put(s);
    return predsnap_co_finish_write(bs, ret, flags);
}

int coroutine_fn
predsnap_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_co_get(s);
    int ret;

    if (unlikely(!engine)) {
        return -EIO;
    }
    predsnap_note(s, PDS_ACCESS_DISCARD, offset, bytes, PDS_CHANGED_UNKNOWN);
    ret = pds_discard(engine, offset, bytes);
    predsnap_put(s);
    return ret;
}

static bool predsnap_may_announce(BDRVPredsnapState *s, int64_t now_ms)
{
    QEMU_LOCK_GUARD(&s->event_lock);
    if (now_ms - s->point_event_ms < POINT_EVENT_INTERVAL_MS) {
        return false;
    }
    s->point_event_ms = now_ms;
    return true;
}

void predsnap_announce_point(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine;
    PdsInfo info;

    if (!predsnap_may_announce(s, qemu_clock_get_ms(QEMU_CLOCK_REALTIME))) {
        return;
    }
    engine = predsnap_get(s);
    if (!engine) {
        return; /* the image is being closed */
    }
    pds_info(engine, &info, NULL, NULL);
    predsnap_put(s);
    WITH_QEMU_LOCK_GUARD(&s->event_lock) {
        if (s->point_event_sequence == info.newest_point_sequence) {
            return;
        }
        s->point_event_sequence = info.newest_point_sequence;
    }
    qapi_event_send_predsnap_point(bdrv_get_node_name(bs),
                                   info.newest_point_sequence,
                                   info.newest_point_us);
}

void predsnap_announce_shrunk(BlockDriverState *bs, const char *message)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_get(s);
    PdsInfo info;

    if (!engine) {
        return; /* the image is being closed */
    }
    pds_info(engine, &info, NULL, NULL);
    predsnap_put(s);
    qapi_event_send_predsnap_window_shrunk(
        bdrv_get_node_name(bs), info.floor, info.floor_time_us,
        info.retention.window_us / 1000000, message);
}

void predsnap_announce_tier(BlockDriverState *bs, PdsEvent event,
                            const char *message)
{
    const char *node_name = bdrv_get_node_name(bs);

    if (event == PDS_EVENT_CAPACITY_ERROR) {
        error_report("predsnap node '%s': %s", node_name, message);
        qapi_event_send_predsnap_tier_error(node_name, PREDSNAP_TIER_KIND_CAPACITY,
                                            message);
        return;
    }
    qapi_event_send_predsnap_tier_full(
        node_name,
        event == PDS_EVENT_FAST_FULL ? PREDSNAP_TIER_KIND_FAST
                                     : PREDSNAP_TIER_KIND_CAPACITY,
        message);
}

/*
 * Not bdrv_co_flush_to_disk: the engine flushes the file when that is right,
 * and the block layer would do it once more.
 */
int coroutine_fn predsnap_co_flush(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_co_get(s);
    int ret;

    if (unlikely(!engine)) {
        return -EIO;
    }
    BLKDBG_CO_EVENT(bs->file, BLKDBG_FLUSH_TO_DISK);
    ret = pds_flush(engine);
    predsnap_put(s);
    if (ret == 0) {
        predsnap_announce_point(bs);
    }
    return ret;
}

int coroutine_fn
predsnap_co_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                         int64_t bytes, int64_t *pnum, int64_t *map,
                         BlockDriverState **file)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsStatus status;
    PdsEngine *engine = predsnap_co_get(s);
    int ret;

    if (unlikely(!engine)) {
        return -EIO;
    }
    if (unlikely(s->loaded_snapshot)) {
        ret = pds_view_status(s->loaded_snapshot, offset, bytes, &status);
    } else {
        ret = pds_status(engine, offset, bytes, want_zero, &status);
    }
    predsnap_put(s);
    if (ret < 0) {
        return ret;
    }
    *pnum = status.length;
    if (status.has_place) {
        *map = status.place;
        *file = bs->file->bs;
    }
    return (status.has_place ? BDRV_BLOCK_OFFSET_VALID : 0) |
           (status.data ? BDRV_BLOCK_DATA : 0) |
           (status.zero ? BDRV_BLOCK_ZERO : 0);
}

int64_t coroutine_fn predsnap_co_getlength(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_get(s);
    int64_t length;

    if (unlikely(!engine)) {
        return bs->total_sectors * BDRV_SECTOR_SIZE;
    }
    length = s->loaded_snapshot ? pds_view_size(s->loaded_snapshot)
                                : pds_size(engine);
    predsnap_put(s);
    return length;
}
