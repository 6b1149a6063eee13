/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap block driver
 *
 * A copy-on-write format whose image is a log: every write is appended, every
 * guest flush is a point the disk can be taken back to. All of that is in the
 * engine (predsnap/shim.h); the driver fits it into QEMU's block layer.
 *
 * This file: opening, closing, reopening and handing over an image.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qobject/qdict.h"
#include "predsnap-int.h"

/* What is due by its age is so exactly. */
#define TEND_EVERY_MS 1000

static int predsnap_probe(const uint8_t *buf, int buf_size,
                          const char *filename)
{
    return pds_probe(buf, buf_size) ? 100 : 0;
}

/* --- open and close --- */

static void predsnap_take_backing_names(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsInfo info;

    pds_info(s->engine, &info, NULL, NULL);
    /* The block layer has made auto_backing_file the name of the open node */
    if (!g_str_equal(info.backing_file, bs->backing_file)) {
        pstrcpy(bs->backing_file, sizeof(bs->backing_file), info.backing_file);
        pstrcpy(bs->auto_backing_file, sizeof(bs->auto_backing_file),
                info.backing_file);
    }
    pstrcpy(bs->backing_format, sizeof(bs->backing_format),
            info.backing_format);
}

static int coroutine_fn GRAPH_RDLOCK
predsnap_co_open(BlockDriverState *bs, void *opaque, Error **errp)
{
    int ret = predsnap_co_engine_open(bs, errp);

    if (ret < 0) {
        return ret;
    }
    predsnap_take_backing_names(bs);
    return 0;
}

/* --- what is due by age --- */

static void predsnap_tend(void *opaque)
{
    BlockDriverState *bs = opaque;
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_get(s);

    if (engine) {
        pds_tend(engine);
        predsnap_put(s);
    }
    timer_mod(s->tend_timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + TEND_EVERY_MS);
}

/* After the settings have changed. */
static void predsnap_tend_start(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;

    timer_free(g_steal_pointer(&s->tend_timer));
    if (s->settings.pack_after_s < 0) {
        return;
    }
    s->tend_timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                  SCALE_MS, predsnap_tend, bs);
    timer_mod(s->tend_timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + TEND_EVERY_MS);
}

/* Drained sections reach the node as soon as it has children. */
static void predsnap_init_state(BDRVPredsnapState *s)
{
    qemu_co_mutex_init(&s->control);
    qemu_mutex_init(&s->event_lock);
    qemu_mutex_init(&s->drain_lock);
    QLIST_INIT(&s->uncounted);
    QLIST_INIT(&s->views);
}

static void predsnap_free_state(BDRVPredsnapState *s)
{
    qemu_mutex_destroy(&s->event_lock);
    qemu_mutex_destroy(&s->drain_lock);
    g_free(s->damage);
    g_free(s->settings.access_log);
}

static int predsnap_open_all(BlockDriverState *bs, QDict *options, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    Error *local_err = NULL;
    int ret;

    ret = bdrv_open_file_child(NULL, options, "file", bs, errp);
    if (ret < 0) {
        return ret;
    }
    if (!predsnap_absorb_options(options, &s->settings, errp)) {
        return -EINVAL;
    }
    s->capacity = bdrv_open_child(NULL, options, "capacity", bs, &child_of_bds,
                                  BDRV_CHILD_DATA | BDRV_CHILD_METADATA, true,
                                  &local_err);
    if (local_err) {
        error_propagate(errp, local_err);
        return -EINVAL;
    }
    ret = predsnap_run(bs, predsnap_co_open, NULL, errp);
    if (ret < 0) {
        return ret;
    }
    if (!predsnap_access_log_open(bs, errp)) {
        predsnap_run(bs, predsnap_co_engine_close, NULL, NULL);
        return -EINVAL;
    }
    return 0;
}

static int predsnap_open(BlockDriverState *bs, QDict *options, int flags,
                         Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    int ret;

    predsnap_init_state(s);
    ret = predsnap_open_all(bs, options, errp);
    if (ret < 0) {
        predsnap_free_state(s);
        return ret;
    }
    predsnap_tend_start(bs);
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP |
                               BDRV_REQ_NO_FALLBACK;
    bs->supported_truncate_flags = BDRV_REQ_ZERO_WRITE;
    return 0;
}

static void predsnap_close(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    Error *local_err = NULL;

    timer_free(g_steal_pointer(&s->tend_timer));
    predsnap_access_log_close(bs);
    if (predsnap_run(bs, predsnap_co_engine_close, NULL, &local_err) < 0) {
        error_report_err(local_err);
    }
    assert(QLIST_EMPTY(&s->views)); /* each holds a reference to the node */
    predsnap_free_state(s);
}

/* --- reopen --- */

