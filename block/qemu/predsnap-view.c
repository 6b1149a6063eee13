/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap-view block driver: a predsnap disk as it was
 *
 * A read-only node that reads through the engine of a predsnap node, its
 * chain. It keeps the chain open, and draining the chain drains the view. The
 * engine of the chain may be closed and opened again while the view exists;
 * the view is then closed and opened again with it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "qobject/qdict.h"
#include "predsnap-int.h"

#define OPT_CHAIN       "chain"
#define OPT_SNAPSHOT    "snapshot"
#define OPT_TIME        "time"
#define OPT_SEQUENCE    "sequence"

typedef struct BDRVPredsnapViewState {
    /* The predsnap node, also while an overlay is put upon it. */
    BdrvChild *chain;
    PredsnapView view;
} BDRVPredsnapViewState;

static QemuOptsList predsnap_view_runtime_opts = {
    .name = "predsnap-view",
    .head = QTAILQ_HEAD_INITIALIZER(predsnap_view_runtime_opts.head),
    .desc = {
        {
            .name = OPT_SNAPSHOT,
            .type = QEMU_OPT_STRING,
            .help = "Name of the snapshot to show",
        },
        {
            .name = OPT_TIME,
            .type = QEMU_OPT_STRING,
            .help = "Show the newest point not after this time, in "
                    "microseconds since the Unix epoch",
        },
        {
            .name = OPT_SEQUENCE,
            .type = QEMU_OPT_NUMBER,
            .help = "Show the disk at this sequence number",
        },
        { /* end of list */ }
    },
};

static const char *const predsnap_view_strong_runtime_opts[] = {
    OPT_SNAPSHOT,
    OPT_TIME,
    OPT_SEQUENCE,
    NULL
};

/*
 * child_of_bds, but the view stays with its chain when that is replaced in
 * the graph: by an overlay, or by the target of a mirror job.
 */
static BdrvChildClass predsnap_chain_class;

static bool view_parse_moment(QemuOpts *opts, PdsMoment *moment, Error **errp)
{
    const char *snapshot = qemu_opt_get(opts, OPT_SNAPSHOT);
    const char *time = qemu_opt_get(opts, OPT_TIME);
    const char *sequence = qemu_opt_get(opts, OPT_SEQUENCE);

    if (!!snapshot + !!time + !!sequence != 1) {
        error_setg(errp, "Exactly one of '" OPT_SNAPSHOT "', '" OPT_TIME
                   "' and '" OPT_SEQUENCE "' must be given");
        return false;
    }
    *moment = (PdsMoment) {
        .kind = snapshot ? PDS_MOMENT_SNAPSHOT
              : time ? PDS_MOMENT_TIME : PDS_MOMENT_SEQUENCE,
        .snapshot = snapshot,
        .sequence = qemu_opt_get_number(opts, OPT_SEQUENCE, 0),
    };
    if (time && qemu_strtoi64(time, NULL, 10, &moment->time_us) < 0) {
        error_setg(errp, "Option '" OPT_TIME "' is a number of microseconds "
                   "since the Unix epoch, not '%s'", time);
        return false;
    }
    return true;
}

typedef struct ViewOpen {
    PredsnapView *view;
    const PdsMoment *moment;
} ViewOpen;

/* Runs in the chain's node. */
static int coroutine_fn GRAPH_RDLOCK
view_co_open(BlockDriverState *chain, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = chain->opaque;
    ViewOpen *open = opaque;
    char *message = NULL;
    int ret;

    if (!s->engine) {
        return predsnap_error(chain, -EIO, NULL, errp);
    }
    ret = pds_view_open(s->engine, open->moment, &open->view->view, &message);
    if (ret < 0) {
        return predsnap_moment_error(chain, open->moment, ret, message, errp);
    }
    open->view->sequence = pds_view_sequence(open->view->view);
    open->view->size = pds_view_size(open->view->view);
    QLIST_INSERT_HEAD(&s->views, open->view, next);
    return 0;
}

static int coroutine_fn GRAPH_RDLOCK
view_co_close(BlockDriverState *chain, void *opaque, Error **errp)
{
    PredsnapView *view = opaque;

    if (view->view) {
        pds_view_close(view->view);
    }
    QLIST_REMOVE(view, next);
    return 0;
}

