/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap block driver: what its source files share
 *
 * predsnap.c           open, close, reopen, activation; the driver table
 * predsnap-engine.c    opening and closing the engine behind a node
 * predsnap-host.c      what the engine runs on: coroutines, thread pool
 * predsnap-device.c    what it reads and writes: child nodes
 * predsnap-io.c        guest I/O
 * predsnap-access-log.c  what the guest did, for programs that learn from it
 * predsnap-create.c    creation, measure, amend, resize
 * predsnap-snapshot.c  snapshots, VM state, rollback
 * predsnap-info.c      info, stats, check
 * predsnap-view.c      the predsnap-view driver
 * predsnap-qmp.c       QMP commands
 * predsnap-query.c     QMP queries
 * predsnap-changes.c   what differs between two states, in QMP
 * predsnap-predict.c   predictions, hints and the threshold, in QMP
 */
#ifndef BLOCK_PREDSNAP_INT_H
#define BLOCK_PREDSNAP_INT_H

#include "block/block.h"
#include "block/block_int.h"
#include "predsnap/shim.h"

#define PREDSNAP_OPT_POINT_INTERVAL "point-interval"
#define PREDSNAP_OPT_CDP_WINDOW "cdp-window"
#define PREDSNAP_OPT_CDP_BYTES "cdp-bytes"
#define PREDSNAP_OPT_RETENTION "retention"
#define PREDSNAP_OPT_STAGING_BYTES "staging-bytes"
#define PREDSNAP_OPT_GRANULARITY "granularity"
#define PREDSNAP_OPT_WEIGHT "weight"
#define PREDSNAP_OPT_COMPRESSION_LEVEL "compression-level"
#define PREDSNAP_OPT_PACK_AFTER "pack-after"
#define PREDSNAP_OPT_PLACEMENT "placement"
#define PREDSNAP_OPT_STAGE_READS "stage-reads"
#define PREDSNAP_OPT_THRESHOLD "threshold"
#define PREDSNAP_OPT_ADAPTIVE "adaptive"
#define PREDSNAP_OPT_PREDICT_STAGING "predict-staging"
#define PREDSNAP_OPT_PREDICT_GRANULARITY "predict-granularity"
#define PREDSNAP_OPT_PREDICT_POOL "predict-pool"
#define PREDSNAP_OPT_PREDICT_PLACEMENT "predict-placement"
#define PREDSNAP_OPT_ACCESS_LOG "access-log"
#define PREDSNAP_OPT_ACCESS_LOG_SIZE "access-log-size"
/* A thousand years, in seconds: so that no sum of times overflows. */
#define PREDSNAP_CDP_WINDOW_MAX INT64_C(31557600000)

/* The driver's own options. */
typedef struct PredsnapSettings {
    uint32_t point_interval_ms;
    uint8_t compression_level;
    int64_t pack_after_s;   /* -1: not at all */
    bool places_apart;
    bool has_cdp_window;    /* otherwise the image says */
    bool has_cdp_bytes;
    int64_t cdp_window_s;   /* -1: without limit */
    uint64_t cdp_bytes;     /* 0: without limit */
    bool has_retention;
    unsigned rule_count;
    struct PdsRetentionRule rules[PDS_RULES_MAX];
    PdsFine fine;
    char *access_log;          /* NULL: none */
    uint64_t access_log_size;
} PredsnapSettings;

typedef struct PredsnapAccessLog PredsnapAccessLog;
typedef struct PredsnapTask PredsnapTask;

/* Counts events of one kind, to allow only so many a second. */
typedef struct PredsnapEventLimit {
    int64_t second;
    unsigned int count;
} PredsnapEventLimit;

/* A predsnap-view node, as far as its predsnap node knows of it. */
typedef struct PredsnapView {
    BlockDriverState *bs;
    PdsView *view;      /* protected like the chain's engine, and NULL if that
                           is, or no longer has the state in its history */
    uint64_t sequence;  /* the state it shows */
    uint64_t size;      /* of the disk in that state */
    QLIST_ENTRY(PredsnapView) next;
} PredsnapView;

