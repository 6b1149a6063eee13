/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: snapshots, VM state and rollback
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/memalign.h"
#include "qapi/error.h"
#include "qapi/qapi-events-predsnap.h"
#include "block/dirty-bitmap.h"
#include "predsnap-int.h"

#define NAMES_LISTED 8

/* --- list --- */

static void predsnap_add_snapshot(void *opaque, const PdsSnapshot *from)
{
    GArray *list = opaque;
    QEMUSnapshotInfo to = {
        .vm_state_size  = from->vm_state_size,
        .date_sec       = from->time_us / 1000000,
        .date_nsec      = from->time_us % 1000000 * 1000,
        .vm_clock_nsec  = from->vm_clock_ns,
        .icount         = from->icount,
    };

    snprintf(to.id_str, sizeof(to.id_str), "%" PRIu64, from->id);
    pstrcpy(to.name, sizeof(to.name), from->name);
    g_array_append_val(list, to);
}

static GArray *predsnap_list_snapshots(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;
    GArray *list = g_array_new(false, false, sizeof(QEMUSnapshotInfo));
    PdsEngine *engine = predsnap_get(s);

    if (engine) {
        pds_snapshots(engine, predsnap_add_snapshot, list);
        predsnap_put(s);
    }
    return list;
}

int predsnap_snapshot_list(BlockDriverState *bs, QEMUSnapshotInfo **psn_info)
{
    GArray *list = predsnap_list_snapshots(bs);
    int count = list->len;

    *psn_info = (QEMUSnapshotInfo *)g_array_free(list, count == 0);
    return count;
}

/*
 * Finds the snapshot that has the id, if given, and the name, if given.
 * Returns its name, or NULL. The caller frees.
 */
static char *predsnap_find_snapshot(BlockDriverState *bs, const char *id,
                                    const char *name)
{
    g_autoptr(GArray) list = predsnap_list_snapshots(bs);
    QEMUSnapshotInfo *sn;
    guint i;

    for (i = 0; i < list->len; i++) {
        sn = &g_array_index(list, QEMUSnapshotInfo, i);
        if ((!id || !strcmp(sn->id_str, id)) &&
            (!name || !strcmp(sn->name, name))) {
            return g_strdup(sn->name);
        }
    }
    return NULL;
}

/* The names of the newest snapshots, for a message. The caller frees. */
static char *predsnap_snapshot_names(BlockDriverState *bs)
{
    g_autoptr(GArray) list = predsnap_list_snapshots(bs);
    GString *names = g_string_new(NULL);
    guint i, first = list->len > NAMES_LISTED ? list->len - NAMES_LISTED : 0;

    for (i = first; i < list->len; i++) {
        g_string_append_printf(names, "%s'%s'", i > first ? ", " : "",
                               g_array_index(list, QEMUSnapshotInfo, i).name);
    }
    if (list->len == 0) {
        g_string_append(names, "there are none");
    } else {
        g_string_prepend(names, first ? "the newest are " : "it has ");
    }
    return g_string_free(names, false);
}

static void predsnap_unknown_snapshot(BlockDriverState *bs, const char *name,
                                      Error **errp)
{
    g_autofree char *names = predsnap_snapshot_names(bs);

    error_setg(errp, "Node '%s' has no snapshot '%s': %s",
               bdrv_get_node_name(bs), name, names);
}

int predsnap_moment_error(BlockDriverState *bs, const PdsMoment *moment,
                          int ret, char *message, Error **errp)
{
    if (ret == -ENOENT && moment->kind == PDS_MOMENT_SNAPSHOT) {
        free(message);
        predsnap_unknown_snapshot(bs, moment->snapshot, errp);
        return ret;
    }
    return predsnap_error(bs, ret, message, errp);
}

/* --- create and delete --- */

int coroutine_fn predsnap_co_snapshot_create(BlockDriverState *bs, void *opaque,
                                             Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsSnapshot *snapshot = opaque;
    char *message = NULL;
    int ret;

    ret = s->engine ? pds_snapshot_create(s->engine, snapshot, &message) : -EIO;
    if (ret == -EEXIST) {
        free(message);
        error_setg(errp, "Node '%s' has a snapshot '%s' already: choose "
                   "another name, or delete that one first with "
                   "predsnap-snapshot-delete", bdrv_get_node_name(bs),
                   snapshot->name);
        return ret;
    }
    return ret < 0 ? predsnap_error(bs, ret, message, errp) : 0;
}