/* Whether a reopen puts another node in the place of the file child. */
static bool predsnap_reopen_moves(BDRVReopenState *state)
{
    const char *file = qdict_get_try_str(state->options, "file");

    return file && !g_str_equal(file,
                                bdrv_get_node_name(state->bs->file->bs));
}

static void predsnap_free_settings(PredsnapSettings *settings)
{
    g_free(settings->access_log);
    g_free(settings);
}

/* Its thread writes on; so the file stays the one it was opened with. */
static bool predsnap_check_access_log(BlockDriverState *bs,
                                      const PredsnapSettings *settings,
                                      Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;

    if (g_strcmp0(settings->access_log, s->settings.access_log) != 0 ||
        settings->access_log_size != s->settings.access_log_size) {
        error_setg(errp, "predsnap node '%s': options '"
                   PREDSNAP_OPT_ACCESS_LOG "' and '"
                   PREDSNAP_OPT_ACCESS_LOG_SIZE "' cannot be changed while "
                   "the node is open", bdrv_get_node_name(bs));
        return false;
    }
    return true;
}

static int GRAPH_UNLOCKED
predsnap_reopen_prepare(BDRVReopenState *state, BlockReopenQueue *queue,
                        Error **errp)
{
    PredsnapSettings *settings = g_new0(PredsnapSettings, 1);
    int ret = 0;

    if (!predsnap_absorb_options(state->options, settings, errp)) {
        predsnap_free_settings(settings);
        return -EINVAL;
    }
    if (!predsnap_check_retention(state->bs, settings, errp) ||
        !predsnap_check_access_log(state->bs, settings, errp)) {
        predsnap_free_settings(settings);
        return -EINVAL;
    }
    if (!(state->flags & BDRV_O_RDWR) || predsnap_reopen_moves(state)) {
        ret = predsnap_run(state->bs, predsnap_co_engine_settle, NULL, errp);
    }
    if (ret < 0) {
        predsnap_free_settings(settings);
        return ret;
    }
    state->opaque = settings;
    return 0;
}

static void GRAPH_UNLOCKED predsnap_reopen_commit(BDRVReopenState *state)
{
    BlockDriverState *bs = state->bs;
    BDRVPredsnapState *s = bs->opaque;
    PredsnapSettings *settings = state->opaque;
    PdsEngine *engine;

    g_free(s->settings.access_log);
    s->settings = *settings;
    engine = predsnap_get(s);
    if (engine) {
        pds_set_point_interval(engine, s->settings.point_interval_ms);
        pds_set_fine(engine, &s->settings.fine);
        pds_set_compression_level(engine, s->settings.compression_level);
        pds_set_pack_after(engine, s->settings.pack_after_s);
        pds_set_placement(engine, s->settings.places_apart);
        predsnap_put(s);
    }
    predsnap_tend_start(bs);
    g_free(settings);
}

static int coroutine_fn GRAPH_RDLOCK
predsnap_co_open_other_image(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    int ret = predsnap_co_engine_replace(bs, NULL, errp);

    if (ret < 0) {
        return ret;
    }
    predsnap_take_backing_names(bs);
    predsnap_co_content_changed(bs, pds_size(s->engine));
    return 0;
}

static int coroutine_fn GRAPH_RDLOCK
predsnap_co_apply_retention(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    char *message = NULL;
    int ret;

    if (!s->engine || !s->engine_writable || !predsnap_may_write(bs)) {
        return 0;
    }
    ret = predsnap_co_set_retention(bs, s->engine, &message);
    return ret < 0 ? predsnap_error(bs, ret, message, errp) : 0;
}

/* Now children are as they will be, and an image can be opened for writing. */
static void GRAPH_UNLOCKED predsnap_reopen_commit_post(BDRVReopenState *state)
{
    BlockDriverState *bs = state->bs;
    BDRVPredsnapState *s = bs->opaque;
    PredsnapCoFn *fn = predsnap_co_apply_retention;
    Error *local_err = NULL;

    if (state->old_file_bs) {
        fn = predsnap_co_open_other_image;
    } else if (predsnap_may_write(bs) && !(s->engine && s->engine_writable)) {
        fn = predsnap_co_engine_replace;
    }
    if (predsnap_run(bs, fn, NULL, &local_err) < 0) {
        /* Too late to fail. Requests will, until the next attempt. */
        error_reportf_err(local_err, "Could not reopen the image: ");
    }
}

static void GRAPH_UNLOCKED predsnap_reopen_abort(BDRVReopenState *state)
{
    predsnap_free_settings(state->opaque);
}

/* --- migration --- */

