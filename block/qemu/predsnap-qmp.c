/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: QMP commands
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-predsnap.h"
#include "system/block-backend.h"
#include "system/runstate.h"
#include "predsnap-int.h"

/* --- the node a command is about --- */

bool predsnap_check_node(BlockDriverState *bs, Error **errp)
{
    const char *driver = bs->drv ? bs->drv->format_name : "(none)";
    BlockDriverState *below;

    if (bs->drv == &bdrv_predsnap) {
        return true;
    }
    below = bdrv_skip_filters(bs);
    if (below && below->drv == &bdrv_predsnap) {
        error_setg(errp, "Node '%s' is of driver '%s', not 'predsnap': the "
                   "predsnap node below it is '%s'", bdrv_get_node_name(bs),
                   driver, bdrv_get_node_name(below));
    } else {
        error_setg(errp, "Node '%s' is of driver '%s', not 'predsnap': "
                   "query-predsnap lists the predsnap nodes",
                   bdrv_get_node_name(bs), driver);
    }
    return false;
}

BlockDriverState *predsnap_find_node(const char *node_name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(node_name);

    if (!bs) {
        error_setg(errp, "Cannot find node '%s': query-predsnap lists the "
                   "predsnap nodes", node_name);
        return NULL;
    }
    return predsnap_check_node(bs, errp) ? bs : NULL;
}

bool predsnap_check_usable(BlockDriverState *bs, bool to_write, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    const char *name = bdrv_get_node_name(bs);

    if (!s->engine) {
        error_setg(errp, "The image of node '%s' could not be opened again: "
                   "use blockdev-reopen, or delete and add the node", name);
        return false;
    }
    if (to_write && (bs->open_flags & BDRV_O_INACTIVE)) {
        error_setg(errp, "Node '%s' is inactive: the image may be in use by "
                   "the other side of a migration", name);
        return false;
    }
    if (to_write && bdrv_is_read_only(bs)) {
        error_setg(errp, "Node '%s' is read-only: use blockdev-reopen with "
                   "read-only=false", name);
        return false;
    }
    return true;
}

static int coroutine_fn
co_run_on_node(BlockDriverState *bs, bool to_write, PredsnapCoFn *fn,
               void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    int ret = -EINVAL;

    WITH_GRAPH_RDLOCK_GUARD() {
        bdrv_inc_in_flight(bs);
        WITH_QEMU_LOCK_GUARD(&s->control) {
            if (predsnap_check_usable(bs, to_write, errp)) {
                ret = fn(bs, opaque, errp);
            }
        }
        bdrv_dec_in_flight(bs);
    }
    return ret;
}

/* The node, with a reference so that it stays while the command waits. */
static BlockDriverState *coroutine_fn co_get_node(const char *node_name,
                                                  Error **errp)
{
    BlockDriverState *bs;

    GRAPH_RDLOCK_GUARD();
    bs = predsnap_find_node(node_name, errp);
    if (bs) {
        bdrv_ref(bs);
    }
    return bs;
}

int coroutine_fn predsnap_co_run_on_node(const char *node_name, bool to_write,
                                         PredsnapCoFn *fn, void *opaque,
                                         Error **errp)
{
    BlockDriverState *bs = co_get_node(node_name, errp);
    int ret;

    if (!bs) {
        return -ENODEV;
    }
    ret = co_run_on_node(bs, to_write, fn, opaque, errp);
    bdrv_co_unref(bs);
    return ret;
}

/* --- snapshots --- */

PredsnapSnapshot *predsnap_to_qapi_snapshot(const PdsSnapshot *from)
{
    PredsnapSnapshot *to = g_new0(PredsnapSnapshot, 1);

    to->id = from->id;
    to->name = g_strdup(from->name);
    to->sequence = from->sequence;
    to->time = from->time_us;
    to->size = from->disk_size;
    to->vm_state_size = from->vm_state_size;
    to->has_horizon = from->horizon_s != 0;
    to->horizon = from->horizon_s;
    return to;
}

PredsnapSnapshot *coroutine_fn
qmp_predsnap_snapshot_create(const char *node_name, const char *name,
                             bool has_horizon, uint32_t horizon, Error **errp)
{
    PdsSnapshot snapshot = {
        .name = name,
        .icount = UINT64_MAX,
        .horizon_s = has_horizon ? horizon : 0,
    };

    if (predsnap_co_run_on_node(node_name, true, predsnap_co_snapshot_create,
                            &snapshot, errp) < 0) {
        return NULL;
    }
    return predsnap_to_qapi_snapshot(&snapshot);
}

void coroutine_fn qmp_predsnap_snapshot_delete(const char *node_name,
                                               const char *name, Error **errp)
{
    predsnap_co_run_on_node(node_name, true, predsnap_co_snapshot_delete,
                        (void *)name, errp);
}

