/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: coalescing of history as a job
 *
 * The engine's background does the work; the job asks for it, watches it and
 * passes on when it is paused or cancelled.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-predsnap.h"
#include "qemu/job.h"
#include "predsnap-int.h"

#define LOOK_EVERY_NS (100 * SCALE_MS)

typedef struct PredsnapCoalesceJob {
    Job common;
    char *node_name;
    BlockDriverState *bs;   /* with a reference, while the job runs */
    uint64_t generation;    /* of the node's engine: it may get another */
    bool has_until;
    int64_t until_us;
} PredsnapCoalesceJob;

static int coroutine_fn co_begin(BlockDriverState *bs, void *opaque,
                                 Error **errp)
{
    PredsnapCoalesceJob *s = opaque;
    BDRVPredsnapState *state = bs->opaque;

    if (pds_coalescing(state->engine, &(PdsCoalescing) { 0 })) {
        error_setg(errp, "predsnap node '%s' is being coalesced by another "
                   "job", s->node_name);
        return -EBUSY;
    }
    bdrv_ref(bs);
    s->bs = bs;
    s->generation = state->generation;
    pds_begin_coalescing(state->engine, s->has_until ? &s->until_us : NULL);
    return 0;
}

/* The engine the job began with, or NULL if the node has another one now. */
static PdsEngine *get_engine(PredsnapCoalesceJob *s)
{
    BDRVPredsnapState *state = s->bs->opaque;
    PdsEngine *engine = predsnap_get(state);

    if (engine && (state->generation != s->generation ||
                   !predsnap_may_write(s->bs))) {
        predsnap_put(state);
        return NULL;
    }
    return engine;
}

static void set_paused(Job *job, bool paused)
{
    PredsnapCoalesceJob *s = container_of(job, PredsnapCoalesceJob, common);
    PdsEngine *engine = s->bs ? get_engine(s) : NULL;

    if (engine) {
        pds_pause_coalescing(engine, paused);
        predsnap_put(s->bs->opaque);
    }
}

static void coroutine_fn predsnap_coalesce_pause(Job *job)
{
    set_paused(job, true);
}

static void coroutine_fn predsnap_coalesce_resume(Job *job)
{
    set_paused(job, false);
}

/* Returns 1 while there is more to do. */
static int coroutine_fn co_look(PredsnapCoalesceJob *s, Error **errp)
{
    PdsEngine *engine = get_engine(s);
    PdsCoalescing status;
    int more = 0;

    if (!engine) {
        error_setg(errp, "predsnap node '%s' was opened again meanwhile, or "
                   "cannot be written to any more; start the job again to go "
                   "on", s->node_name);
        return -ECANCELED;
    }
    if (job_is_cancelled(&s->common)) {
        pds_end_coalescing(engine);
    } else {
        more = pds_coalescing(engine, &status);
        s->common.progress.current = status.done;
        job_progress_set_remaining(&s->common, status.total - status.done);
    }
    predsnap_put(s->bs->opaque);
    if (more == 0 && !job_is_cancelled(&s->common) && status.error) {
        error_setg_errno(errp, status.error, "predsnap node '%s': history "
                         "could not be coalesced", s->node_name);
        return -status.error;
    }
    return more;
}

static int coroutine_fn predsnap_coalesce_run(Job *job, Error **errp)
{
    PredsnapCoalesceJob *s = container_of(job, PredsnapCoalesceJob, common);
    int ret = predsnap_co_run_on_node(s->node_name, true, co_begin, s, errp);

    if (ret < 0) {
        return ret;
    }
    do {
        job_sleep_ns(job, LOOK_EVERY_NS);
        ret = co_look(s, errp);
    } while (ret > 0);
    bdrv_co_unref(s->bs);
    s->bs = NULL;
    return ret;
}

static void predsnap_coalesce_free(Job *job)
{
    PredsnapCoalesceJob *s = container_of(job, PredsnapCoalesceJob, common);

    g_free(s->node_name);
}

static const JobDriver predsnap_coalesce_job_driver = {
    .instance_size = sizeof(PredsnapCoalesceJob),
    .job_type      = JOB_TYPE_PREDSNAP_COALESCE,
    .run           = predsnap_coalesce_run,
    .pause         = predsnap_coalesce_pause,
    .resume        = predsnap_coalesce_resume,
    .free          = predsnap_coalesce_free,
};

void qmp_predsnap_coalesce(const char *job_id, const char *node_name,
                           bool has_until, int64_t until, Error **errp)
{
    PredsnapCoalesceJob *s;

    GRAPH_RDLOCK_GUARD_MAINLOOP();
    if (!predsnap_find_node(node_name, errp)) {
        return;
    }
    s = job_create(job_id, &predsnap_coalesce_job_driver, NULL,
                   qemu_get_aio_context(), JOB_DEFAULT, NULL, NULL, errp);
    if (!s) {
        return;
    }
    s->node_name = g_strdup(node_name);
    s->has_until = has_until;
    s->until_us = until;
    job_start(&s->common);
}
