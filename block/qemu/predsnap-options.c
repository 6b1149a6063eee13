/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: the driver's own options, at opening and at reopening
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-types-predsnap.h"
#include "qapi/qapi-visit-predsnap.h"
#include "qapi/qobject-input-visitor.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "block/qdict.h"
#include "qemu/cutils.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "predsnap-int.h"

#define POINT_INTERVAL_MS_DEFAULT 1000
#define STAGING_BYTES_DEFAULT (64 * MiB)
#define STAGING_BYTES_MAX (64 * GiB)
#define WEIGHT_DEFAULT 5
#define WEIGHT_MAX 10
#define COMPRESSION_LEVEL_DEFAULT 1
#define COMPRESSION_LEVEL_MAX 19
#define ACCESS_LOG_SIZE_DEFAULT (64 * MiB)
#define ACCESS_LOG_SIZE_MIN (1 * MiB)

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
        {
            .name = PREDSNAP_OPT_COMPRESSION_LEVEL,
            .type = QEMU_OPT_NUMBER,
            .help = "How hard old history is compressed, from 1 to 19",
        },
        {
            .name = PREDSNAP_OPT_PACK_AFTER,
            .type = QEMU_OPT_NUMBER,
            .help = "Compress data not written for so many seconds; -1: none",
        },
        {
            .name = PREDSNAP_OPT_PLACEMENT,
            .type = QEMU_OPT_STRING,
            .help = "Where data goes that is copied to make room",
        },
        {
            .name = PREDSNAP_OPT_STAGE_READS,
            .type = QEMU_OPT_BOOL,
            .help = "Keep copies of blocks that are read again and again",
        },
        {
            .name = PREDSNAP_OPT_THRESHOLD,
            .type = QEMU_OPT_STRING,
            .help = "Relevance from which on blocks are kept, from 0 to 1",
        },
        {
            .name = PREDSNAP_OPT_ADAPTIVE,
            .type = QEMU_OPT_BOOL,
            .help = "Adjust the threshold to what comes of it",
        },
        {
            .name = PREDSNAP_OPT_PREDICT_STAGING,
            .type = QEMU_OPT_BOOL,
            .help = "Predictions decide which blocks are kept",
        },
        {
            .name = PREDSNAP_OPT_PREDICT_GRANULARITY,
            .type = QEMU_OPT_BOOL,
            .help = "Predictions decide what is logged as what differs",
        },
        {
            .name = PREDSNAP_OPT_PREDICT_POOL,
            .type = QEMU_OPT_BOOL,
            .help = "Predictions decide how much is written ahead",
        },
        {
            .name = PREDSNAP_OPT_PREDICT_PLACEMENT,
            .type = QEMU_OPT_BOOL,
            .help = "Predictions decide what is not put apart",
        },
        {
            .name = PREDSNAP_OPT_ACCESS_LOG,
            .type = QEMU_OPT_STRING,
            .help = "File that requests are recorded in, for predsnapd",
        },
        {
            .name = PREDSNAP_OPT_ACCESS_LOG_SIZE,
            .type = QEMU_OPT_SIZE,
            .help = "Size at which that file is put aside for a new one",
        },
        { /* end of list */ }
    },
};

/* The block layer knows a list only by the names of what is in it. */
QEMU_BUILD_BUG_ON(PDS_RULES_MAX != 8);
#define RULE_OPTIONS(number) \
    PREDSNAP_OPT_RETENTION "." number ".every", \
    PREDSNAP_OPT_RETENTION "." number ".for"