static int GRAPH_RDLOCK predsnap_inactivate(BlockDriverState *bs)
{
    Error *local_err = NULL;
    int ret;

    if (!predsnap_may_write(bs)) {
        return 0;
    }
    ret = predsnap_run(bs, predsnap_co_engine_settle, NULL, &local_err);
    if (ret < 0) {
        error_report_err(local_err);
    }
    return ret;
}

static void coroutine_fn GRAPH_RDLOCK
predsnap_co_invalidate_cache(BlockDriverState *bs, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;

    QEMU_LOCK_GUARD(&s->control);
    if (predsnap_co_engine_replace(bs, NULL, errp) == 0) {
        predsnap_take_backing_names(bs);
    }
}

/* --- draining --- */

/* Called more than once if the node was opened in a drained section. */
static void predsnap_drain_begin(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine;

    QEMU_LOCK_GUARD(&s->drain_lock);
    s->drained = true;
    engine = predsnap_get(s);
    if (engine) {
        pds_pause_background(engine);
        predsnap_put(s);
    }
}

static void predsnap_drain_end(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine;

    QEMU_LOCK_GUARD(&s->drain_lock);
    s->drained = false;
    predsnap_count_tasks(bs);
    engine = predsnap_get(s);
    if (engine) {
        if (predsnap_may_write(bs)) {
            pds_resume_background(engine);
        }
        predsnap_put(s);
    }
}

static void predsnap_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = BDRV_SECTOR_SIZE;
    bs->bl.pwrite_zeroes_alignment = BDRV_SECTOR_SIZE;
    bs->bl.pdiscard_alignment = BDRV_SECTOR_SIZE;
}

static int predsnap_has_zero_init(BlockDriverState *bs)
{
    return 1;
}

BlockDriver bdrv_predsnap = {
    .format_name                    = "predsnap",
    .instance_size                  = sizeof(BDRVPredsnapState),
    .is_format                      = true,
    .supports_backing               = true,
    .mutable_opts                   = predsnap_mutable_opts,
    .create_opts                    = &predsnap_create_opts,
    .amend_opts                     = &predsnap_amend_opts,

    .bdrv_probe                     = predsnap_probe,
    .bdrv_co_create                 = predsnap_co_create,
    .bdrv_co_create_opts            = predsnap_co_create_opts,
    .bdrv_has_zero_init             = predsnap_has_zero_init,
    .bdrv_measure                   = predsnap_measure,

    .bdrv_open                      = predsnap_open,
    .bdrv_close                     = predsnap_close,
    .bdrv_reopen_prepare            = predsnap_reopen_prepare,
    .bdrv_reopen_commit             = predsnap_reopen_commit,
    .bdrv_reopen_commit_post        = predsnap_reopen_commit_post,
    .bdrv_reopen_abort              = predsnap_reopen_abort,
    .bdrv_child_perm                = bdrv_default_perms,
    .bdrv_refresh_limits            = predsnap_refresh_limits,
    .bdrv_inactivate                = predsnap_inactivate,
    .bdrv_co_invalidate_cache       = predsnap_co_invalidate_cache,
    .bdrv_drain_begin               = predsnap_drain_begin,
    .bdrv_drain_end                 = predsnap_drain_end,

    .bdrv_co_preadv_part            = predsnap_co_preadv_part,
    .bdrv_co_pwritev_part           = predsnap_co_pwritev_part,
    .bdrv_co_pwrite_zeroes          = predsnap_co_pwrite_zeroes,
    .bdrv_co_pdiscard               = predsnap_co_pdiscard,
    .bdrv_co_flush                  = predsnap_co_flush,
    .bdrv_co_block_status           = predsnap_co_block_status,
    .bdrv_co_getlength              = predsnap_co_getlength,
    .bdrv_co_truncate               = predsnap_co_truncate,

    .bdrv_co_get_info               = predsnap_co_get_info,
    .bdrv_get_specific_info         = predsnap_get_specific_info,
    .bdrv_get_specific_stats        = predsnap_get_specific_stats,
    .bdrv_co_check                  = predsnap_co_check,
    .bdrv_amend_options             = predsnap_amend_options,
    .bdrv_co_change_backing_file    = predsnap_co_change_backing_file,

    .bdrv_snapshot_create           = predsnap_snapshot_create,
    .bdrv_snapshot_goto             = predsnap_snapshot_goto,
    .bdrv_snapshot_delete           = predsnap_snapshot_delete,
    .bdrv_snapshot_list             = predsnap_snapshot_list,
    .bdrv_snapshot_load_tmp         = predsnap_snapshot_load_tmp,
    .bdrv_co_save_vmstate           = predsnap_co_save_vmstate,
    .bdrv_co_load_vmstate           = predsnap_co_load_vmstate,
};

static void predsnap_init(void)
{
    bdrv_register(&bdrv_predsnap);
}

block_init(predsnap_init);
