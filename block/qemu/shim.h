/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * C API over the predsnap engine, for QEMU's driver.
 *
 * Conventions:
 *
 * (1) Plain C; nothing of the engine or of QEMU is included. Offsets and lengths are in bytes and
 *     multiples of 512, times in microseconds since the Unix epoch, unless a name says otherwise.
 *
 * (2) A function that can fail returns 0, or a negative errno value. If it has a parameter
 *     `char **message`, it sets *message on failure to a sentence that says what is wrong and what to
 *     do, or to NULL if the errno value says it all. The caller frees it with free(). `message` may
 *     be NULL. On success *message is left alone.
 *
 * (3) "Task" in a comment means: call it from a task (a coroutine) only; it may block the task.
 *     Several tasks and threads may call at once. "Any context" means what it says, and never blocks.
 *
 * (4) Engines and views are opaque and belong to the caller, who closes them. Devices and hosts are
 *     passed as operations with an opaque pointer; both must outlive the engine.
 *
 * (5) Strings passed in are copied. Strings passed to a callback live until it returns.
 *
 * (6) Lists are given one element at a time to a callback, in order.
 */
#ifndef PREDSNAP_SHIM_H
#define PREDSNAP_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct PdsEngine PdsEngine;
typedef struct PdsView PdsView;

/* --- what the engine asks of its surroundings --- */

/* I/O on one device. Each returns 0 (length: the length) or a negative errno value. Called from tasks. */
typedef struct PdsDeviceOps {
    int (*preadv)(void *device, uint64_t offset, const struct iovec *iov, size_t niov);
    int (*pwritev)(void *device, uint64_t offset, const struct iovec *iov, size_t niov);
    int (*write_zeroes)(void *device, uint64_t offset, uint64_t length);
    int (*discard)(void *device, uint64_t offset, uint64_t length);
    int (*flush)(void *device);
    int64_t (*length)(void *device);
    int (*truncate)(void *device, uint64_t length);
} PdsDeviceOps;

typedef struct PdsDevice {
    const PdsDeviceOps *ops;
    void *opaque;
} PdsDevice;

typedef enum PdsEvent {
    PDS_EVENT_CORRUPTION,   /* a checksum did not match; the read failed with -EIO */
    PDS_EVENT_LOG_ERROR,    /* an append failed and was taken back; the message may be empty */
    PDS_EVENT_POINT,        /* a point was made that no flush asked for; no message */
    PDS_EVENT_WINDOW_SHRUNK, /* history is shorter than was asked for */
    PDS_EVENT_FAST_FULL,     /* the image cannot grow; once, until it can again */
    PDS_EVENT_CAPACITY_FULL, /* the capacity image cannot grow; likewise */
    PDS_EVENT_CAPACITY_ERROR, /* the capacity image cannot be read or written; likewise */
} PdsEvent;

/* Tasks, executor, reports. See block/engine/host.h for the contract. */
typedef struct PdsHostOps {
    void *(*self)(void);
    void (*suspend)(void);
    void (*wake)(void *task);
    void (*yield)(void);
    /* Starts fn(arg) in a new task. */
    void (*spawn)(void *host, void (*fn)(void *arg), void *arg);
    /* Runs fn(arg) in another thread and blocks the task until it has ended. */
    void (*run_on_executor)(void *host, void (*fn)(void *arg), void *arg);
    /* offset and length are of the guest disk; 0, 0 if the event is not about a part of it. */
    void (*report)(void *host, PdsEvent event, uint64_t offset, uint64_t length, const char *message);
} PdsHostOps;

typedef struct PdsHost {
    const PdsHostOps *ops;
    void *opaque;
} PdsHost;

/* --- images --- */

typedef struct PdsCreateOptions {
    uint64_t size;
    uint64_t segment_size;        /* 0: the default */
    uint64_t prewrite;            /* bytes of log to write ahead of time */
    const char *backing_file;     /* NULL: none */
    const char *backing_format;   /* NULL: none */
} PdsCreateOptions;

