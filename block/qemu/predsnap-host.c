/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: what the engine runs on
 *
 * The engine's tasks are coroutines and its devices are child nodes. A request
 * calls the engine from its own coroutine, which holds the graph lock; tasks
 * that the engine starts by itself hold the lock and count as requests in
 * flight of the node while they run, so that draining waits for them. Those
 * that begin in a drained section find the background paused, end without I/O,
 * and do not count.
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "qapi/qapi-events-block-core.h"
#include "qapi/qapi-events-predsnap.h"
#include "block/aio.h"
#include "block/thread-pool.h"
#include "system/block-backend.h"
#include "predsnap-int.h"

/* Reports of one kind a second. A guest can cause as many as it likes. */
#define REPORTS_PER_SECOND 10

/* --- tasks --- */

static void *predsnap_self(void)
{
    return qemu_coroutine_self();
}

/*
 * The engine calls this right after it has dropped its lock. A wake that comes
 * earlier, from another thread, schedules the coroutine in this thread's event
 * loop, which cannot enter it before it has yielded here. From this thread
 * nobody else can run before that.
 */
static void coroutine_fn predsnap_suspend(void)
{
    qemu_coroutine_yield();
}

static void predsnap_wake(void *task)
{
    Coroutine *co = task;

    if (qemu_in_coroutine() && co != qemu_coroutine_self()) {
        aio_co_wake(co);
    } else {
        /* aio_co_wake() would enter the coroutine here and now */
        aio_co_schedule(qemu_coroutine_get_aio_context(co), co);
    }
}

void coroutine_fn predsnap_co_yield(void)
{
    aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
    qemu_coroutine_yield();
}

struct PredsnapTask {
    BlockDriverState *bs;
    void (*fn)(void *arg);
    void *arg;
    bool counted;
    QLIST_ENTRY(PredsnapTask) next; /* if it is not counted */
};

/*
 * Between the moment when all is found idle and the end of a drained section
 * nothing may come into flight, be it only to see that it is to do nothing.
 */
static void predsnap_task_begin(PredsnapTask *task)
{
    BDRVPredsnapState *s = task->bs->opaque;

    QEMU_LOCK_GUARD(&s->drain_lock);
    task->counted = !s->drained || !s->engine;
    if (task->counted) {
        bdrv_inc_in_flight(task->bs);
    } else {
        QLIST_INSERT_HEAD(&s->uncounted, task, next);
    }
}

static void predsnap_task_end(PredsnapTask *task)
{
    BDRVPredsnapState *s = task->bs->opaque;

    QEMU_LOCK_GUARD(&s->drain_lock);
    if (task->counted) {
        bdrv_dec_in_flight(task->bs);
    } else {
        QLIST_REMOVE(task, next);
    }
}

/* Called with drain_lock held: the drained section ends. */
void predsnap_count_tasks(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PredsnapTask *task, *next;

    QLIST_FOREACH_SAFE(task, &s->uncounted, next, next) {
        bdrv_inc_in_flight(bs);
        task->counted = true;
        QLIST_REMOVE(task, next);
    }
}

/*
 * The task counts as a request in flight only while it holds the graph lock:
 * QEMU drains nodes also while it holds that lock for writing, and would wait
 * forever for a task that waits for the lock.
 */
static void coroutine_fn predsnap_task_entry(void *opaque)
{
    PredsnapTask task = *(PredsnapTask *)opaque;
    BDRVPredsnapState *s = task.bs->opaque;

    g_free(opaque);
    WITH_GRAPH_RDLOCK_GUARD() {
        predsnap_task_begin(&task);
        task.fn(task.arg);
        predsnap_task_end(&task);
    }
    qatomic_dec(&s->tasks);
}

/*
 * Parts of a request run where the request runs, other tasks in the home of
 * the node. Never entered here: the caller may be ending a drained section.
 */
static void predsnap_start(BlockDriverState *bs, CoroutineEntry *entry,
                           void (*fn)(void *arg), void *arg)
{
    PredsnapTask *task = g_new(PredsnapTask, 1);
    AioContext *ctx = qemu_in_coroutine() ? qemu_get_current_aio_context()
                                          : bdrv_get_aio_context(bs);

    *task = (PredsnapTask) { .bs = bs, .fn = fn, .arg = arg };
    aio_co_schedule(ctx, qemu_coroutine_create(entry, task));
}

static void predsnap_spawn(void *host, void (*fn)(void *arg), void *arg)
{
    BlockDriverState *bs = host;
    BDRVPredsnapState *s = bs->opaque;

    qatomic_inc(&s->tasks);
    predsnap_start(bs, predsnap_task_entry, fn, arg);
}

/* They have been told to stop, and none waits for the caller. */
void coroutine_fn predsnap_co_wait_for_tasks(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;

    while (qatomic_read(&s->tasks)) {
        predsnap_co_yield();
    }
}

typedef struct PredsnapWork {
    void (*fn)(void *arg);
    void *arg;
} PredsnapWork;

static int predsnap_work_entry(void *opaque)
{
    PredsnapWork *work = opaque;

    work->fn(work->arg);
    return 0;
}

static void coroutine_fn
predsnap_run_on_executor(void *host, void (*fn)(void *arg), void *arg)
{
    PredsnapWork work = { .fn = fn, .arg = arg };

    thread_pool_submit_co(predsnap_work_entry, &work);
}

