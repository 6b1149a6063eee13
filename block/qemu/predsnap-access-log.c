/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: the access log
 *
 * Requests are packed in memory, by whoever makes them; one thread writes
 * them to the file, so that no guest ever waits for it. When the thread does
 * not keep up, records are dropped and counted.
 *
 * The thread never deletes anything of the file but what it was asked to, by
 * its size. What a crash leaves of a block at the file's end stays there, and
 * readers skip it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "qemu/thread.h"
#include "predsnap-int.h"

#define FLUSH_INTERVAL_MS 500

struct PredsnapAccessLog {
    PdsAccessLog *packed;
    BlockDriverState *bs;
    char *path;
    uint64_t size_max;

    /* Of the thread, while it runs. */
    int fd;
    uint64_t size;
    bool failed;        /* the last block could not be written */

    QemuThread thread;
    QemuMutex lock;     /* protects what follows */
    QemuCond cond;
    bool wanted;        /* there is enough for a block */
    bool stop;
};

/* --- the file --- */

static bool is_fdset(const char *path)
{
    return g_str_has_prefix(path, "/dev/fdset/");
}

static bool write_bytes(PredsnapAccessLog *log, const void *bytes,
                        size_t length)
{
    ssize_t written = qemu_write_full(log->fd, bytes, length);

    log->size += MAX(written, 0);
    return written == length;
}

static bool write_header(PredsnapAccessLog *log)
{
    uint8_t header[PDS_ACCESS_HEADER_BYTES];

    pds_access_log_header(log->packed, g_get_real_time(),
                          log->bs->total_sectors * BDRV_SECTOR_SIZE, header);
    return write_bytes(log, header, sizeof(header));
}

/* Goes to the end of a log of this image, or begins one in an empty file. */
static bool begin_file(PredsnapAccessLog *log, Error **errp)
{
    uint8_t header[PDS_ACCESS_HEADER_BYTES];
    off_t end = lseek(log->fd, 0, SEEK_END);

    if (end < 0) {
        error_setg_errno(errp, errno, "Access log '%s' must be a file",
                         log->path);
        return false;
    }
    if (end > 0 && (pread(log->fd, header, sizeof(header), 0) !=
                    sizeof(header) ||
                    !pds_access_log_header_is_valid(log->packed, header))) {
        error_setg(errp, "File '%s' is no access log of this image: move it "
                   "away, or use another name", log->path);
        return false;
    }
    log->size = end;
    if (end == 0 && !write_header(log)) {
        error_setg_errno(errp, errno, "Could not write to access log '%s'",
                         log->path);
        return false;
    }
    return true;
}

/* What is full is put aside; what cannot be, is emptied. */
static void rotate(PredsnapAccessLog *log)
{
    g_autofree char *aside = g_strdup_printf("%s.1", log->path);
    int fd = -1;

    if (!is_fdset(log->path) && rename(log->path, aside) == 0) {
        fd = qemu_create(log->path, O_RDWR | O_APPEND | O_TRUNC, 0600, NULL);
    }
    if (fd >= 0) {
        qemu_close(log->fd);
        log->fd = fd;
    } else if (ftruncate(log->fd, 0) < 0 ||
               lseek(log->fd, 0, SEEK_SET) < 0) {
        return; /* it grows on; the next block tries again */
    }
    log->size = 0;
    write_header(log);
}

static uint64_t newest_sequence(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_get(s);
    PdsInfo info;

    if (!engine) {
        return 0; /* not known while the image is opened again */
    }
    pds_info(engine, &info, NULL, NULL);
    predsnap_put(s);
    return info.sequence;
}

static void write_block(PredsnapAccessLog *log)
{
    size_t length;
    uint32_t records;
    const void *block = pds_access_log_take(log->packed,
                                            newest_sequence(log->bs), &length,
                                            &records);

    if (!block) {
        return;
    }
    if (log->size >= log->size_max) {
        rotate(log);
    }
    if (write_bytes(log, block, length)) {
        log->failed = false;
        return;
    }
    pds_access_log_lost(log->packed, records);
    if (!log->failed) {
        warn_report("predsnap node '%s': could not write to access log '%s': "
                    "%s; requests are not recorded until that is possible",
                    bdrv_get_node_name(log->bs), log->path, strerror(errno));
    }
    log->failed = true;
}

/* --- the thread --- */

static bool wait_for_work(PredsnapAccessLog *log)
{
    QEMU_LOCK_GUARD(&log->lock);
    if (!log->wanted && !log->stop) {
        qemu_cond_timedwait(&log->cond, &log->lock, FLUSH_INTERVAL_MS);
    }
    log->wanted = false;
    return !log->stop;
}

static void *write_blocks(void *opaque)
{
    PredsnapAccessLog *log = opaque;

    while (wait_for_work(log)) {
        write_block(log);
    }
    write_block(log);
    return NULL;
}

static void free_log(PredsnapAccessLog *log)
{
    if (log->fd >= 0) {
        qemu_close(log->fd);
    }
    pds_access_log_free(log->packed);
    g_free(log->path);
    g_free(log);
}

bool predsnap_access_log_open(BlockDriverState *bs, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PredsnapAccessLog *log;
    PdsInfo info;
    uint64_t session;

    if (!s->settings.access_log) {
        return true;
    }
    qemu_guest_getrandom_nofail(&session, sizeof(session));
    pds_info(s->engine, &info, NULL, NULL);
    log = g_new0(PredsnapAccessLog, 1);
    log->packed = pds_access_log_new(info.uuid, session);
    log->bs = bs;
    log->path = g_strdup(s->settings.access_log);
    log->size_max = s->settings.access_log_size;
    /* While a machine migrates both sides may append: each block is whole */
    log->fd = qemu_create(log->path, O_RDWR | O_APPEND, 0600, errp);
    if (log->fd < 0 || !begin_file(log, errp)) {
        free_log(log);
        return false;
    }
    qemu_mutex_init(&log->lock);
    qemu_cond_init(&log->cond);
    qemu_thread_create(&log->thread, "predsnap-log", write_blocks, log,
                       QEMU_THREAD_JOINABLE);
    s->access_log = log;
    return true;
}

void predsnap_access_log_close(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    PredsnapAccessLog *log = g_steal_pointer(&s->access_log);

    if (!log) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&log->lock) {
        log->stop = true;
        qemu_cond_signal(&log->cond);
    }
    qemu_thread_join(&log->thread);
    qemu_cond_destroy(&log->cond);
    qemu_mutex_destroy(&log->lock);
    free_log(log);
}

/* --- requests --- */

void predsnap_access_log_note(PredsnapAccessLog *log, PdsAccess access,
                              int64_t offset, int64_t bytes, int changed)
{
    if (pds_access_log_note(log->packed, g_get_real_time(), access, offset,
                            bytes, changed)) {
        QEMU_LOCK_GUARD(&log->lock);
        log->wanted = true;
        qemu_cond_signal(&log->cond);
    }
}

void predsnap_access_log_counts(const PredsnapAccessLog *log,
                                uint64_t *records, uint64_t *dropped)
{
    pds_access_log_counts(log->packed, records, dropped);
}