typedef struct BDRVPredsnapState {
    /*
     * NULL while it is being replaced, and after the image could not be opened
     * again (reopen, end of a migration). Changes with @control held. Others
     * use predsnap_get() and predsnap_put(): nodes are activated without being
     * drained, so reads may be running.
     */
    PdsEngine *engine;
    uint64_t generation;    /* counts the engines */

    /* Uses of @engine that are not protected by @control. Atomic. */
    unsigned int users;

    /* Whether @engine was opened for writing. Changes with @engine. */
    bool engine_writable;

    /*
     * Protects what follows, and that the background of @engine, once that is
     * published, is paused in a drained section. Before the engine's own lock.
     */
    QemuMutex drain_lock;
    bool drained;                       /* inside a drained section */
    QLIST_HEAD(, PredsnapTask) uncounted; /* not in flight: begun in one */

    /* The capacity image, or NULL. Set when the node is opened. */
    BdrvChild *capacity;

    /* Protected by the BQL. */
    PredsnapSettings settings;

    /* Of the main loop: what is due by age is, also if the guest does nothing.
       NULL: nothing is. */
    QEMUTimer *tend_timer;

    /*
     * Serialises what is not guest I/O: opening and closing the engine, and
     * commands.
     */
    CoMutex control;

    /*
     * What bdrv_snapshot_load_tmp() has put in place of the disk, or NULL.
     * Changes like @engine.
     */
    PdsView *loaded_snapshot;

    /*
     * With BDRV_O_CHECK: why the image can only be opened for repair. NULL if
     * it is well. Changes like @engine.
     */
    char *damage;

    /* NULL: none. Set while the node is opened; constant until it is closed. */
    PredsnapAccessLog *access_log;

    /* Tasks that the engine has started and that live. Atomic. */
    unsigned int tasks;

    /* Views of this node. Protected by @control. */
    QLIST_HEAD(, PredsnapView) views;

    /* Protects what follows. */
    QemuMutex event_lock;
    PredsnapEventLimit corruption_limit;
    int64_t point_event_ms;         /* when PREDSNAP_POINT was last emitted */
    uint64_t point_event_sequence;  /* and for which point */
} BDRVPredsnapState;

extern BlockDriver bdrv_predsnap;

/* The engine, which stays until predsnap_put(). NULL if there is none. */
static inline PdsEngine *predsnap_get(BDRVPredsnapState *s)
{
    PdsEngine *engine;

    qatomic_inc(&s->users); /* a barrier, too: users before engine */
    engine = qatomic_read(&s->engine);
    if (unlikely(!engine)) {
        qatomic_dec(&s->users);
    }
    return engine;
}

static inline void predsnap_put(BDRVPredsnapState *s)
{
    qatomic_dec(&s->users);
}

/* --- predsnap-host.c --- */

PdsHost predsnap_host(BlockDriverState *bs);

/* Those that began in a drained section count from now on. */
void predsnap_count_tasks(BlockDriverState *bs);

/* Lets others run first. */
void coroutine_fn predsnap_co_yield(void);

/* Before the engine is freed, its background work being paused. */
void coroutine_fn predsnap_co_wait_for_tasks(BlockDriverState *bs);

/* For an image that is being created in @file_bs, which has no node yet. */
PdsHost predsnap_create_host(BlockDriverState *file_bs);

typedef int coroutine_fn PredsnapCoFn(BlockDriverState *bs, void *opaque,
                                      Error **errp);
/*
 * Runs @fn in a coroutine in the AioContext of @bs, with the graph lock and
 * the control lock held, and polls until it is done. For callbacks that are
 * not coroutines.
 */
int predsnap_run(BlockDriverState *bs, PredsnapCoFn *fn, void *opaque,
                 Error **errp);

/* Sets @errp to what the engine said. Frees @message. Returns @ret. */
int predsnap_error(BlockDriverState *bs, int ret, char *message, Error **errp);

/* --- predsnap-device.c --- */

PdsDevice predsnap_file_device(BlockDriverState *bs);
PdsDevice predsnap_backing_device(BlockDriverState *bs);
/* Without operations if the node has no capacity child. */
PdsDevice predsnap_capacity_device(BlockDriverState *bs);
PdsDevice predsnap_create_device(BlockBackend *blk);

/* --- predsnap-engine.c --- */

/* predsnap_get() that waits for the engine if it is being replaced. */
PdsEngine *coroutine_fn predsnap_co_get(BDRVPredsnapState *s);

/* Whether the image belongs to the node, to write to as it likes. */
bool predsnap_may_write(BlockDriverState *bs);