#define PDS_BACKING_FILE_MAX 1023
#define PDS_BACKING_FORMAT_MAX 15
#define PDS_SNAPSHOT_NAME_MAX 255
#define PDS_SEGMENT_SIZE_MIN (64u << 10)
#define PDS_SEGMENT_SIZE_MAX (64u << 20)

/* True if the first `length` bytes of a file look like a predsnap image. Any context. */
bool pds_probe(const void *head, size_t length);

/* The largest virtual size. Any context. */
uint64_t pds_size_max(void);

/*
 * Bytes an image needs for `data_bytes` of guest data in extents, if nothing is ever overwritten.
 * segment_size 0: the default; otherwise it must be valid. Any context.
 */
uint64_t pds_image_bytes(uint64_t data_bytes, uint64_t segment_size);

/* Task. */
int pds_create(PdsHost host, PdsDevice file, const PdsCreateOptions *options, char **message);

typedef enum PdsGranularity {
    PDS_GRANULARITY_AUTO,
    PDS_GRANULARITY_FINE,
    PDS_GRANULARITY_SUB_BLOCK,
    PDS_GRANULARITY_BLOCK,
} PdsGranularity;

/* From where on what is relevant is staged. All from 0 to 1. */
typedef struct PdsThreshold {
    double threshold;  /* where an adaptive one begins */
    double min;        /* these two of an adaptive one */
    double max;
    double target_hit_rate;
    bool adaptive;
} PdsThreshold;

/* The engine's defaults. Any context. */
PdsThreshold pds_threshold_default(void);

/* How writes are logged, and what the staging cache may take for that. */
typedef struct PdsFine {
    PdsGranularity granularity;
    uint8_t weight;         /* 0 to 10 */
    uint64_t staging_bytes; /* 0: no cache */
    bool stage_reads;       /* blocks that are read again and again are staged, too */
    bool predict_staging;   /* what predictions decide: the staging cache, */
    bool predict_granularity; /* what is logged as what differs, */
    bool predict_pool;      /* how many segments are written ahead, */
    bool predict_placement; /* what is not put apart */
    PdsThreshold threshold;
} PdsFine;

typedef struct PdsOpenOptions {
    bool writable;
    bool repair; /* open without a damaged checkpoint, or acknowledged history; for check -r */
    uint32_t point_interval_ms;   /* 0: only flushes and snapshots make points */
    PdsFine fine;
    uint8_t compression_level;    /* of old history: zstd's, 1 to 19 */
    int64_t pack_after_s;         /* data not written for so long is compressed; -1: not */
    bool places_apart;            /* what is copied to make room goes into packs */
} PdsOpenOptions;

/*
 * `backing` may change its length, and be empty, while the engine is open. `capacity`: no operations if there is none.
 * Task.
 */
int pds_open(PdsHost host, PdsDevice file, PdsDevice backing, PdsDevice capacity,
             const PdsOpenOptions *options, PdsEngine **engine, char **message);

/*
 * Makes everything durable and frees the engine, whatever it returns. All views must be closed; no
 * other call may be running. Task.
 */
int pds_close(PdsEngine *engine, char **message);

/*
 * Frees the engine and writes nothing, for images that are read-only or belong to somebody else by
 * now. The same conditions as for pds_close(), but any context.
 */
void pds_abandon(PdsEngine *engine);

/* Leaves the image as pds_close() would, so that others can open it; the engine goes on. Task. */
int pds_settle(PdsEngine *engine, char **message);

/* --- guest I/O: tasks --- */

int pds_preadv(PdsEngine *engine, uint64_t offset, const struct iovec *iov, size_t niov);
/*
 * `changed`, which may be NULL, gets the share of the bytes that differ from before, in 255ths;
 * PDS_CHANGED_UNKNOWN where that content was not at hand.
 */