int predsnap_snapshot_create(BlockDriverState *bs, QEMUSnapshotInfo *sn_info)
{
    PdsSnapshot snapshot = {
        .name           = sn_info->name,
        .vm_state_size  = sn_info->vm_state_size,
        .vm_clock_ns    = sn_info->vm_clock_nsec,
        .icount         = sn_info->icount,
    };
    int ret;

    ret = predsnap_run(bs, predsnap_co_snapshot_create, &snapshot, NULL);
    if (ret == 0) {
        snprintf(sn_info->id_str, sizeof(sn_info->id_str), "%" PRIu64,
                 snapshot.id);
    }
    return ret;
}

int coroutine_fn predsnap_co_snapshot_delete(BlockDriverState *bs, void *opaque,
                                             Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    char *message = NULL;
    int ret;

    ret = s->engine ? pds_snapshot_delete(s->engine, opaque, &message) : -EIO;
    if (ret == -ENOENT) {
        free(message);
        predsnap_unknown_snapshot(bs, opaque, errp);
        return ret;
    }
    return ret < 0 ? predsnap_error(bs, ret, message, errp) : 0;
}

int predsnap_snapshot_delete(BlockDriverState *bs, const char *snapshot_id,
                             const char *name, Error **errp)
{
    g_autofree char *found = predsnap_find_snapshot(bs, snapshot_id, name);

    if (!found) {
        predsnap_unknown_snapshot(bs, name ?: snapshot_id, errp);
        return -ENOENT;
    }
    return predsnap_run(bs, predsnap_co_snapshot_delete, found, errp);
}

/* --- rollback --- */

/* Whether all users of the node bear it if its size changes. */
static bool coroutine_fn GRAPH_RDLOCK
predsnap_may_resize(BlockDriverState *bs, Error **errp)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (!(c->shared_perm & BLK_PERM_RESIZE)) {
            g_autofree char *user = c->klass->get_parent_desc(c);
            error_setg(errp, "Node '%s' would change its size, which %s does "
                       "not allow: detach it first",
                       bdrv_get_node_name(bs), user);
            return false;
        }
    }
    return true;
}

void coroutine_fn GRAPH_RDLOCK
predsnap_co_content_changed(BlockDriverState *bs, int64_t size)
{
    BdrvChild *c;

    if (bs->total_sectors * BDRV_SECTOR_SIZE != size) {
        bdrv_co_refresh_total_sectors(bs, size / BDRV_SECTOR_SIZE);
        bdrv_dirty_bitmap_truncate(bs, size);
    }
    bdrv_set_dirty(bs, 0, size);

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->resize) {
            c->klass->resize(c);
        }
        if (c->klass->parent_is_bds && (c->role & BDRV_CHILD_FILTERED)) {
            predsnap_co_content_changed(c->opaque, size);
        }
    }
}

int coroutine_fn
predsnap_co_rollback(BlockDriverState *bs, const PdsMoment *moment,
                     PdsRollback *rollback, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsResolved target;
    char *message = NULL;
    int ret;

    if (!s->engine) {
        return predsnap_error(bs, -EIO, NULL, errp);
    }
    ret = pds_resolve(s->engine, moment, &target, &message);
    if (ret < 0) {
        return predsnap_moment_error(bs, moment, ret, message, errp);
    }
    if (target.size != pds_size(s->engine) && !predsnap_may_resize(bs, errp)) {
        return -EPERM;
    }
    ret = pds_rollback(s->engine, moment, rollback, &message);
    if (ret < 0) {
        return predsnap_error(bs, ret, message, errp);
    }
    predsnap_co_content_changed(bs, pds_size(s->engine));
    qapi_event_send_predsnap_rollback(bdrv_get_node_name(bs), rollback->from,
                                      rollback->to, rollback->to_time_us,
                                      rollback->branch);
    return 0;
}

static int coroutine_fn GRAPH_RDLOCK
predsnap_co_goto(BlockDriverState *bs, void *opaque, Error **errp)
{
    PdsMoment moment = {
        .kind = PDS_MOMENT_SNAPSHOT,
        .snapshot = opaque,
    };
    PdsRollback rollback;

    return predsnap_co_rollback(bs, &moment, &rollback, errp);
}

int predsnap_snapshot_goto(BlockDriverState *bs, const char *snapshot_id)
{
    g_autofree char *name = predsnap_find_snapshot(bs, snapshot_id, NULL);

    if (!name) {
        name = predsnap_find_snapshot(bs, NULL, snapshot_id);
    }
    if (!name) {
        return -ENOENT;
    }
    return predsnap_run(bs, predsnap_co_goto, name, NULL);
}

/* --- a snapshot in place of the disk, for tools --- */