static int view_open_moment(BlockDriverState *bs, QDict *options, Error **errp)
{
    BDRVPredsnapViewState *s = bs->opaque;
    PdsMoment moment;
    ViewOpen open = { .view = &s->view, .moment = &moment };
    QemuOpts *opts;
    int ret = -EINVAL;

    opts = qemu_opts_create(&predsnap_view_runtime_opts, NULL, 0,
                            &error_abort);
    if (qemu_opts_absorb_qdict(opts, options, errp) &&
        view_parse_moment(opts, &moment, errp)) {
        ret = predsnap_run(s->chain->bs, view_co_open, &open, errp);
    }
    qemu_opts_del(opts);
    return ret;
}

static int predsnap_view_open(BlockDriverState *bs, QDict *options, int flags,
                              Error **errp)
{
    BDRVPredsnapViewState *s = bs->opaque;
    bool is_predsnap;
    int ret = -EINVAL;

    /* The past does not change, whatever was asked for */
    bs->open_flags &= ~BDRV_O_RDWR;

    s->view.bs = bs;
    s->chain = bdrv_open_child(NULL, options, OPT_CHAIN, bs,
                               &predsnap_chain_class, BDRV_CHILD_DATA, false,
                               errp);
    if (!s->chain) {
        return -EINVAL;
    }
    bdrv_graph_rdlock_main_loop();
    is_predsnap = predsnap_check_node(s->chain->bs, errp);
    bdrv_graph_rdunlock_main_loop();
    if (is_predsnap) {
        ret = view_open_moment(bs, options, errp);
    }
    if (ret < 0) {
        bdrv_graph_wrlock();
        bdrv_unref_child(bs, s->chain);
        bdrv_graph_wrunlock();
    }
    return ret;
}

static void predsnap_view_close(BlockDriverState *bs)
{
    BDRVPredsnapViewState *s = bs->opaque;

    predsnap_run(s->chain->bs, view_co_close, &s->view, NULL);
}

static int predsnap_view_reopen_prepare(BDRVReopenState *state,
                                        BlockReopenQueue *queue, Error **errp)
{
    if (state->flags & BDRV_O_RDWR) {
        error_setg(errp, "Node '%s' shows the past and is read-only: put an "
                   "overlay on it to write",
                   bdrv_get_node_name(state->bs));
        return -EACCES;
    }
    return 0;
}

static void predsnap_view_child_perm(BlockDriverState *bs, BdrvChild *c,
                                     BdrvChildRole role,
                                     BlockReopenQueue *reopen_queue,
                                     uint64_t perm, uint64_t shared,
                                     uint64_t *nperm, uint64_t *nshared)
{
    *nperm = BLK_PERM_CONSISTENT_READ;
    *nshared = BLK_PERM_ALL;
}

/* --- the chain's engine comes and goes --- */

void predsnap_views_close(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PredsnapView *view;

    QLIST_FOREACH(view, &s->views, next) {
        if (view->view) {
            pds_view_close(view->view);
            view->view = NULL;
        }
    }
}

void coroutine_fn predsnap_co_views_reopen(BlockDriverState *bs,
                                           PdsEngine *engine)
{
    BDRVPredsnapState *s = bs->opaque;
    PredsnapView *view;

    QLIST_FOREACH(view, &s->views, next) {
        PdsMoment moment = {
            .kind = PDS_MOMENT_SEQUENCE,
            .sequence = view->sequence,
        };
        char *message = NULL;
        int ret = pds_view_open(engine, &moment, &view->view, &message);

        if (ret < 0) {
            view->view = NULL;
            warn_report("predsnap-view node '%s': the state it showed is no "
                        "longer in the history of its chain '%s': %s",
                        bdrv_get_node_name(view->bs), bdrv_get_node_name(bs),
                        message ?: strerror(-ret));
            free(message);
        }
    }
}

/* --- I/O --- */

/*
 * The engine's view, which stays until view_put(). NULL if it is lost;
 * predsnap_co_views_reopen() said why.
 */