#define PDS_CHANGED_UNKNOWN (-1)
int pds_pwritev(PdsEngine *engine, uint64_t offset, const struct iovec *iov, size_t niov, int *changed);
int pds_write_zeroes(PdsEngine *engine, uint64_t offset, uint64_t length);
int pds_discard(PdsEngine *engine, uint64_t offset, uint64_t length);
int pds_flush(PdsEngine *engine);

int pds_read_vm_state(PdsEngine *engine, uint64_t position, const struct iovec *iov, size_t niov);
int pds_write_vm_state(PdsEngine *engine, uint64_t position, const struct iovec *iov, size_t niov);

typedef struct PdsStatus {
    uint64_t length;   /* bytes from the asked offset on that share the status */
    bool data;
    bool zero;         /* neither: the backing shows through */
    bool has_place;    /* the data lies in the image as it is, in one piece, from `place` on */
    uint64_t place;    /* bytes from the image's start */
} PdsStatus;

/* With `with_place` the status ends where the data goes on elsewhere in the image. */
int pds_status(PdsEngine *engine, uint64_t offset, uint64_t length, bool with_place,
               PdsStatus *status);

/* Any context. */
uint64_t pds_size(const PdsEngine *engine);
int pds_resize(PdsEngine *engine, uint64_t size, char **message);
int pds_set_backing(PdsEngine *engine, const char *file, const char *format, char **message);

/* --- control: any context --- */

void pds_set_point_interval(PdsEngine *engine, uint32_t interval_ms);
/* Of streams made from now on. Any context. */
void pds_set_compression_level(PdsEngine *engine, uint8_t level);
void pds_set_pack_after(PdsEngine *engine, int64_t seconds);
void pds_set_placement(PdsEngine *engine, bool apart);
/* To be called every few seconds if seconds are not -1: what is due by age. */
void pds_tend(PdsEngine *engine);
/*
 * Any context. Another size of the staging cache empties it. A threshold like the one it was last given here
 * changes nothing.
 */
void pds_set_fine(PdsEngine *engine, const PdsFine *fine);

/* --- predictions: any context --- */

#define PDS_PREDICTIONS_MAX (64u << 10)

/* A part of the disk; how likely each of its chunks is to be written, and read, from 0 to 1. */
typedef struct PdsPrediction {
    uint64_t offset;
    uint64_t length;
    double write;
    double read;
    bool has_change;
    double change;     /* share of bytes that differ when it is written */
} PdsPrediction;

typedef struct PdsPredictions {
    const char *model;
    uint64_t base;         /* the newest sequence number that was known when they were made */
    int64_t horizon_us;    /* for how long from then on they hold */
    bool has_write_rate;
    double write_rate;     /* bytes a second */
    size_t count;
    const PdsPrediction *predictions;
    const uint8_t *packed; /* more of them, as block/engine/prediction_table.h has it; null: none */
    size_t packed_length;
} PdsPredictions;

/*
 * Replaces those in place. -EINVAL: they make no sense, or are of another disk; -E2BIG: too many; -ESTALE: they come
 * too late.
 */
int pds_set_predictions(PdsEngine *engine, const PdsPredictions *predictions, char **message);

typedef enum PdsHintKind {
    PDS_HINT_WILL_READ,
    PDS_HINT_WILL_WRITE,
    PDS_HINT_COLD,
} PdsHintKind;

typedef struct PdsHint {
    uint64_t offset;
    uint64_t length;
    PdsHintKind kind;
    bool has_latency;
    int64_t latency_us;
} PdsHint;

int pds_hint(PdsEngine *engine, const PdsHint *hint, char **message);

/* What is not given stays. */
typedef struct PdsThresholdChange {
    bool has_threshold;
    bool has_adaptive;
    bool has_min;
    bool has_max;
    bool has_target_hit_rate;
    PdsThreshold to;
} PdsThresholdChange;

/* -EINVAL for values that contradict each other. */
int pds_set_threshold(PdsEngine *engine, const PdsThresholdChange *change, char **message);
/* The same for options. */
int pds_check_threshold(const PdsThreshold *threshold, char **message);