/* These with the control lock held. */
int coroutine_fn GRAPH_RDLOCK
predsnap_co_engine_open(BlockDriverState *bs, Error **errp);
/* Frees the engine. It writes only if the image is the node's to write to. */
int coroutine_fn GRAPH_RDLOCK
predsnap_co_engine_close(BlockDriverState *bs, void *opaque, Error **errp);
/* Another engine, which reads the image anew. */
int coroutine_fn GRAPH_RDLOCK
predsnap_co_engine_replace(BlockDriverState *bs, void *opaque, Error **errp);
/* Opens a damaged image again, without what cannot be read any more. */
int coroutine_fn GRAPH_RDLOCK
predsnap_co_engine_repair(BlockDriverState *bs, Error **errp);
/* Leaves nothing to write, if the image is the node's to write to. */
int coroutine_fn GRAPH_RDLOCK
predsnap_co_engine_settle(BlockDriverState *bs, void *opaque, Error **errp);

/* --- predsnap-options.c --- */

extern const char *const predsnap_mutable_opts[];

/* Takes the driver's own options out of @options. */
bool predsnap_absorb_options(QDict *options, PredsnapSettings *settings,
                             Error **errp);
/* Whether the image can keep history as the settings say. */
bool predsnap_check_retention(BlockDriverState *bs,
                              const PredsnapSettings *settings, Error **errp);
/* How much history is kept, as the node's settings say. */
int coroutine_fn predsnap_co_set_retention(BlockDriverState *bs,
                                           PdsEngine *engine, char **message);

/* --- predsnap-io.c --- */

int coroutine_fn GRAPH_RDLOCK
predsnap_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                        QEMUIOVector *qiov, size_t qiov_offset,
                        BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                         QEMUIOVector *qiov, size_t qiov_offset,
                         BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                          BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);
int coroutine_fn GRAPH_RDLOCK predsnap_co_flush(BlockDriverState *bs);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                         int64_t bytes, int64_t *pnum, int64_t *map,
                         BlockDriverState **file);
int64_t coroutine_fn GRAPH_RDLOCK predsnap_co_getlength(BlockDriverState *bs);

/* Emits PREDSNAP_POINT, if there is a new point and the time has come. */
void predsnap_announce_point(BlockDriverState *bs);
/* The same of history that is shorter than was asked for: why. */
void predsnap_announce_shrunk(BlockDriverState *bs, const char *message);
/* The same of an image that is full, or of the capacity image that fails. */
void predsnap_announce_tier(BlockDriverState *bs, PdsEvent event,
                            const char *message);

/* --- predsnap-access-log.c --- */

/* As the node's settings say; the engine is open. */
bool predsnap_access_log_open(BlockDriverState *bs, Error **errp);
/* Writes what waits. The engine may still be open. */
void predsnap_access_log_close(BlockDriverState *bs);
/*
 * Of a request that begins, but of a write, which is noted once it is done, as
 * only then it is known what it @changed (see pds_pwritev). From any thread;
 * never waits for the file.
 */
void predsnap_access_log_note(PredsnapAccessLog *log, PdsAccess access,
                              int64_t offset, int64_t bytes, int changed);
/* Requests recorded and not recorded. */
void predsnap_access_log_counts(const PredsnapAccessLog *log,
                                uint64_t *records, uint64_t *dropped);

static inline void predsnap_note(BDRVPredsnapState *s, PdsAccess access,
                                 int64_t offset, int64_t bytes, int changed)
{
    if (unlikely(s->access_log) && bytes > 0) {
        predsnap_access_log_note(s->access_log, access, offset, bytes, changed);
    }
}

/* --- predsnap-create.c --- */

extern QemuOptsList predsnap_create_opts;
extern QemuOptsList predsnap_amend_opts;

int coroutine_fn GRAPH_UNLOCKED
predsnap_co_create(BlockdevCreateOptions *options, Error **errp);
int coroutine_fn GRAPH_UNLOCKED
predsnap_co_create_opts(BlockDriver *drv, const char *filename, QemuOpts *opts,
                        Error **errp);
BlockMeasureInfo *predsnap_measure(QemuOpts *opts, BlockDriverState *in_bs,
                                   Error **errp);
int GRAPH_RDLOCK
predsnap_amend_options(BlockDriverState *bs, QemuOpts *opts,
                       BlockDriverAmendStatusCB *status_cb, void *cb_opaque,
                       bool force, Error **errp);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                     PreallocMode prealloc, BdrvRequestFlags flags,
                     Error **errp);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_change_backing_file(BlockDriverState *bs, const char *backing_file,
                                const char *backing_fmt);

/* --- predsnap-snapshot.c --- */

int GRAPH_RDLOCK predsnap_snapshot_create(BlockDriverState *bs,
                                          QEMUSnapshotInfo *sn_info);
int GRAPH_UNLOCKED predsnap_snapshot_goto(BlockDriverState *bs,
                                          const char *snapshot_id);
