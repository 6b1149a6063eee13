/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: predictions, hints and the threshold, in QMP
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/base64.h"
#include "qapi/qapi-commands-predsnap.h"
#include "predsnap-int.h"

/* --- commands --- */

typedef int EngineFn(PdsEngine *engine, const void *argument, char **message);

/* None of these waits for anything, so they are not coroutines. */
static void run_on_engine(const char *node_name, EngineFn *fn,
                          const void *argument, Error **errp)
{
    char *message = NULL;
    BlockDriverState *bs;
    PdsEngine *engine;
    int ret;

    GRAPH_RDLOCK_GUARD_MAINLOOP();
    bs = predsnap_find_node(node_name, errp);
    if (!bs || !predsnap_check_usable(bs, false, errp)) {
        return;
    }
    engine = predsnap_get(bs->opaque);
    if (!engine) {
        error_setg(errp, "The image of node '%s' is being opened again: try "
                   "it once more", node_name);
        return;
    }
    ret = fn(engine, argument, &message);
    predsnap_put(bs->opaque);
    if (ret < 0) {
        predsnap_error(bs, ret, message, errp);
    }
}

static int set_predictions(PdsEngine *engine, const void *argument,
                           char **message)
{
    return pds_set_predictions(engine, argument, message);
}

/* At most as many as are allowed, and one, so that more are refused. */
static PdsPrediction *take_predictions(const PredsnapPredictionList *list,
                                       size_t *count)
{
    PdsPrediction *predictions;
    const PredsnapPredictionList *at;
    size_t n = 0;

    for (at = list; at && n <= PDS_PREDICTIONS_MAX; at = at->next) {
        n++;
    }
    predictions = g_new0(PdsPrediction, n);
    *count = n;
    for (n = 0; n < *count; n++, list = list->next) {
        const PredsnapPrediction *from = list->value;

        predictions[n] = (PdsPrediction) {
            .offset = from->offset,
            .length = from->length,
            .write = from->has_write ? from->write : 0,
            .read = from->has_read ? from->read : 0,
            .has_change = from->has_change,
            .change = from->change,
        };
    }
    return predictions;
}

void qmp_predsnap_set_predictions(const char *node_name, const char *model,
                                  uint64_t base_sequence, double horizon,
                                  PredsnapPredictionList *list,
                                  bool has_write_rate, double write_rate,
                                  const char *packed, Error **errp)
{
    g_autofree PdsPrediction *predictions = NULL;
    g_autofree uint8_t *unpacked = NULL;
    PdsPredictions set = {
        .model = model,
        .base = base_sequence,
        .has_write_rate = has_write_rate,
        .write_rate = write_rate,
    };

    /* What is no number, or too large for an integer, is neither */
    set.horizon_us = horizon > 0 && horizon < 1e9 ? horizon * 1e6 : -1;
    predictions = take_predictions(list, &set.count);
    set.predictions = predictions;
    if (packed) {
        unpacked = qbase64_decode(packed, -1, &set.packed_length, errp);
        if (!unpacked) {
            error_prepend(errp, "'packed' of the predictions for node '%s': ",
                          node_name);
            return;
        }
        set.packed = unpacked;
    }
    run_on_engine(node_name, set_predictions, &set, errp);
}

static int set_hint(PdsEngine *engine, const void *argument, char **message)
{
    return pds_hint(engine, argument, message);
}

static PdsHintKind from_qapi_hint(PredsnapHintKind kind)
{
    switch (kind) {
    case PREDSNAP_HINT_KIND_WILL_READ:
        return PDS_HINT_WILL_READ;
    case PREDSNAP_HINT_KIND_WILL_WRITE:
        return PDS_HINT_WILL_WRITE;
    default:
        return PDS_HINT_COLD;
    }
}

void qmp_predsnap_hint(const char *node_name, uint64_t offset, uint64_t length,
                       PredsnapHintKind kind, bool has_latency_us,
                       int64_t latency_us, Error **errp)
{
    PdsHint hint = {
        .offset = offset,
        .length = length,
        .kind = from_qapi_hint(kind),
        .has_latency = has_latency_us,
        .latency_us = latency_us,
    };

    run_on_engine(node_name, set_hint, &hint, errp);
}

static int set_threshold(PdsEngine *engine, const void *argument,
                         char **message)
{
    return pds_set_threshold(engine, argument, message);
}

void qmp_predsnap_set_threshold(const char *node_name, bool has_threshold,
                                double threshold, bool has_adaptive,
                                bool adaptive, bool has_min, double min,
                                bool has_max, double max,
                                bool has_target_hit_rate,
                                double target_hit_rate, Error **errp)
{
    PdsThresholdChange change = {
        .has_threshold = has_threshold,
        .has_adaptive = has_adaptive,
        .has_min = has_min,
        .has_max = has_max,
        .has_target_hit_rate = has_target_hit_rate,
        .to = {
            .threshold = threshold,
            .min = min,
            .max = max,
            .target_hit_rate = target_hit_rate,
            .adaptive = adaptive,
        },
    };

    run_on_engine(node_name, set_threshold, &change, errp);
}