/* How much history is kept: without either limit, all of it. Snapshots are kept until they are deleted. */
#define PDS_RULES_MAX 8
typedef struct PdsRetention {
    bool has_window;
    bool has_bytes;
    int64_t window_us;  /* states younger than that */
    uint64_t bytes;     /* at most so many of the image, even if that is less than the window */
    unsigned rule_count;  /* beyond the window: one point of every so many microseconds, for so long */
    struct PdsRetentionRule {
        int64_t every_us;
        int64_t for_us;
    } rules[PDS_RULES_MAX];
} PdsRetention;

/* -EINVAL for limits that contradict each other or are too small to work. Any context. */
int pds_check_retention(const PdsEngine *engine, const PdsRetention *retention, char **message);
/* Stored in the image; if they pass that. Task. */
int pds_set_retention(PdsEngine *engine, const PdsRetention *retention, char **message);

typedef struct PdsCoalescing {
    uint64_t done;   /* bytes of the image */
    uint64_t total;
    int error;       /* errno of what made it end early, or 0 */
} PdsCoalescing;

/*
 * Coalesces history on demand: up to the time (microseconds since the epoch) even if it is younger than the window; NULL:
 * only what is older. The background does it. Any context.
 */
void pds_begin_coalescing(PdsEngine *engine, const int64_t *until_us);
void pds_pause_coalescing(PdsEngine *engine, bool paused);
void pds_end_coalescing(PdsEngine *engine);
/* Whether it goes on. */
bool pds_coalescing(const PdsEngine *engine, PdsCoalescing *status);

void pds_pause_background(PdsEngine *engine);
void pds_resume_background(PdsEngine *engine);

/* --- snapshots and history --- */

typedef struct PdsSnapshot {
    uint64_t id;
    const char *name;
    uint64_t sequence;
    int64_t time_us;
    uint64_t disk_size;
    uint64_t vm_state_size;
    uint64_t vm_clock_ns;
    uint64_t icount;     /* UINT64_MAX: not recorded */
    uint32_t horizon_s;  /* 0: none */
} PdsSnapshot;

/*
 * Takes name, vm_state_size, vm_clock_ns, icount and horizon_s from *snapshot, and sets the rest of
 * it. Task.
 */
int pds_snapshot_create(PdsEngine *engine, PdsSnapshot *snapshot, char **message);
/* Task. */
int pds_snapshot_delete(PdsEngine *engine, const char *name, char **message);
typedef void PdsSnapshotFn(void *opaque, const PdsSnapshot *snapshot);
/* Any context. */
void pds_snapshots(const PdsEngine *engine, PdsSnapshotFn *fn, void *opaque);

/* How to name a state: exactly one is given. */
typedef enum PdsMomentKind {
    PDS_MOMENT_SNAPSHOT,
    PDS_MOMENT_TIME,
    PDS_MOMENT_SEQUENCE,
} PdsMomentKind;

typedef struct PdsMoment {
    PdsMomentKind kind;
    const char *snapshot;
    int64_t time_us;
    uint64_t sequence;
} PdsMoment;

typedef struct PdsResolved {
    uint64_t sequence;
    int64_t time_us;
    uint64_t size;
} PdsResolved;

/* Task. */
int pds_resolve(PdsEngine *engine, const PdsMoment *moment, PdsResolved *resolved, char **message);

typedef struct PdsRollback {
    uint64_t from;
    uint64_t to;
    int64_t to_time_us;
    uint32_t branch;
} PdsRollback;

/* Task. */
int pds_rollback(PdsEngine *engine, const PdsMoment *moment, PdsRollback *rollback, char **message);

typedef enum PdsKept {
    PDS_KEPT_ALL,       /* history has no limit */
    PDS_KEPT_WINDOW,    /* younger than the window */
    PDS_KEPT_SNAPSHOT,  /* there is a snapshot of it */
    PDS_KEPT_RULE,      /* a rule for old history keeps it */
    PDS_KEPT_LEAVING,   /* it will be gone soon */
} PdsKept;

