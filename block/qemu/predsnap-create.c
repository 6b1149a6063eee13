/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: creating images, and what can be changed of them later
 */

#include "qemu/osdep.h"
#include "qemu/option.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-block-core.h"
#include "qapi/qobject-input-visitor.h"
#include "qobject/qdict.h"
#include "block/qdict.h"
#include "system/block-backend.h"
#include "predsnap-int.h"

#define OPT_SEGMENT_SIZE "segment_size"

QemuOptsList predsnap_create_opts = {
    .name = "predsnap-create-opts",
    .head = QTAILQ_HEAD_INITIALIZER(predsnap_create_opts.head),
    .desc = {
        {
            .name = BLOCK_OPT_SIZE,
            .type = QEMU_OPT_SIZE,
            .help = "Virtual disk size"
        },
        {
            .name = BLOCK_OPT_BACKING_FILE,
            .type = QEMU_OPT_STRING,
            .help = "File name of a base image"
        },
        {
            .name = BLOCK_OPT_BACKING_FMT,
            .type = QEMU_OPT_STRING,
            .help = "Must be either 'raw' or the format of the base image"
        },
        {
            .name = OPT_SEGMENT_SIZE,
            .type = QEMU_OPT_SIZE,
            .help = "Size of the pieces of the image (64k to 64M, a power "
                    "of two; default 8M)"
        },
        {
            .name = BLOCK_OPT_PREALLOC,
            .type = QEMU_OPT_STRING,
            .help = "Preallocation mode (allowed values: off, falloc, full)"
        },
        { /* end of list */ }
    }
};

QemuOptsList predsnap_amend_opts = {
    .name = "predsnap-amend-opts",
    .head = QTAILQ_HEAD_INITIALIZER(predsnap_amend_opts.head),
    .desc = {
        {
            .name = BLOCK_OPT_SIZE,
            .type = QEMU_OPT_SIZE,
            .help = "Virtual disk size"
        },
        { /* end of list */ }
    }
};

/* --- create --- */

static bool create_check_size(uint64_t size, Error **errp)
{
    if (size > pds_size_max()) {
        error_setg(errp, "Image size is too large: a predsnap disk has at "
                   "most %" PRIu64 " bytes", pds_size_max());
        return false;
    }
    return true;
}

static bool create_check_options(const BlockdevCreateOptionsPredsnap *opts,
                                 Error **errp)
{
    if (!QEMU_IS_ALIGNED(opts->size, BDRV_SECTOR_SIZE)) {
        error_setg(errp, "Image size must be a multiple of %u bytes",
                   (unsigned) BDRV_SECTOR_SIZE);
        return false;
    }
    if (!create_check_size(opts->size, errp)) {
        return false;
    }
    if (opts->has_backing_fmt && !opts->backing_file) {
        error_setg(errp, "Backing format cannot be used without backing file");
        return false;
    }
    if (opts->backing_file &&
        strlen(opts->backing_file) > PDS_BACKING_FILE_MAX) {
        error_setg(errp, "Backing file name is longer than %d bytes",
                   PDS_BACKING_FILE_MAX);
        return false;
    }
    return true;
}

int coroutine_fn GRAPH_UNLOCKED
predsnap_co_create(BlockdevCreateOptions *options, Error **errp)
{
    BlockdevCreateOptionsPredsnap *opts = &options->u.predsnap;
    PdsCreateOptions create = {
        .size           = opts->size,
        .segment_size   = opts->has_segment_size ? opts->segment_size : 0,
        .backing_file   = opts->backing_file,
        .backing_format = opts->has_backing_fmt
                        ? BlockdevDriver_str(opts->backing_fmt) : NULL,
    };
    BlockDriverState *bs;
    BlockBackend *blk;
    char *message = NULL;
    int ret;

    assert(options->driver == BLOCKDEV_DRIVER_PREDSNAP);
    if (!create_check_options(opts, errp)) {
        return -EINVAL;
    }
    if (opts->has_preallocation &&
        opts->preallocation != PREDSNAP_PREALLOC_MODE_OFF) {
        create.prewrite = opts->size;
    }

    bs = bdrv_co_open_blockdev_ref(opts->file, errp);
    if (!bs) {
        return -EIO;
    }
    blk = blk_co_new_with_bs(bs, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE |
                             BLK_PERM_RESIZE, BLK_PERM_ALL, errp);
    if (!blk) {
        bdrv_co_unref(bs);
        return -EPERM;
    }
    blk_set_allow_write_beyond_eof(blk, true);

    ret = pds_create(predsnap_create_host(bs), predsnap_create_device(blk),
                     &create, &message);
    if (ret < 0) {
        error_setg(errp, "Could not write the image: %s",
                   message ?: strerror(-ret));
        free(message);
    }
    blk_co_unref(blk);
    bdrv_co_unref(bs);
    return ret;
}