int GRAPH_RDLOCK predsnap_snapshot_delete(BlockDriverState *bs,
                                          const char *snapshot_id,
                                          const char *name, Error **errp);
int GRAPH_RDLOCK predsnap_snapshot_list(BlockDriverState *bs,
                                        QEMUSnapshotInfo **psn_info);
int GRAPH_RDLOCK predsnap_snapshot_load_tmp(BlockDriverState *bs,
                                            const char *snapshot_id,
                                            const char *name, Error **errp);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_save_vmstate(BlockDriverState *bs, QEMUIOVector *qiov, int64_t pos);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_load_vmstate(BlockDriverState *bs, QEMUIOVector *qiov, int64_t pos);

/* These three say what to do about a name that is taken or unknown. */
int coroutine_fn GRAPH_RDLOCK
predsnap_co_snapshot_create(BlockDriverState *bs, void *snapshot, Error **errp);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_snapshot_delete(BlockDriverState *bs, void *name, Error **errp);
int predsnap_moment_error(BlockDriverState *bs, const PdsMoment *moment,
                          int ret, char *message, Error **errp);

/*
 * All content and perhaps the size of @bs have changed: its dirty bitmaps and
 * its users must know. Filters above show the same content.
 */
void coroutine_fn GRAPH_RDLOCK
predsnap_co_content_changed(BlockDriverState *bs, int64_t size);

/*
 * Takes the disk to @moment and lets the users of the node know. The node must
 * be drained, and the control lock held.
 */
int coroutine_fn GRAPH_RDLOCK
predsnap_co_rollback(BlockDriverState *bs, const PdsMoment *moment,
                     PdsRollback *rollback, Error **errp);

/* --- predsnap-info.c --- */

int coroutine_fn GRAPH_RDLOCK
predsnap_co_get_info(BlockDriverState *bs, BlockDriverInfo *bdi);
ImageInfoSpecific * GRAPH_RDLOCK
predsnap_get_specific_info(BlockDriverState *bs, Error **errp);
BlockStatsSpecific *predsnap_get_specific_stats(BlockDriverState *bs);
int coroutine_fn GRAPH_RDLOCK
predsnap_co_check(BlockDriverState *bs, BdrvCheckResult *result,
                  BdrvCheckMode fix);

/* In QAPI's terms. The caller frees. */
void predsnap_describe_image(PredsnapImage *image, const PdsInfo *info);
BlockStatsSpecificPredsnap *predsnap_stats(const PdsEngine *engine);

/* --- predsnap-qmp.c --- */

/*
 * Runs @fn on a predsnap node with the graph lock and the control lock held.
 * @to_write: the node must be writable.
 */
int coroutine_fn predsnap_co_run_on_node(const char *node_name, bool to_write,
                                         PredsnapCoFn *fn, void *opaque,
                                         Error **errp);

/* The node with that name, if it is a predsnap node. */
BlockDriverState * GRAPH_RDLOCK
predsnap_find_node(const char *node_name, Error **errp);

/* Whether the image could be opened and, if asked for, be written to. */
bool GRAPH_RDLOCK predsnap_check_usable(BlockDriverState *bs, bool to_write,
                                        Error **errp);

/* Takes what QMP's members of these names say; exactly one must be there. */
bool predsnap_parse_moment(const char *snapshot, bool has_time, int64_t time,
                           bool has_sequence, uint64_t sequence,
                           PdsMoment *moment, Error **errp);

/* The caller frees. */
PredsnapSnapshot *predsnap_to_qapi_snapshot(const PdsSnapshot *from);

/* Whether @bs is a predsnap node. If not, says which node may be meant. */
bool GRAPH_RDLOCK predsnap_check_node(BlockDriverState *bs, Error **errp);

/* --- predsnap-predict.c --- */

/* In QAPI's terms. The caller frees. */
PredsnapPredictionInfo *predsnap_prediction_info(const PdsEngine *engine,
                                                 const PdsFine *fine);
PredsnapThreshold *predsnap_threshold_info(const PdsEngine *engine);
/* Says of each snapshot how good what was predicted for it is. */
void predsnap_add_forecasts(const PdsEngine *engine,
                            PredsnapSnapshotList *snapshots);

/* --- predsnap-view.c --- */

/* Before the engine is closed. With the control lock held. */
void predsnap_views_close(BlockDriverState *bs);
/* After it was opened again. With the control lock held. */
void coroutine_fn GRAPH_RDLOCK
predsnap_co_views_reopen(BlockDriverState *bs, PdsEngine *engine);

#endif /* BLOCK_PREDSNAP_INT_H */