typedef struct PdsPoint {
    uint64_t sequence;
    int64_t time_us;
    uint32_t branch;
    bool flush;
    uint64_t bytes_changed;
    uint64_t chunks_changed;    /* of 64 KiB; the sum of these three: */
    uint64_t chunks_added;      /* where nothing was replaced */
    uint64_t chunks_modified;
    uint64_t chunks_discarded;  /* where nothing is left */
    const char *snapshot;  /* NULL: none */
    PdsKept kept;
} PdsPoint;

typedef struct PdsPointQuery {
    int64_t since_us;
    int64_t until_us;
    uint64_t limit;        /* the newest so many */
} PdsPointQuery;

typedef void PdsPointFn(void *opaque, const PdsPoint *point);
/* Task; fn is called from it. */
int pds_points(PdsEngine *engine, const PdsPointQuery *query, PdsPointFn *fn, void *opaque,
               char **message);

typedef struct PdsInterval {
    int64_t begin_us;
    uint64_t points;
    uint64_t bytes_changed;
    uint64_t chunks_changed;
} PdsInterval;

typedef struct PdsActivity {
    int64_t begin_us, end_us;  /* what the intervals cover */
    uint64_t points;
    uint64_t bytes_changed;
} PdsActivity;

typedef void PdsIntervalFn(void *opaque, const PdsInterval *interval);
/* Sums up what pds_points would list, over so many intervals of time. Task; fn is called from it. */
int pds_activity(PdsEngine *engine, const PdsPointQuery *query, size_t intervals, PdsActivity *activity,
                 PdsIntervalFn *fn, void *opaque, char **message);

typedef struct PdsChangesQuery {
    uint64_t offset;
    uint64_t ranges_max;
    uint64_t bytes_max;
} PdsChangesQuery;

typedef struct PdsChanges {
    uint64_t from, to;             /* sequence numbers */
    int64_t from_time_us, to_time_us;
    uint64_t from_size, to_size;
    bool complete;
    uint64_t next;                 /* if not */
} PdsChanges;

typedef void PdsRangeFn(void *opaque, uint64_t offset, uint64_t length);
/* Task; fn is called from it. */
int pds_changes(PdsEngine *engine, const PdsMoment *from, const PdsMoment *to,
                const PdsChangesQuery *query, PdsChanges *changes, PdsRangeFn *fn, void *opaque,
                char **message);

/* --- views --- */

/* Task. */
int pds_view_open(PdsEngine *engine, const PdsMoment *moment, PdsView **view, char **message);
/* No read may be running. Any context. */
void pds_view_close(PdsView *view);
/* Any context. */
uint64_t pds_view_size(const PdsView *view);
uint64_t pds_view_sequence(const PdsView *view);
/* Tasks. */
int pds_view_preadv(PdsView *view, uint64_t offset, const struct iovec *iov, size_t niov);
int pds_view_read_vm_state(PdsView *view, uint64_t position, const struct iovec *iov, size_t niov);
int pds_view_status(PdsView *view, uint64_t offset, uint64_t length, PdsStatus *status);

/* --- facts --- */

typedef struct PdsBranch {
    uint32_t id;
    uint64_t first;
    uint64_t last;
    uint64_t parent;
    bool current;
} PdsBranch;

/* One of the images that history lies in. */
typedef struct PdsTier {
    bool attached;
    bool full;              /* it could not grow when it last was to */
    uint64_t bytes;         /* length, as far as it is known */
    uint64_t used;          /* bytes of segments in use */
    uint64_t streams;       /* that lie there */
    uint64_t stream_bytes;  /* of the guest's data in these */
} PdsTier;