static int coroutine_fn GRAPH_RDLOCK
predsnap_co_load_tmp(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsMoment moment = {
        .kind = PDS_MOMENT_SNAPSHOT,
        .snapshot = opaque,
    };
    PdsView *view;
    char *message = NULL;
    int ret;

    if (!s->engine) {
        return predsnap_error(bs, -EIO, NULL, errp);
    }
    ret = pds_view_open(s->engine, &moment, &view, &message);
    if (ret < 0) {
        return predsnap_error(bs, ret, message, errp);
    }
    if (s->loaded_snapshot) {
        pds_view_close(s->loaded_snapshot);
    }
    s->loaded_snapshot = view;
    return bdrv_co_refresh_total_sectors(bs, pds_view_size(view) /
                                             BDRV_SECTOR_SIZE);
}

int predsnap_snapshot_load_tmp(BlockDriverState *bs, const char *snapshot_id,
                               const char *name, Error **errp)
{
    g_autofree char *found = predsnap_find_snapshot(bs, snapshot_id, name);

    if (!found) {
        predsnap_unknown_snapshot(bs, name ?: snapshot_id, errp);
        return -ENOENT;
    }
    return predsnap_run(bs, predsnap_co_load_tmp, found, errp);
}

/* --- VM state --- */

/* Between predsnap_co_get() and predsnap_put(). */
static int coroutine_fn GRAPH_RDLOCK
predsnap_co_read_state(BDRVPredsnapState *s, int64_t pos, void *buf, size_t len)
{
    struct iovec iov = { .iov_base = buf, .iov_len = len };

    return s->loaded_snapshot
        ? pds_view_read_vm_state(s->loaded_snapshot, pos, &iov, 1)
        : pds_read_vm_state(s->engine, pos, &iov, 1);
}

/*
 * The stream of VM state is cut anywhere, but the engine knows only sectors:
 * the range of sectors around a request, and a buffer for it.
 */
typedef struct StateRange {
    int64_t start;
    size_t len;
    size_t skip;    /* bytes before the request */
    uint8_t *buf;
} StateRange;

static bool state_range_init(StateRange *r, int64_t pos, size_t bytes)
{
    r->start = QEMU_ALIGN_DOWN(pos, BDRV_SECTOR_SIZE);
    r->len = QEMU_ALIGN_UP(pos + bytes, BDRV_SECTOR_SIZE) - r->start;
    r->skip = pos - r->start;
    r->buf = qemu_try_memalign(qemu_real_host_page_size(), r->len);
    return r->buf != NULL;
}

/* Reads what lies in the first and the last sector outside the request. */
static int coroutine_fn GRAPH_RDLOCK
state_range_read_edges(BDRVPredsnapState *s, StateRange *r, size_t bytes)
{
    size_t last = r->len - BDRV_SECTOR_SIZE;
    bool head = r->skip > 0;
    bool tail = r->skip + bytes < r->len;
    int ret = 0;

    if (head) {
        ret = predsnap_co_read_state(s, r->start, r->buf, BDRV_SECTOR_SIZE);
    }
    if (ret == 0 && tail && !(head && last == 0)) {
        ret = predsnap_co_read_state(s, r->start + last, r->buf + last,
                                     BDRV_SECTOR_SIZE);
    }
    return ret;
}

int coroutine_fn
predsnap_co_save_vmstate(BlockDriverState *bs, QEMUIOVector *qiov, int64_t pos)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine;
    struct iovec iov;
    StateRange r;
    int ret;

    if (!state_range_init(&r, pos, qiov->size)) {
        return -ENOMEM;
    }
    engine = predsnap_co_get(s);
    if (!engine) {
        qemu_vfree(r.buf);
        return -EIO;
    }
    ret = state_range_read_edges(s, &r, qiov->size);
    if (ret == 0) {
        qemu_iovec_to_buf(qiov, 0, r.buf + r.skip, qiov->size);
        iov = (struct iovec) { .iov_base = r.buf, .iov_len = r.len };
        ret = pds_write_vm_state(engine, r.start, &iov, 1);
    }
    predsnap_put(s);
    qemu_vfree(r.buf);
    return ret;
}

int coroutine_fn
predsnap_co_load_vmstate(BlockDriverState *bs, QEMUIOVector *qiov, int64_t pos)
{
    BDRVPredsnapState *s = bs->opaque;
    StateRange r;
    int ret;

    if (!state_range_init(&r, pos, qiov->size)) {
        return -ENOMEM;
    }
    if (!predsnap_co_get(s)) {
        qemu_vfree(r.buf);
        return -EIO;
    }
    ret = predsnap_co_read_state(s, r.start, r.buf, r.len);
    predsnap_put(s);
    if (ret == 0) {
        qemu_iovec_from_buf(qiov, 0, r.buf + r.skip, qiov->size);
    }
    qemu_vfree(r.buf);
    return ret;
}
