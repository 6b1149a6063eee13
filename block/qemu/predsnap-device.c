/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * predsnap: child nodes as the engine's devices
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "system/block-backend.h"
#include "predsnap-int.h"

/* Reads or writes and returns 0, more, or -errno. */
typedef int coroutine_fn VectorIO(void *target, uint64_t offset,
                                  QEMUIOVector *qiov);

/* More elements than the host takes at once go through one buffer. */
static int coroutine_fn co_vector_io(VectorIO *io, void *target,
                                     uint64_t offset, const struct iovec *iov,
                                     size_t niov, bool is_write)
{
    QEMUIOVector qiov, bounce;
    void *buf;
    int ret;

    /* QEMU does not change the elements of a vector that is not its own */
    qemu_iovec_init_external(&qiov, (struct iovec *)iov, niov);
    if (likely(niov <= IOV_MAX)) {
        ret = io(target, offset, &qiov);
        return MIN(ret, 0);
    }

    buf = qemu_try_memalign(qemu_real_host_page_size(), qiov.size);
    if (!buf) {
        return -ENOMEM;
    }
    if (is_write) {
        qemu_iovec_to_buf(&qiov, 0, buf, qiov.size);
    }
    qemu_iovec_init_buf(&bounce, buf, qiov.size);
    ret = io(target, offset, &bounce);
    if (ret >= 0 && !is_write) {
        qemu_iovec_from_buf(&qiov, 0, buf, qiov.size);
    }
    qemu_vfree(buf);
    return MIN(ret, 0);
}

static int coroutine_fn
child_preadv(void *target, uint64_t offset, QEMUIOVector *qiov)
{
    assume_graph_lock();
    return bdrv_co_preadv(target, offset, qiov->size, qiov, 0);
}

static int coroutine_fn
child_pwritev(void *target, uint64_t offset, QEMUIOVector *qiov)
{
    assume_graph_lock();
    return bdrv_co_pwritev(target, offset, qiov->size, qiov, 0);
}

/* --- the children with images: which child it is may change --- */

static BdrvChild *image_child(void *device)
{
    return *(BdrvChild **)device;
}

static int coroutine_fn
image_preadv(void *device, uint64_t offset, const struct iovec *iov,
                     size_t niov)
{
    assume_graph_lock();
    return co_vector_io(child_preadv, image_child(device), offset, iov,
                                 niov, false);
}

static int coroutine_fn
image_pwritev(void *device, uint64_t offset, const struct iovec *iov,
                      size_t niov)
{
    assume_graph_lock();
    return co_vector_io(child_pwritev, image_child(device), offset, iov,
                                 niov, true);
}

static int coroutine_fn
image_write_zeroes(void *device, uint64_t offset, uint64_t length)
{
    assume_graph_lock();
    return bdrv_co_pwrite_zeroes(image_child(device), offset, length, 0);
}

static int coroutine_fn
image_discard(void *device, uint64_t offset, uint64_t length)
{
    assume_graph_lock();
    return bdrv_co_pdiscard(image_child(device), offset, length);
}

static int coroutine_fn image_flush(void *device)
{
    assume_graph_lock();
    return bdrv_co_flush(image_child(device)->bs);
}

static int64_t coroutine_fn image_length(void *device)
{
    assume_graph_lock();
    return bdrv_co_getlength(image_child(device)->bs);
}

static int coroutine_fn image_truncate(void *device, uint64_t length)
{
    assume_graph_lock();
    return bdrv_co_truncate(image_child(device), length, false, PREALLOC_MODE_OFF, 0,
                            NULL);
}

static const PdsDeviceOps image_ops = {
    .preadv         = image_preadv,
    .pwritev        = image_pwritev,
    .write_zeroes   = image_write_zeroes,
    .discard        = image_discard,
    .flush          = image_flush,
    .length         = image_length,
    .truncate       = image_truncate,
};

PdsDevice predsnap_file_device(BlockDriverState *bs)
{
    return (PdsDevice) { .ops = &image_ops, .opaque = &bs->file };
}