typedef struct PdsInfo {
    uint8_t uuid[16];
    uint64_t virtual_size;
    uint64_t segment_size;
    char backing_file[PDS_BACKING_FILE_MAX + 1];
    char backing_format[PDS_BACKING_FORMAT_MAX + 1];
    uint64_t sequence;
    uint64_t durable;
    uint64_t snapshots;
    uint32_t branch;
    uint64_t branches;
    bool has_points;
    uint64_t floor;               /* the oldest state that can be gone back to */
    int64_t floor_time_us;        /* of it, unless it is 0 */
    PdsRetention retention;
    int64_t oldest_point_us;      /* these three: if has_points */
    int64_t newest_point_us;
    uint64_t newest_point_sequence;
    uint64_t segments_total;
    uint64_t segments_log;
    uint64_t segments_index;
    uint64_t segments_checkpoint;
    uint64_t segments_ready;
    uint64_t segments_free;
    uint64_t segments_stream;     /* hold old history */
    uint64_t streams;
    PdsTier fast, capacity;
    bool has_capacity;            /* attached or not, there is a capacity image: */
    uint8_t capacity_id[16];
    uint64_t segments_past;       /* of segments_log: they hold no history */
    uint64_t segments_leaving;    /* about to be free */
    uint64_t image_bytes;
    uint64_t live_extents;
    uint64_t map_memory_bytes;
    uint64_t packed_live_bytes; /* of the guest's, that are compressed */
    uint64_t views_open;
    bool corrupt;
} PdsInfo;

typedef void PdsBranchFn(void *opaque, const PdsBranch *branch);
/* fn may be NULL. Any context. */
void pds_info(const PdsEngine *engine, PdsInfo *info, PdsBranchFn *fn, void *opaque);

typedef struct PdsStats {
    uint64_t batches;
    uint64_t batch_bytes;
    uint64_t index_bytes;
    uint64_t checkpoint_bytes;
    uint64_t prewritten_bytes;
    uint64_t points;
    uint64_t snapshots;
    uint64_t rollbacks;
    uint64_t checkpoints;
    uint64_t checksum_errors;
    uint64_t append_errors;
    uint64_t cleaned_segments;
    uint64_t moved_bytes;
    uint64_t reclaimed_segments;
    uint64_t sealed_bytes;
    uint64_t stream_bytes;
    uint64_t packed_bytes, pack_bytes; /* cold data, and what it takes in packs */
    uint64_t streams_referred, streams_compacted; /* written anew, to take less */
    uint64_t given_back_bytes;
    uint64_t moved_streams, moved_stream_bytes; /* to the capacity image */
    uint64_t recovered_batches;
    int64_t open_us;
} PdsStats;

/* Any context. */
void pds_stats(const PdsEngine *engine, PdsStats *stats);

typedef struct PdsStagingUse {
    uint64_t entries;
    uint64_t hits, misses;
    uint64_t admitted, used;
    uint64_t evictions, invalidations, refused;
} PdsStagingUse;

/* Fetched ahead of time: PrefetchInfo. */
typedef struct PdsPrefetch {
    uint64_t queued, running, unused;
    uint64_t wanted, dropped, needless, failures;  /* chunks of 64 KiB */
    uint64_t fetched, bytes, refused, late;        /* blocks of 4 KiB */
    uint64_t waits;
} PdsPrefetch;

typedef struct PdsFineInfo {
    PdsFine fine;
    uint64_t staged_bytes;
    uint64_t memory_bytes;
    uint64_t hits, misses, evictions, invalidations, refused;
    PdsStagingUse rewrite, read, prefetch;  /* by purpose */
    PdsPrefetch fetching;
    uint64_t chunks_fine;
    uint64_t live_deltas;
    uint64_t deltas, delta_bytes, delta_guest_bytes, materialised;
} PdsFineInfo;

/* Any context. */
void pds_fine_info(const PdsEngine *engine, PdsFineInfo *info);

/* What came of predictions of writes, or of reads: in chunks. */
typedef struct PdsJudged {
    uint64_t predicted;    /* those with a probability of a half or more */
    uint64_t came_true;
    uint64_t used;         /* predicted or not */
    double expected;       /* sum of all probabilities */
    double brier;
} PdsJudged;

typedef struct PdsJudgement {
    const char *model;
    uint64_t base;
    int64_t horizon_us;
    int64_t elapsed_us;
    bool finished;
    bool cut_short;
    uint64_t chunks;
    PdsJudged writes;
    PdsJudged reads;
} PdsJudgement;

