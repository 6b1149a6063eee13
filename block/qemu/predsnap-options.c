/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: the driver's own options, at opening and at reopening
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "predsnap-int.h"

#define POINT_INTERVAL_MS_DEFAULT 1000
#define STAGING_BYTES_DEFAULT (64 * MiB)
#define WEIGHT_DEFAULT 5
#define WEIGHT_MAX 10

static QemuOptsList predsnap_runtime_opts = {
    .name = "predsnap",
    .head = QTAILQ_HEAD_INITIALIZER(predsnap_runtime_opts.head),
    .desc = {
        {
            .name = PREDSNAP_OPT_POINT_INTERVAL,
            .type = QEMU_OPT_NUMBER,
            .help = "While dirty, make a point at least so often, in "
                    "milliseconds (0: only at flushes)",
        },
        {
            .name = PREDSNAP_OPT_CDP_WINDOW,
            .type = QEMU_OPT_STRING,
            .help = "Keep all states of so many seconds (-1: all history)",
        },
        {
            .name = PREDSNAP_OPT_CDP_BYTES,
            .type = QEMU_OPT_SIZE,
            .help = "Keep history in at most so many bytes (0: no limit)",
        },
        {
            .name = PREDSNAP_OPT_STAGING_BYTES,
            .type = QEMU_OPT_SIZE,
            .help = "Keep copies of blocks in at most so many bytes of RAM",
        },
        {
            .name = PREDSNAP_OPT_GRANULARITY,
            .type = QEMU_OPT_STRING,
            .help = "How writes are logged (auto, fine, sub-block, block)",
        },
        {
            .name = PREDSNAP_OPT_WEIGHT,
            .type = QEMU_OPT_NUMBER,
            .help = "How critical the application is, from 0 to 10",
        },
        { /* end of list */ }
    },
};

const char *const predsnap_mutable_opts[] = {
    PREDSNAP_OPT_POINT_INTERVAL,
    PREDSNAP_OPT_CDP_WINDOW,
    PREDSNAP_OPT_CDP_BYTES,
    PREDSNAP_OPT_STAGING_BYTES,
    PREDSNAP_OPT_GRANULARITY,
    PREDSNAP_OPT_WEIGHT,
    NULL
};

static PdsGranularity predsnap_from_qapi_granularity(PredsnapGranularity from)
{
    switch (from) {
    case PREDSNAP_GRANULARITY_FINE:
        return PDS_GRANULARITY_FINE;
    case PREDSNAP_GRANULARITY_SUB_BLOCK:
        return PDS_GRANULARITY_SUB_BLOCK;
    case PREDSNAP_GRANULARITY_BLOCK:
        return PDS_GRANULARITY_BLOCK;
    default:
        return PDS_GRANULARITY_AUTO;
    }
}

static bool parse_point_interval(QemuOpts *opts, PredsnapSettings *settings,
                                 Error **errp)
{
    uint64_t interval = qemu_opt_get_number(opts, PREDSNAP_OPT_POINT_INTERVAL,
                                            POINT_INTERVAL_MS_DEFAULT);

    settings->point_interval_ms = interval;
    if (interval > UINT32_MAX) {
        error_setg(errp, "Option '" PREDSNAP_OPT_POINT_INTERVAL "' is in "
                   "milliseconds and at most %" PRIu32, UINT32_MAX);
        return false;
    }
    return true;
}

static bool parse_cdp_window(QemuOpts *opts, PredsnapSettings *settings,
                             Error **errp)
{
    const char *text = qemu_opt_get(opts, PREDSNAP_OPT_CDP_WINDOW);

    settings->has_cdp_window = text;
    if (text && (qemu_strtoi64(text, NULL, 10, &settings->cdp_window_s) < 0 ||
                 settings->cdp_window_s < -1 ||
                 settings->cdp_window_s > PREDSNAP_CDP_WINDOW_MAX)) {
        error_setg(errp, "Option '" PREDSNAP_OPT_CDP_WINDOW "' is in seconds, "
                   "from 0 to %" PRIi64 ", or -1 to keep all history",
                   PREDSNAP_CDP_WINDOW_MAX);
        return false;
    }
    return true;
}

static bool parse_fine(QemuOpts *opts, PredsnapSettings *settings,
                       Error **errp)
{
    PdsFine *fine = &settings->fine;
    uint64_t weight = qemu_opt_get_number(opts, PREDSNAP_OPT_WEIGHT,
                                          WEIGHT_DEFAULT);
    int granularity = qapi_enum_parse(&PredsnapGranularity_lookup,
                                      qemu_opt_get(opts,
                                                   PREDSNAP_OPT_GRANULARITY),
                                      PREDSNAP_GRANULARITY_AUTO, errp);

    if (granularity < 0) {
        return false;
    }
    if (weight > WEIGHT_MAX) {
        error_setg(errp, "Option '" PREDSNAP_OPT_WEIGHT "' is from 0 to %d",
                   WEIGHT_MAX);
        return false;
    }
    fine->granularity = predsnap_from_qapi_granularity(granularity);
    fine->weight = weight;
    fine->staging_bytes = qemu_opt_get_size(opts, PREDSNAP_OPT_STAGING_BYTES,
                                            STAGING_BYTES_DEFAULT);
    return true;
}

bool predsnap_absorb_options(QDict *options, PredsnapSettings *settings,
                             Error **errp)
{
    QemuOpts *opts = qemu_opts_create(&predsnap_runtime_opts, NULL, 0,
                                      &error_abort);
    bool ok = qemu_opts_absorb_qdict(opts, options, errp) &&
              parse_point_interval(opts, settings, errp) &&
              parse_cdp_window(opts, settings, errp) &&
              parse_fine(opts, settings, errp);

    if (ok) {
        settings->has_cdp_bytes = qemu_opt_find(opts, PREDSNAP_OPT_CDP_BYTES);
        settings->cdp_bytes = qemu_opt_get_size(opts, PREDSNAP_OPT_CDP_BYTES,
                                                0);
    }
    qemu_opts_del(opts);
    return ok;
}

bool predsnap_check_retention(BlockDriverState *bs,
                              const PredsnapSettings *settings, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_get(s);
    uint64_t least;

    if (!engine) {
        return true; /* it is checked again when there is an engine */
    }
    least = pds_retention_bytes_min(engine);
    predsnap_put(s);
    if (settings->has_cdp_bytes && settings->cdp_bytes > 0 &&
        settings->cdp_bytes < least) {
        error_setg(errp, "predsnap node '%s': option '" PREDSNAP_OPT_CDP_BYTES
                   "' is at least %" PRIu64 " with the segment size of this "
                   "image, or 0", bdrv_get_node_name(bs), least);
        return false;
    }
    return true;
}

/* What is not given stays as the image has it. */
int coroutine_fn predsnap_co_set_retention(BlockDriverState *bs,
                                           PdsEngine *engine, char **message)
{
    BDRVPredsnapState *s = bs->opaque;
    const PredsnapSettings *settings = &s->settings;
    PdsRetention retention;
    PdsInfo info;

    if (!settings->has_cdp_window && !settings->has_cdp_bytes) {
        return 0;
    }
    pds_info(engine, &info, NULL, NULL);
    retention = info.retention;
    if (settings->has_cdp_window) {
        retention.has_window = settings->cdp_window_s >= 0;
        retention.window_us = settings->cdp_window_s * 1000000;
    }
    if (settings->has_cdp_bytes) {
        retention.has_bytes = settings->cdp_bytes > 0;
        retention.bytes = settings->cdp_bytes;
    }
    return pds_set_retention(engine, &retention, message);
}