/* The image's options in QAPI's form, without the node. NULL on error. */
static QDict *create_take_opts(QemuOpts *opts, Error **errp)
{
    static const QDictRenames opt_renames[] = {
        { BLOCK_OPT_BACKING_FILE,   "backing-file" },
        { BLOCK_OPT_BACKING_FMT,    "backing-fmt" },
        { OPT_SEGMENT_SIZE,         "segment-size" },
        { NULL, NULL },
    };
    QDict *qdict = qemu_opts_to_qdict_filtered(opts, NULL,
                                               &predsnap_create_opts, true);

    if (!qdict_rename_keys(qdict, opt_renames, errp)) {
        qobject_unref(qdict);
        return NULL;
    }
    qdict_put_str(qdict, "driver", "predsnap");
    return qdict;
}

static int coroutine_fn GRAPH_UNLOCKED
create_in_file(QDict *qdict, BlockDriverState *file_bs, Error **errp)
{
    BlockdevCreateOptions *options = NULL;
    Visitor *v;
    int ret = -EINVAL;

    qdict_put_str(qdict, "file", file_bs->node_name);
    v = qobject_input_visitor_new_flat_confused(qdict, errp);
    if (!v) {
        return -EINVAL;
    }
    visit_type_BlockdevCreateOptions(v, NULL, &options, errp);
    visit_free(v);
    if (options) {
        options->u.predsnap.size = ROUND_UP(options->u.predsnap.size,
                                            BDRV_SECTOR_SIZE);
        ret = predsnap_co_create(options, errp);
    }
    qapi_free_BlockdevCreateOptions(options);
    return ret;
}

int coroutine_fn GRAPH_UNLOCKED
predsnap_co_create_opts(BlockDriver *drv, const char *filename, QemuOpts *opts,
                        Error **errp)
{
    BlockDriverState *bs = NULL;
    QDict *qdict;
    int ret = -EINVAL;

    /* What is left in @opts, without the size, is for the file */
    qdict = create_take_opts(opts, errp);
    if (!qdict) {
        return -EINVAL;
    }
    ret = bdrv_co_create_file(filename, opts, errp);
    if (ret < 0) {
        goto out;
    }
    bs = bdrv_co_open(filename, NULL, NULL,
                      BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_PROTOCOL, errp);
    if (!bs) {
        ret = -EIO;
        goto out;
    }
    ret = create_in_file(qdict, bs, errp);
    if (ret < 0) {
        bdrv_graph_co_rdlock();
        bdrv_co_delete_file_noerr(bs);
        bdrv_graph_co_rdunlock();
    }
out:
    qobject_unref(qdict);
    bdrv_co_unref(bs);
    return ret;
}

/* --- measure --- */

/* Bytes of @bs that would have to be stored. Negative errno value on error. */
static int64_t measure_data(BlockDriverState *bs, int64_t size, Error **errp)
{
    int64_t offset, pnum, data = 0;
    int ret;

    for (offset = 0; offset < size; offset += pnum) {
        ret = bdrv_block_status_above(bs, NULL, offset, size - offset, &pnum,
                                      NULL, NULL);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Unable to get block status");
            return ret;
        }
        if ((ret & BDRV_BLOCK_DATA) && !(ret & BDRV_BLOCK_ZERO)) {
            data += pnum;
        }
    }
    return data;
}