const char *const predsnap_mutable_opts[] = {
    PREDSNAP_OPT_POINT_INTERVAL,
    PREDSNAP_OPT_CDP_WINDOW,
    PREDSNAP_OPT_CDP_BYTES,
    PREDSNAP_OPT_RETENTION,
    RULE_OPTIONS("0"), RULE_OPTIONS("1"), RULE_OPTIONS("2"), RULE_OPTIONS("3"),
    RULE_OPTIONS("4"), RULE_OPTIONS("5"), RULE_OPTIONS("6"), RULE_OPTIONS("7"),
    PREDSNAP_OPT_STAGING_BYTES,
    PREDSNAP_OPT_GRANULARITY,
    PREDSNAP_OPT_WEIGHT,
    PREDSNAP_OPT_COMPRESSION_LEVEL,
    PREDSNAP_OPT_PACK_AFTER,
    PREDSNAP_OPT_PLACEMENT,
    /* Those of the access log are not: so it is said with the node's name. */
    PREDSNAP_OPT_ACCESS_LOG,
    PREDSNAP_OPT_ACCESS_LOG_SIZE,
    PREDSNAP_OPT_STAGE_READS,
    PREDSNAP_OPT_THRESHOLD,
    PREDSNAP_OPT_ADAPTIVE,
    PREDSNAP_OPT_PREDICT_STAGING,
    PREDSNAP_OPT_PREDICT_GRANULARITY,
    PREDSNAP_OPT_PREDICT_POOL,
    PREDSNAP_OPT_PREDICT_PLACEMENT,
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

/* -1 says something of its own: @none. */
static bool parse_seconds(const char *option, const char *text,
                          const char *none, int64_t *seconds, Error **errp)
{
    if (qemu_strtoi64(text, NULL, 10, seconds) < 0 || *seconds < -1 ||
        *seconds > PREDSNAP_CDP_WINDOW_MAX) {
        error_setg(errp, "Option '%s' is in seconds, from 0 to %" PRIi64
                   ", or -1 to %s", option, PREDSNAP_CDP_WINDOW_MAX, none);
        return false;
    }
    return true;
}

static bool parse_cdp_window(QemuOpts *opts, PredsnapSettings *settings,
                             Error **errp)
{
    const char *text = qemu_opt_get(opts, PREDSNAP_OPT_CDP_WINDOW);

    settings->has_cdp_window = text;
    return !text || parse_seconds(PREDSNAP_OPT_CDP_WINDOW, text,
                                  "keep all history",
                                  &settings->cdp_window_s, errp);
}

static bool take_rules(PredsnapRetentionRuleList *list,
                       PredsnapSettings *settings, Error **errp)
{
    settings->rule_count = 0;
    for (; list; list = list->next) {
        const PredsnapRetentionRule *rule = list->value;

        if (settings->rule_count == PDS_RULES_MAX) {
            error_setg(errp, "Option '" PREDSNAP_OPT_RETENTION "' can have %d "
                       "rules at most", PDS_RULES_MAX);
            return false;
        }
        if (rule->every < 1 || rule->every > PREDSNAP_CDP_WINDOW_MAX ||
            rule->q_for < 1 || rule->q_for > PREDSNAP_CDP_WINDOW_MAX) {
            error_setg(errp, "In option '" PREDSNAP_OPT_RETENTION "' both "
                       "'every' and 'for' are in seconds, from 1 to %" PRIi64,
                       PREDSNAP_CDP_WINDOW_MAX);
            return false;
        }
        settings->rules[settings->rule_count++] = (struct PdsRetentionRule) {
            .every_us = rule->every * 1000000,
            .for_us = rule->q_for * 1000000,
        };
    }
    return true;
}

/* The option is a list, so it comes in parts: retention.0.every and so on. */
static bool parse_retention(QDict *options, PredsnapSettings *settings,
                            Error **errp)
{
    g_autoptr(PredsnapRetentionRuleList) list = NULL;
    QDict *parts;
    Visitor *v;
    bool ok;

    settings->has_retention = false;
    if (qdict_haskey(options, PREDSNAP_OPT_RETENTION)) {
        QList *whole = qobject_to(QList, qdict_get(options,
                                                   PREDSNAP_OPT_RETENTION));

        if (!whole || !qlist_empty(whole)) {
            error_setg(errp, "Option '" PREDSNAP_OPT_RETENTION "' is a list of "
                       "rules with 'every' and 'for'");
            return false;
        }
        qdict_del(options, PREDSNAP_OPT_RETENTION);
        settings->has_retention = true;
        settings->rule_count = 0;
        return true;
    }
    qdict_extract_subqdict(options, &parts, PREDSNAP_OPT_RETENTION ".");
    if (!qdict_size(parts)) {
        qobject_unref(parts);
        return true;
    }
    settings->has_retention = true;
    v = qobject_input_visitor_new_flat_confused(parts, errp);
    ok = v && visit_type_PredsnapRetentionRuleList(v, NULL, &list, errp) &&
         take_rules(list, settings, errp);
    visit_free(v);
    qobject_unref(parts);
    return ok;
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
    if (fine->staging_bytes > STAGING_BYTES_MAX) {
        error_setg(errp, "Option '" PREDSNAP_OPT_STAGING_BYTES "' is at most "
                   "%" PRIu64, (uint64_t)STAGING_BYTES_MAX);
        return false;
    }
    return true;
}

static bool parse_compression_level(QemuOpts *opts, PredsnapSettings *settings,
                                    Error **errp)
{
    uint64_t level = qemu_opt_get_number(opts, PREDSNAP_OPT_COMPRESSION_LEVEL,
                                         COMPRESSION_LEVEL_DEFAULT);

    if (level < 1 || level > COMPRESSION_LEVEL_MAX) {
        error_setg(errp, "Option '" PREDSNAP_OPT_COMPRESSION_LEVEL "' is from "
                   "1 to %d", COMPRESSION_LEVEL_MAX);
        return false;
    }
    settings->compression_level = level;
    return true;
}

static bool parse_pack_after(QemuOpts *opts, PredsnapSettings *settings,
                             Error **errp)
{
    const char *text = qemu_opt_get(opts, PREDSNAP_OPT_PACK_AFTER);

    settings->pack_after_s = -1;
    return !text || parse_seconds(PREDSNAP_OPT_PACK_AFTER, text,
                                  "compress nothing",
                                  &settings->pack_after_s, errp);
}

static bool parse_placement(QemuOpts *opts, PredsnapSettings *settings,
                            Error **errp)
{
    int placement = qapi_enum_parse(&PredsnapPlacement_lookup,
                                    qemu_opt_get(opts, PREDSNAP_OPT_PLACEMENT),
                                    PREDSNAP_PLACEMENT_LOG, errp);

    settings->places_apart = placement == PREDSNAP_PLACEMENT_APART;
    return placement >= 0;
}

static bool parse_threshold(QemuOpts *opts, PredsnapSettings *settings,
                            Error **errp)
{
    PdsThreshold *threshold = &settings->fine.threshold;
    const char *text = qemu_opt_get(opts, PREDSNAP_OPT_THRESHOLD);
    g_autofree char *message = NULL;

    *threshold = pds_threshold_default();
    threshold->adaptive = qemu_opt_get_bool(opts, PREDSNAP_OPT_ADAPTIVE,
                                            threshold->adaptive);
    if (text && (qemu_strtod_finite(text, NULL, &threshold->threshold) < 0 ||
                 pds_check_threshold(threshold, &message) < 0)) {
        error_setg(errp, "Option '" PREDSNAP_OPT_THRESHOLD "' is from 0 to 1");
        return false;
    }
    return true;
}

static bool parse_predictions(QemuOpts *opts, PredsnapSettings *settings,
                              Error **errp)
{
    PdsFine *fine = &settings->fine;

    fine->stage_reads = qemu_opt_get_bool(opts, PREDSNAP_OPT_STAGE_READS, true);
    fine->predict_staging = qemu_opt_get_bool(opts,
                                              PREDSNAP_OPT_PREDICT_STAGING,
                                              true);
    fine->predict_granularity =
        qemu_opt_get_bool(opts, PREDSNAP_OPT_PREDICT_GRANULARITY, true);
    fine->predict_pool = qemu_opt_get_bool(opts, PREDSNAP_OPT_PREDICT_POOL,
                                           true);
    fine->predict_placement =
        qemu_opt_get_bool(opts, PREDSNAP_OPT_PREDICT_PLACEMENT, true);
    return parse_threshold(opts, settings, errp);
}

static bool parse_access_log(QemuOpts *opts, PredsnapSettings *settings,
                             Error **errp)
{
    settings->access_log_size = qemu_opt_get_size(opts,
                                                  PREDSNAP_OPT_ACCESS_LOG_SIZE,
                                                  ACCESS_LOG_SIZE_DEFAULT);
    if (settings->access_log_size < ACCESS_LOG_SIZE_MIN) {
        error_setg(errp, "Option '" PREDSNAP_OPT_ACCESS_LOG_SIZE
                   "' is at least %" PRIu64, (uint64_t)ACCESS_LOG_SIZE_MIN);
        return false;
    }
    settings->access_log = g_strdup(qemu_opt_get(opts,
                                                 PREDSNAP_OPT_ACCESS_LOG));
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
              parse_retention(options, settings, errp) &&
              parse_fine(opts, settings, errp) &&
              parse_compression_level(opts, settings, errp) &&
              parse_pack_after(opts, settings, errp) &&
              parse_placement(opts, settings, errp) &&
              parse_predictions(opts, settings, errp) &&
              parse_access_log(opts, settings, errp);

    if (ok) {
        settings->has_cdp_bytes = qemu_opt_find(opts, PREDSNAP_OPT_CDP_BYTES);
        settings->cdp_bytes = qemu_opt_get_size(opts, PREDSNAP_OPT_CDP_BYTES,
                                                0);
    }
    qemu_opts_del(opts);
    return ok;
}

static bool asks_for_retention(const PredsnapSettings *settings)
{
    return settings->has_cdp_window || settings->has_cdp_bytes ||
           settings->has_retention;
}

/* What is not given stays as the image has it. */
static PdsRetention wanted_retention(const PredsnapSettings *settings,
                                     PdsEngine *engine)
{
    PdsRetention retention;
    PdsInfo info;

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
    if (settings->has_retention) {
        retention.rule_count = settings->rule_count;
        memcpy(retention.rules, settings->rules, sizeof(retention.rules));
    } else if (!retention.has_window) {
        retention.rule_count = 0; /* all history is kept, rules or not */
    }
    return retention;
}

bool predsnap_check_retention(BlockDriverState *bs,
                              const PredsnapSettings *settings, Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    g_autofree char *message = NULL;
    PdsEngine *engine;
    PdsRetention retention;
    int ret;

    if (!asks_for_retention(settings)) {
        return true;
    }
    engine = predsnap_get(s);
    if (!engine) {
        return true; /* it is checked again when there is an engine */
    }
    retention = wanted_retention(settings, engine);
    ret = pds_check_retention(engine, &retention, &message);
    predsnap_put(s);
    if (ret < 0) {
        error_setg(errp, "predsnap node '%s': options '"
                   PREDSNAP_OPT_CDP_WINDOW "', '" PREDSNAP_OPT_CDP_BYTES
                   "', '" PREDSNAP_OPT_RETENTION "': %s",
                   bdrv_get_node_name(bs), message);
        return false;
    }
    return true;
}

int coroutine_fn predsnap_co_set_retention(BlockDriverState *bs,
                                           PdsEngine *engine, char **message)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsRetention retention;

    if (!asks_for_retention(&s->settings)) {
        return 0;
    }
    retention = wanted_retention(&s->settings, engine);
    return pds_set_retention(engine, &retention, message);
}