PdsDevice predsnap_capacity_device(BlockDriverState *bs)
{
    BDRVPredsnapState *s = bs->opaque;

    if (!s->capacity) {
        return (PdsDevice) { .ops = NULL };
    }
    return (PdsDevice) { .ops = &image_ops, .opaque = &s->capacity };
}

/* --- the backing child --- */

/* The node below comes and goes (blockdev-snapshot, block-stream). */
static int coroutine_fn
backing_preadv(void *device, uint64_t offset, const struct iovec *iov,
                        size_t niov)
{
    BlockDriverState *bs = device;

    assume_graph_lock();
    if (!bs->backing) {
        iov_memset(iov, niov, 0, 0, SIZE_MAX);
        return 0;
    }
    return co_vector_io(child_preadv, bs->backing, offset,
                                 iov, niov, false);
}

static int64_t coroutine_fn backing_length(void *device)
{
    BlockDriverState *bs = device;

    assume_graph_lock();
    return bs->backing ? bdrv_co_getlength(bs->backing->bs) : 0;
}

static int coroutine_fn
backing_pwritev(void *device, uint64_t offset,
                         const struct iovec *iov, size_t niov)
{
    return -EROFS;
}

static int coroutine_fn
backing_change(void *device, uint64_t offset, uint64_t length)
{
    return -EROFS;
}

static int coroutine_fn backing_flush(void *device)
{
    return 0;
}

static int coroutine_fn backing_truncate(void *device, uint64_t length)
{
    return -EROFS;
}

static const PdsDeviceOps backing_ops = {
    .preadv         = backing_preadv,
    .pwritev        = backing_pwritev,
    .write_zeroes   = backing_change,
    .discard        = backing_change,
    .flush          = backing_flush,
    .length         = backing_length,
    .truncate       = backing_truncate,
};

PdsDevice predsnap_backing_device(BlockDriverState *bs)
{
    return (PdsDevice) { .ops = &backing_ops, .opaque = bs };
}

/* --- the new image's file as the engine's device --- */

static int coroutine_fn
create_co_preadv(void *target, uint64_t offset, QEMUIOVector *qiov)
{
    return blk_co_preadv(target, offset, qiov->size, qiov, 0);
}

static int coroutine_fn
create_co_pwritev(void *target, uint64_t offset, QEMUIOVector *qiov)
{
    return blk_co_pwritev(target, offset, qiov->size, qiov, 0);
}

static int coroutine_fn
create_device_preadv(void *device, uint64_t offset, const struct iovec *iov,
                     size_t niov)
{
    return co_vector_io(create_co_preadv, device, offset, iov, niov,
                                 false);
}

static int coroutine_fn
create_device_pwritev(void *device, uint64_t offset, const struct iovec *iov,
                      size_t niov)
{
    return co_vector_io(create_co_pwritev, device, offset, iov, niov,
                                 true);
}

static int coroutine_fn
create_device_write_zeroes(void *device, uint64_t offset, uint64_t length)
{
    return blk_co_pwrite_zeroes(device, offset, length, 0);
}

static int coroutine_fn
create_device_discard(void *device, uint64_t offset, uint64_t length)
{
    return blk_co_pdiscard(device, offset, length, 0);
}

static int coroutine_fn create_device_flush(void *device)
{
    return blk_co_flush(device);
}

static int64_t coroutine_fn create_device_length(void *device)
{
    return blk_co_getlength(device);
}

static int coroutine_fn create_device_truncate(void *device, uint64_t length)
{
    return blk_co_truncate(device, length, false, PREALLOC_MODE_OFF, 0, NULL);
}

static const PdsDeviceOps create_device_ops = {
    .preadv         = create_device_preadv,
    .pwritev        = create_device_pwritev,
    .write_zeroes   = create_device_write_zeroes,
    .discard        = create_device_discard,
    .flush          = create_device_flush,
    .length         = create_device_length,
    .truncate       = create_device_truncate,
};

PdsDevice predsnap_create_device(BlockBackend *blk)
{
    return (PdsDevice) { .ops = &create_device_ops, .opaque = blk };
}