static bool measure_options(QemuOpts *opts, uint64_t *size,
                            uint64_t *segment_size, bool *prealloc,
                            Error **errp)
{
    g_autofree char *mode = qemu_opt_get_del(opts, BLOCK_OPT_PREALLOC);
    int value = PREDSNAP_PREALLOC_MODE_OFF;

    if (mode) {
        value = qapi_enum_parse(&PredsnapPreallocMode_lookup, mode, -1, errp);
    }
    if (value < 0) {
        return false;
    }
    *prealloc = value != PREDSNAP_PREALLOC_MODE_OFF;
    *size = ROUND_UP(qemu_opt_get_size_del(opts, BLOCK_OPT_SIZE, 0),
                     BDRV_SECTOR_SIZE);
    *segment_size = qemu_opt_get_size_del(opts, OPT_SEGMENT_SIZE, 0);
    if (*segment_size && (!is_power_of_2(*segment_size) ||
                          *segment_size < PDS_SEGMENT_SIZE_MIN ||
                          *segment_size > PDS_SEGMENT_SIZE_MAX)) {
        error_setg(errp, "Segment size must be a power of two from 64k to 64M");
        return false;
    }
    return true;
}

BlockMeasureInfo *predsnap_measure(QemuOpts *opts, BlockDriverState *in_bs,
                                   Error **errp)
{
    BlockMeasureInfo *info;
    uint64_t size, segment_size, data = 0;
    int64_t in_size, in_data;
    bool prealloc;

    if (!measure_options(opts, &size, &segment_size, &prealloc, errp)) {
        return NULL;
    }
    if (in_bs) {
        in_size = bdrv_getlength(in_bs);
        if (in_size < 0) {
            error_setg_errno(errp, -in_size, "Unable to get image size");
            return NULL;
        }
        in_data = measure_data(in_bs, in_size, errp);
        if (in_data < 0) {
            return NULL;
        }
        size = in_size;
        data = in_data;
    }
    if (!create_check_size(size, errp)) {
        return NULL;
    }

    info = g_new0(BlockMeasureInfo, 1);
    info->fully_allocated = pds_image_bytes(size, segment_size);
    info->required = prealloc ? info->fully_allocated
                              : pds_image_bytes(data, segment_size);
    return info;
}

/* --- changes --- */

int predsnap_amend_options(BlockDriverState *bs, QemuOpts *opts,
                           BlockDriverAmendStatusCB *status_cb,
                           void *cb_opaque, bool force, Error **errp)
{
    uint64_t size = qemu_opt_get_size(opts, BLOCK_OPT_SIZE, 0);
    BlockBackend *blk;
    int ret;

    if (!size) {
        return 0;
    }
    blk = blk_new_with_bs(bs, BLK_PERM_RESIZE, BLK_PERM_ALL, errp);
    if (!blk) {
        return -EPERM;
    }
    ret = blk_truncate(blk, size, true, PREALLOC_MODE_OFF, 0, errp);
    blk_unref(blk);
    return ret;
}

int coroutine_fn
predsnap_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                     PreallocMode prealloc, BdrvRequestFlags flags,
                     Error **errp)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine;
    char *message = NULL;
    int ret;

    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Unsupported preallocation mode '%s': a predsnap "
                   "image can only be preallocated when it is created",
                   PreallocMode_str(prealloc));
        return -ENOTSUP;
    }
    if (!QEMU_IS_ALIGNED(offset, BDRV_SECTOR_SIZE)) {
        error_setg(errp, "The new size must be a multiple of %u",
                   (unsigned) BDRV_SECTOR_SIZE);
        return -EINVAL;
    }
    engine = predsnap_co_get(s);
    if (!engine) {
        return predsnap_error(bs, -EIO, NULL, errp);
    }

    /* New space reads as zeros also where the backing file is longer */
    ret = pds_resize(engine, offset, &message);
    predsnap_put(s);
    return ret < 0 ? predsnap_error(bs, ret, message, errp) : 0;
}

int coroutine_fn
predsnap_co_change_backing_file(BlockDriverState *bs, const char *backing_file,
                                const char *backing_fmt)
{
    BDRVPredsnapState *s = bs->opaque;
    PdsEngine *engine = predsnap_co_get(s);
    int ret;

    if (!engine) {
        return -EIO;
    }
    ret = pds_set_backing(engine, backing_file, backing_fmt, NULL);
    predsnap_put(s);
    return ret;
}