/* --- rollback --- */

/*
 * Whether somebody uses the disk who must not see it change. @c is a user of
 * the node, or of a node above it.
 */
static bool GRAPH_RDLOCK check_user(BdrvChild *c, const char *node_name,
                                    Error **errp);

static bool GRAPH_RDLOCK check_users(BlockDriverState *bs,
                                     const char *node_name, Error **errp)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (!check_user(c, node_name, errp)) {
            return false;
        }
    }
    return true;
}

/* BlockBackends are the only users with a device; jobs and exports have one. */
static bool is_guest_device(BdrvChild *c)
{
    BlockBackend *blk;

    for (blk = blk_all_next(NULL); blk; blk = blk_all_next(blk)) {
        if (blk == c->opaque) {
            return blk_get_attached_dev(blk) != NULL;
        }
    }
    return false;
}

static bool GRAPH_RDLOCK check_user(BdrvChild *c, const char *node_name,
                                    Error **errp)
{
    g_autofree char *user = NULL;

    if (c->klass->parent_is_bds) {
        BlockDriverState *parent = c->opaque;

        /* Overlays are kept out by the operation blocker */
        return !(c->role & BDRV_CHILD_FILTERED) ||
               check_users(parent, node_name, errp);
    }
    user = c->klass->get_parent_desc(c);
    if (is_guest_device(c)) {
        if (!runstate_check(RUN_STATE_RUNNING)) {
            return true;
        }
        error_setg(errp, "Node '%s' is in use by a running guest (%s): stop "
                   "the virtual machine first, or use force", node_name, user);
        return false;
    }
    if (c->perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) {
        error_setg(errp, "Node '%s' is in use by an export or a job that "
                   "writes to it (%s): end it first, or use force",
                   node_name, user);
        return false;
    }
    return true;
}

bool predsnap_parse_moment(const char *snapshot, bool has_time, int64_t time,
                           bool has_sequence, uint64_t sequence,
                           PdsMoment *moment, Error **errp)
{
    if (!!snapshot + has_time + has_sequence != 1) {
        error_setg(errp, "Exactly one of 'snapshot', 'time' and 'sequence' "
                   "must be given");
        return false;
    }
    *moment = (PdsMoment) {
        .kind = snapshot ? PDS_MOMENT_SNAPSHOT
              : has_time ? PDS_MOMENT_TIME : PDS_MOMENT_SEQUENCE,
        .snapshot = snapshot,
        .time_us = time,
        .sequence = sequence,
    };
    return true;
}

typedef struct RollbackCall {
    PdsMoment moment;
    PdsRollback result;
    uint64_t size;
} RollbackCall;

static int coroutine_fn GRAPH_RDLOCK
co_rollback(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    RollbackCall *call = opaque;
    int ret = predsnap_co_rollback(bs, &call->moment, &call->result, errp);

    call->size = s->engine ? pds_size(s->engine) : 0;
    return ret;
}

/* Runs in the main loop: users come and go only there. */
static bool coroutine_fn co_check_rollback(BlockDriverState *bs, bool force,
                                           Error **errp)
{
    GRAPH_RDLOCK_GUARD();
    if (bdrv_op_is_blocked(bs, BLOCK_OP_TYPE_INTERNAL_SNAPSHOT, errp)) {
        return false;
    }
    return force || check_users(bs, bdrv_get_node_name(bs), errp);
}

PredsnapRollback *coroutine_fn
qmp_predsnap_rollback(const char *node_name, const char *snapshot,
                      bool has_time, int64_t time, bool has_sequence,
                      uint64_t sequence, bool has_force, bool force,
                      Error **errp)
{
    BlockDriverState *bs;
    PredsnapRollback *rollback = NULL;
    RollbackCall call = { };
    int ret = -EINVAL;

    if (!predsnap_parse_moment(snapshot, has_time, time, has_sequence, sequence,
                               &call.moment, errp)) {
        return NULL;
    }
    bs = co_get_node(node_name, errp);
    if (!bs) {
        return NULL;
    }
    if (co_check_rollback(bs, has_force && force, errp)) {
        bdrv_drained_begin(bs);
        ret = co_run_on_node(bs, true, co_rollback, &call, errp);
        bdrv_drained_end(bs);
    }
    bdrv_co_unref(bs);
    if (ret < 0) {
        return NULL;
    }

    rollback = g_new0(PredsnapRollback, 1);
    rollback->from = call.result.from;
    rollback->sequence = call.result.to;
    rollback->time = call.result.to_time_us;
    rollback->branch = call.result.branch;
    rollback->size = call.size;
    return rollback;
}