/* --- reports --- */

static bool predsnap_may_report(BDRVPredsnapState *s, PredsnapEventLimit *limit)
{
    int64_t second = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) / 1000;

    QEMU_LOCK_GUARD(&s->event_lock);
    if (limit->second != second) {
        limit->second = second;
        limit->count = 0;
    }
    return limit->count++ < REPORTS_PER_SECOND;
}

static void GRAPH_RDLOCK
predsnap_report_corruption(BlockDriverState *bs, uint64_t offset,
                           uint64_t length, const char *message)
{
    BDRVPredsnapState *s = bs->opaque;
    const char *node_name = bdrv_get_node_name(bs);

    if (!predsnap_may_report(s, &s->corruption_limit)) {
        return;
    }
    error_report("predsnap node '%s': %s", node_name, message);
    qapi_event_send_block_image_corrupted(bdrv_get_device_name(bs), node_name,
                                          message, length > 0, offset,
                                          length > 0, length, false);
}

static void predsnap_report(void *host, PdsEvent event, uint64_t offset,
                            uint64_t length, const char *message)
{
    BlockDriverState *bs = host;

    assume_graph_lock(); /* the engine reports from tasks */

    switch (event) {
    case PDS_EVENT_CORRUPTION:
        predsnap_report_corruption(bs, offset, length, message);
        break;
    case PDS_EVENT_LOG_ERROR:
        /* The requests fail; who sent them tells of it or handles it */
        break;
    case PDS_EVENT_POINT:
        predsnap_announce_point(bs);
        break;
    case PDS_EVENT_WINDOW_SHRUNK:
        predsnap_announce_shrunk(bs, message);
        break;
    case PDS_EVENT_FAST_FULL:
    case PDS_EVENT_CAPACITY_FULL:
    case PDS_EVENT_CAPACITY_ERROR:
        predsnap_announce_tier(bs, event, message);
        break;
    }
}

static const PdsHostOps predsnap_host_ops = {
    .self               = predsnap_self,
    .suspend            = predsnap_suspend,
    .wake               = predsnap_wake,
    .yield              = predsnap_co_yield,
    .spawn              = predsnap_spawn,
    .run_on_executor    = predsnap_run_on_executor,
    .report             = predsnap_report,
};

PdsHost predsnap_host(BlockDriverState *bs)
{
    return (PdsHost) { .ops = &predsnap_host_ops, .opaque = bs };
}

static void predsnap_create_report(void *host, PdsEvent event, uint64_t offset,
                                   uint64_t length, const char *message)
{
    error_report("predsnap: %s", message);
}

/* The creation waits for them. */
static void coroutine_fn predsnap_create_task_entry(void *opaque)
{
    PredsnapTask task = *(PredsnapTask *)opaque;

    g_free(opaque);
    task.fn(task.arg);
}

static void predsnap_create_spawn(void *host, void (*fn)(void *arg), void *arg)
{
    predsnap_start(host, predsnap_create_task_entry, fn, arg);
}

static const PdsHostOps predsnap_create_host_ops = {
    .self               = predsnap_self,
    .suspend            = predsnap_suspend,
    .wake               = predsnap_wake,
    .yield              = predsnap_co_yield,
    .spawn              = predsnap_create_spawn,
    .run_on_executor    = predsnap_run_on_executor,
    .report             = predsnap_create_report,
};

PdsHost predsnap_create_host(BlockDriverState *file_bs)
{
    return (PdsHost) { .ops = &predsnap_create_host_ops, .opaque = file_bs };
}

/* --- the way in from callbacks that are not coroutines --- */

typedef struct PredsnapCall {
    BlockDriverState *bs;
    PredsnapCoFn *fn;
    void *opaque;
    Error **errp;
    int ret;
    bool done;
} PredsnapCall;

static void coroutine_fn predsnap_call_entry(void *opaque)
{
    PredsnapCall *call = opaque;
    BDRVPredsnapState *s = call->bs->opaque;

    WITH_GRAPH_RDLOCK_GUARD() {
        QEMU_LOCK_GUARD(&s->control);
        call->ret = call->fn(call->bs, call->opaque, call->errp);
    }
    qatomic_store_release(&call->done, true);
    aio_wait_kick();
}

int predsnap_run(BlockDriverState *bs, PredsnapCoFn *fn, void *opaque,
                 Error **errp)
{
    PredsnapCall call = {
        .bs = bs,
        .fn = fn,
        .opaque = opaque,
        .errp = errp,
    };

    assert(!qemu_in_coroutine());
    aio_co_enter(bdrv_get_aio_context(bs),
                 qemu_coroutine_create(predsnap_call_entry, &call));
    AIO_WAIT_WHILE_UNLOCKED(NULL, !qatomic_load_acquire(&call.done));
    return call.ret;
}

int predsnap_error(BlockDriverState *bs, int ret, char *message, Error **errp)
{
    const char *node_name = bdrv_get_node_name(bs);
    const char *what = message ?: strerror(-ret);

    if (node_name[0] == '#') { /* made up by QEMU: it would tell nothing */
        error_setg(errp, "predsnap: %s", what);
    } else {
        error_setg(errp, "predsnap node '%s': %s", node_name, what);
    }
    free(message);
    return ret;
}
