/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: what differs between two states
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-predsnap.h"
#include "qemu/units.h"
#include "predsnap-int.h"

#define CHANGES_LIMIT_DEFAULT 10000
#define CHANGES_COMPARE_DEFAULT (256 * MiB)

typedef struct ChangesCall {
    PdsMoment from, to;
    PdsChangesQuery query;
    PredsnapChanges *found;
    PredsnapRangeList **tail;
} ChangesCall;

static void add_range(void *opaque, uint64_t offset, uint64_t length)
{
    ChangesCall *call = opaque;
    PredsnapRange *range = g_new0(PredsnapRange, 1);

    range->offset = offset;
    range->length = length;
    QAPI_LIST_APPEND(call->tail, range);
}

static PredsnapState *new_state(uint64_t sequence, int64_t time_us,
                                uint64_t size)
{
    PredsnapState *state = g_new0(PredsnapState, 1);

    state->sequence = sequence;
    state->time = time_us;
    state->size = size;
    return state;
}

/* Fixes the moment to its sequence number, or says what is wrong with it. */
static int coroutine_fn GRAPH_RDLOCK
co_fix_moment(BlockDriverState *bs, PdsMoment *moment, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsResolved resolved;
    char *message = NULL;
    int ret = pds_resolve(s->engine, moment, &resolved, &message);

    if (ret < 0) {
        return predsnap_moment_error(bs, moment, ret, message, errp);
    }
    moment->kind = PDS_MOMENT_SEQUENCE;
    moment->sequence = resolved.sequence;
    return 0;
}

static int coroutine_fn GRAPH_RDLOCK
co_query_changes(BlockDriverState *bs, void *opaque, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    ChangesCall *call = opaque;
    char *message = NULL;
    PdsChanges facts;
    int ret;

    if (co_fix_moment(bs, &call->from, errp) < 0 ||
        co_fix_moment(bs, &call->to, errp) < 0) {
        return -EINVAL;
    }
    call->found = g_new0(PredsnapChanges, 1);
    call->tail = &call->found->ranges;
    ret = pds_changes(s->engine, &call->from, &call->to, &call->query, &facts,
                      add_range, call, &message);
    if (ret < 0) {
        return predsnap_error(bs, ret, message, errp);
    }
    call->found->from = new_state(facts.from, facts.from_time_us,
                                  facts.from_size);
    call->found->to = new_state(facts.to, facts.to_time_us, facts.to_size);
    call->found->has_next = !facts.complete;
    call->found->next = facts.next;
    return 0;
}

static bool parse_moment(const PredsnapMoment *from, PdsMoment *to,
                         Error **errp)
{
    if (!from) {
        /* the newest state */
        *to = (PdsMoment) { .kind = PDS_MOMENT_TIME, .time_us = INT64_MAX };
        return true;
    }
    return predsnap_parse_moment(from->snapshot, from->has_time, from->time,
                                 from->has_sequence, from->sequence, to, errp);
}

PredsnapChanges *coroutine_fn
qmp_predsnap_query_changes(const char *node_name, PredsnapMoment *from,
                           PredsnapMoment *to, bool has_offset,
                           uint64_t offset, bool has_limit, uint64_t limit,
                           bool has_compare, uint64_t compare, Error **errp)
{
    ChangesCall call = {
        .query = {
            .offset = has_offset ? offset : 0,
            .ranges_max = has_limit ? limit : CHANGES_LIMIT_DEFAULT,
            .bytes_max = has_compare ? compare : CHANGES_COMPARE_DEFAULT,
        },
    };

    if (call.query.offset % BDRV_SECTOR_SIZE) {
        error_setg(errp, "'offset' must be a multiple of 512");
        return NULL;
    }
    if (!call.query.ranges_max || !call.query.bytes_max) {
        error_setg(errp, "'limit' and 'compare' must not be 0");
        return NULL;
    }
    if (!parse_moment(from, &call.from, errp) ||
        !parse_moment(to, &call.to, errp)) {
        return NULL;
    }
    if (predsnap_co_run_on_node(node_name, false, co_query_changes, &call,
                                errp) < 0) {
        qapi_free_PredsnapChanges(call.found);
        return NULL;
    }
    return call.found;
}