typedef struct PdsPredictionInfo {
    bool predicted;        /* false: the built-in rules serve */
    bool given;            /* these: of the newest set, whether it holds or not */
    const char *model;
    uint64_t base;
    int64_t age_us;
    int64_t horizon_us;
    uint64_t chunks;
    bool has_write_rate;
    double write_rate;
    uint64_t accepted, refused, expired;
    uint64_t hints;
    uint64_t wanted_horizon_us;
    const PdsJudgement *judging;  /* NULL: none */
    const PdsJudgement *judged;   /* NULL: none yet */
} PdsPredictionInfo;

typedef void PdsPredictionInfoFn(void *opaque, const PdsPredictionInfo *info);
/* Any context. */
void pds_prediction_info(const PdsEngine *engine, PdsPredictionInfoFn *fn, void *opaque);

typedef struct PdsThresholdChanged {
    int64_t age_us;
    double value;
    double hit_rate;
    double occupancy;
} PdsThresholdChanged;

typedef void PdsThresholdChangedFn(void *opaque, const PdsThresholdChanged *change);
/* What is in force, its value, and how it came to that, oldest first. Any context. */
void pds_threshold_info(const PdsEngine *engine, PdsThreshold *threshold, double *value, PdsThresholdChangedFn *fn,
                        void *opaque);

typedef void PdsSnapshotForecastFn(void *opaque, uint64_t snapshot_id, const PdsJudgement *judgement);
/* Of the newest snapshots with a horizon. Any context. */
void pds_snapshot_forecasts(const PdsEngine *engine, PdsSnapshotForecastFn *fn, void *opaque);

typedef struct PdsCheck {
    uint64_t corruptions;
    uint64_t leaked_bytes;
    uint64_t extents_checked;
    uint64_t image_end;
} PdsCheck;

typedef void PdsFindingFn(void *opaque, const char *finding);
/* Verifies all that is stored, data included. Task. */
int pds_check(PdsEngine *engine, PdsCheck *check, PdsFindingFn *fn, void *opaque, char **message);

/* --- the access log: what the guest did, for programs that learn from it --- */

typedef struct PdsAccessLog PdsAccessLog;

typedef enum PdsAccess {
    PDS_ACCESS_READ,
    PDS_ACCESS_WRITE,
    PDS_ACCESS_WRITE_ZEROES,
    PDS_ACCESS_DISCARD,
} PdsAccess;

#define PDS_ACCESS_HEADER_BYTES 64

/* `session` is another one with each opening of the image. Any context, as all of these. */
PdsAccessLog *pds_access_log_new(const uint8_t uuid[16], uint64_t session);
void pds_access_log_free(PdsAccessLog *log);
/* What a file begins with. */
void pds_access_log_header(const PdsAccessLog *log, int64_t time_us, uint64_t disk_size, void *header);
/* Whether that is the beginning of an access log of this image. */
bool pds_access_log_header_is_valid(const PdsAccessLog *log, const void *header);
/*
 * `changed`: see pds_pwritev(). Any number of threads. When too much waits to be taken, requests are dropped, and counted. True: there
 * is enough to be worth taking (said once until it is).
 */
bool pds_access_log_note(PdsAccessLog *log, int64_t time_us, PdsAccess access, uint64_t offset,
                         uint64_t length, int changed);
/*
 * The block to append to the file, or NULL if there is nothing; it lives until the next call. `records`
 * are in it. One thread at a time.
 */
const void *pds_access_log_take(PdsAccessLog *log, uint64_t sequence, size_t *length,
                                uint32_t *records);
/* A block could not be written. */
void pds_access_log_lost(PdsAccessLog *log, uint32_t records);
void pds_access_log_counts(const PdsAccessLog *log, uint64_t *records, uint64_t *dropped);

#ifdef __cplusplus
}
#endif

#endif /* PREDSNAP_SHIM_H */