static PdsView *coroutine_fn view_co_get(BDRVPredsnapViewState *s)
{
    BDRVPredsnapState *chain = s->chain->bs->opaque;

    if (!predsnap_co_get(chain)) {
        return NULL;
    }
    if (!s->view.view) {
        predsnap_put(chain);
        return NULL;
    }
    return s->view.view;
}

static void view_put(BDRVPredsnapViewState *s)
{
    predsnap_put(s->chain->bs->opaque);
}

static int coroutine_fn GRAPH_RDLOCK
predsnap_view_co_preadv_part(BlockDriverState *bs, int64_t offset,
                             int64_t bytes, QEMUIOVector *qiov,
                             size_t qiov_offset, BdrvRequestFlags flags)
{
    BDRVPredsnapViewState *s = bs->opaque;
    PdsView *view = view_co_get(s);
    QEMUIOVector slice;
    int ret;

    if (!view) {
        return -EIO;
    }
    qemu_iovec_init_slice(&slice, qiov, qiov_offset, bytes);
    ret = pds_view_preadv(view, offset, slice.iov, slice.niov);
    qemu_iovec_destroy(&slice);
    view_put(s);
    return ret;
}

/* What the disk below the chain has where nothing was written to the chain. */
static int coroutine_fn GRAPH_RDLOCK
view_co_backing_status(BlockDriverState *chain, int64_t offset, int64_t bytes,
                       int64_t *pnum)
{
    BlockDriverState *below = bdrv_cow_bs(chain);
    int ret;

    *pnum = bytes;
    if (!below) {
        return BDRV_BLOCK_ZERO;
    }
    ret = bdrv_co_block_status_above(below, NULL, offset, bytes, pnum, NULL,
                                     NULL);
    if (ret < 0) {
        return ret;
    }
    if (*pnum == 0) { /* past its end */
        *pnum = bytes;
        return BDRV_BLOCK_ZERO;
    }
    return ret & BDRV_BLOCK_ZERO ? BDRV_BLOCK_ZERO : BDRV_BLOCK_DATA;
}

static int coroutine_fn GRAPH_RDLOCK
predsnap_view_co_block_status(BlockDriverState *bs, bool want_zero,
                              int64_t offset, int64_t bytes, int64_t *pnum,
                              int64_t *map, BlockDriverState **file)
{
    BDRVPredsnapViewState *s = bs->opaque;
    PdsView *view = view_co_get(s);
    PdsStatus status;
    int ret;

    if (!view) {
        return -EIO;
    }
    ret = pds_view_status(view, offset, bytes, &status);
    view_put(s);
    if (ret < 0) {
        return ret;
    }
    *pnum = status.length;
    if (status.zero) {
        return BDRV_BLOCK_ZERO;
    }
    if (status.data) {
        return BDRV_BLOCK_DATA;
    }
    return view_co_backing_status(s->chain->bs, offset,
                                  MIN(status.length, bytes), pnum);
}

static int64_t coroutine_fn GRAPH_RDLOCK
predsnap_view_co_getlength(BlockDriverState *bs)
{
    BDRVPredsnapViewState *s = bs->opaque;

    return s->view.size;
}

static void predsnap_view_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = BDRV_SECTOR_SIZE;
}

static BlockDriver bdrv_predsnap_view = {
    .format_name                = "predsnap-view",
    .instance_size              = sizeof(BDRVPredsnapViewState),
    .strong_runtime_opts        = predsnap_view_strong_runtime_opts,

    .bdrv_open                  = predsnap_view_open,
    .bdrv_close                 = predsnap_view_close,
    .bdrv_reopen_prepare        = predsnap_view_reopen_prepare,
    .bdrv_child_perm            = predsnap_view_child_perm,
    .bdrv_refresh_limits        = predsnap_view_refresh_limits,

    .bdrv_co_preadv_part        = predsnap_view_co_preadv_part,
    .bdrv_co_block_status       = predsnap_view_co_block_status,
    .bdrv_co_getlength          = predsnap_view_co_getlength,
};

static void predsnap_view_init(void)
{
    predsnap_chain_class = child_of_bds;
    predsnap_chain_class.stay_at_node = true;
    bdrv_register(&bdrv_predsnap_view);
}

block_init(predsnap_view_init);
