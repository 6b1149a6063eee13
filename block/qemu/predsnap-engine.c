/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: the engine's comings and goings
 *
 * An engine that was opened for writing is never turned into a reading one.
 * When its node becomes read-only or inactive, the engine is settled (nothing
 * is left to write) and paused, and goes on answering from memory. When the
 * node becomes active or writable again it continues, or gives way to a new
 * engine if somebody else may have written to the image in between.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "predsnap-int.h"

/*
 * While the source of a migration still writes to the image, what is read of
 * it here may be torn.
 */
#define INACTIVE_OPEN_ATTEMPTS 5

bool predsnap_may_write(BlockDriverState *bs)
{
    return !bdrv_is_read_only(bs) &&
           !(bs->open_flags & (BDRV_O_INACTIVE | BDRV_O_NO_IO));
}

static int coroutine_fn GRAPH_RDLOCK
co_try_open(BlockDriverState *bs, bool writable, bool repair,
            PdsEngine **engine, char **message)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsOpenOptions options = {
        .writable = writable,
        .repair = repair,
        .point_interval_ms = s->settings.point_interval_ms,
        .fine = s->settings.fine,
        .compression_level = s->settings.compression_level,
        .pack_after_s = s->settings.pack_after_s,
        .places_apart = s->settings.places_apart,
    };
    int ret;

    *message = NULL;
    s->engine_writable = writable;
    ret = pds_open(predsnap_host(bs), predsnap_file_device(bs),
                   predsnap_backing_device(bs), predsnap_capacity_device(bs),
                   &options, engine, message);
    if (ret < 0 || !writable) {
        return ret;
    }
    ret = predsnap_co_set_retention(bs, *engine, message);
    if (ret < 0) {
        pds_close(*engine, NULL);
        *engine = NULL;
        predsnap_co_wait_for_tasks(bs);
    }
    return ret;
}

/* From here on requests use the engine. */
static void coroutine_fn GRAPH_RDLOCK co_publish(BlockDriverState *bs,
                                                 PdsEngine *engine)
{
    BDRVPredsnapState *s = bs->opaque;

    predsnap_co_views_reopen(bs, engine);
    s->generation++;
    QEMU_LOCK_GUARD(&s->drain_lock);
    if (s->drained) {
        pds_pause_background(engine);
    }
    qatomic_set(&s->engine, engine);
}

PdsEngine *coroutine_fn predsnap_co_get(BDRVPredsnapState *s)
{
    PdsEngine *engine = predsnap_get(s);

    if (unlikely(!engine)) {
        WITH_QEMU_LOCK_GUARD(&s->control) {
            /* who replaces it holds the lock until there is another one */
        }
        engine = predsnap_get(s);
    }
    return engine;
}

int coroutine_fn predsnap_co_engine_open(BlockDriverState *bs, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    bool may_write = predsnap_may_write(bs);
    PdsEngine *engine = NULL;
    char *message = NULL;
    int attempts = bs->open_flags & BDRV_O_INACTIVE ? INACTIVE_OPEN_ATTEMPTS
                                                    : 1;
    int ret;

    assert(!s->engine);
    do {
        free(message);
        ret = co_try_open(bs, may_write, false, &engine, &message);
    } while (ret < 0 && --attempts > 0);

    if (ret < 0 && (bs->open_flags & BDRV_O_CHECK)) {
        /* Only to look at it. What is not readable may yet be worth keeping */
        s->damage = g_strdup(message ?: strerror(-ret));
        free(message);
        ret = co_try_open(bs, false, true, &engine, &message);
    }
    if (ret < 0) {
        g_free(g_steal_pointer(&s->damage));
        return predsnap_error(bs, ret, message, errp);
    }
    co_publish(bs, engine);
    return 0;
}

int coroutine_fn
predsnap_co_engine_close(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = qatomic_xchg(&s->engine, NULL);
    char *message = NULL;
    int ret;

    if (!engine) {
        return 0;
    }
    while (qatomic_read(&s->users)) {
        predsnap_co_yield();
    }
    predsnap_views_close(bs);
    if (s->loaded_snapshot) {
        pds_view_close(g_steal_pointer(&s->loaded_snapshot));
    }
    g_free(g_steal_pointer(&s->damage));

    if (!s->engine_writable || !predsnap_may_write(bs)) {
        pds_pause_background(engine);
        predsnap_co_wait_for_tasks(bs);
        pds_abandon(engine);
        return 0;
    }
    ret = pds_close(engine, &message);
    predsnap_co_wait_for_tasks(bs); /* they are done with the engine only */
    return ret < 0 ? predsnap_error(bs, ret, message, errp) : 0;
}

int coroutine_fn
predsnap_co_engine_replace(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;

    /* What this engine knows of the image may be out of date */
    s->engine_writable = false;
    predsnap_co_engine_close(bs, NULL, NULL);
    return predsnap_co_engine_open(bs, errp);
}

int coroutine_fn predsnap_co_engine_repair(BlockDriverState *bs, Error **errp)
{
    PdsEngine *engine;
    char *message;
    int ret;

    predsnap_co_engine_close(bs, NULL, NULL); /* it was opened for reading */
    ret = co_try_open(bs, true, true, &engine, &message);
    if (ret < 0) {
        return predsnap_error(bs, ret, message, errp);
    }
    co_publish(bs, engine);
    return 0;
}

int coroutine_fn
predsnap_co_engine_settle(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    char *message = NULL;
    int ret;

    if (!s->engine || !s->engine_writable || !predsnap_may_write(bs)) {
        return 0;
    }
    ret = pds_settle(s->engine, &message);
    return ret < 0 ? predsnap_error(bs, ret, message, errp) : 0;
}