/* --- what query-predsnap says --- */

static PredsnapJudged *to_qapi_judged(const PdsJudged *from)
{
    PredsnapJudged *to = g_new0(PredsnapJudged, 1);

    to->predicted = from->predicted;
    to->came_true = from->came_true;
    to->used = from->used;
    to->expected = from->expected;
    to->brier = from->brier;
    to->has_precision = from->predicted > 0;
    to->precision = to->has_precision
                    ? (double)from->came_true / from->predicted : 0;
    to->has_recall = from->used > 0;
    to->recall = to->has_recall ? (double)from->came_true / from->used : 0;
    return to;
}

static PredsnapJudgement *to_qapi_judgement(const PdsJudgement *from)
{
    PredsnapJudgement *to = g_new0(PredsnapJudgement, 1);

    to->model = g_strdup(from->model);
    to->base_sequence = from->base;
    to->horizon = from->horizon_us / 1e6;
    to->elapsed = from->elapsed_us / 1e6;
    to->finished = from->finished;
    to->cut_short = from->cut_short;
    to->chunks = from->chunks;
    to->writes = to_qapi_judged(&from->writes);
    to->reads = to_qapi_judged(&from->reads);
    return to;
}

static void add_prediction(void *opaque, const PdsPredictionInfo *from)
{
    PredsnapPredictionInfo *to = opaque;

    to->source = from->predicted ? PREDSNAP_PREDICTION_SOURCE_PREDICTIONS
                                 : PREDSNAP_PREDICTION_SOURCE_HEURISTIC;
    if (from->given) {
        to->model = g_strdup(from->model);
        to->has_base_sequence = to->has_age = to->has_horizon = true;
        to->base_sequence = from->base;
        to->age = from->age_us / 1e6;
        to->horizon = from->horizon_us / 1e6;
    }
    to->chunks = from->chunks;
    to->has_write_rate = from->has_write_rate;
    to->write_rate = from->write_rate;
    to->accepted = from->accepted;
    to->refused = from->refused;
    to->expired = from->expired;
    to->hints = from->hints;
    to->has_wanted_horizon = from->wanted_horizon_us > 0;
    to->wanted_horizon = from->wanted_horizon_us / 1e6;
    to->judging = from->judging ? to_qapi_judgement(from->judging) : NULL;
    to->judged = from->judged ? to_qapi_judgement(from->judged) : NULL;
}

PredsnapPredictionInfo *predsnap_prediction_info(const PdsEngine *engine,
                                                 const PdsFine *fine)
{
    PredsnapPredictionInfo *to = g_new0(PredsnapPredictionInfo, 1);

    pds_prediction_info(engine, add_prediction, to);
    to->predict_staging = fine->predict_staging;
    to->predict_granularity = fine->predict_granularity;
    to->predict_pool = fine->predict_pool;
    to->predict_placement = fine->predict_placement;
    return to;
}

static void add_change(void *opaque, const PdsThresholdChanged *from)
{
    PredsnapThresholdChangeList ***tail = opaque;
    PredsnapThresholdChange *to = g_new0(PredsnapThresholdChange, 1);

    to->age = from->age_us / 1e6;
    to->value = from->value;
    to->hit_rate = from->hit_rate;
    to->occupancy = from->occupancy;
    QAPI_LIST_APPEND(*tail, to);
}

PredsnapThreshold *predsnap_threshold_info(const PdsEngine *engine)
{
    PredsnapThreshold *to = g_new0(PredsnapThreshold, 1);
    PredsnapThresholdChangeList **tail = &to->history;
    PdsThreshold from;

    pds_threshold_info(engine, &from, &to->value, add_change, &tail);
    to->threshold = from.threshold;
    to->adaptive = from.adaptive;
    to->min = from.min;
    to->max = from.max;
    to->target_hit_rate = from.target_hit_rate;
    return to;
}

static void add_forecast(void *opaque, uint64_t snapshot_id,
                         const PdsJudgement *judgement)
{
    PredsnapSnapshotList *at;

    for (at = opaque; at; at = at->next) {
        if (at->value->id == snapshot_id) {
            qapi_free_PredsnapJudgement(at->value->forecast);
            at->value->forecast = to_qapi_judgement(judgement);
        }
    }
}

void predsnap_add_forecasts(const PdsEngine *engine,
                            PredsnapSnapshotList *snapshots)
{
    pds_snapshot_forecasts(engine, add_forecast, snapshots);
}
