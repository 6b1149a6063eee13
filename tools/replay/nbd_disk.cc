// SPDX-License-Identifier: GPL-2.0-or-later
#include "nbd_disk.h"

#include <algorithm>
#include <cstring>

namespace predsnap::replay {
namespace {

// Statuses asked for at once; below the 4 GiB of the protocol's 32 bits.
constexpr uint64_t kStatusStep = 1ull << 30;

int call_done(void* data, int* error) {
    (*static_cast<NbdDisk::Done*>(data))(*error);
    return 1;  // retires the request
}

void free_done(void* data) {
    delete static_cast<NbdDisk::Done*>(data);
}

nbd_completion_callback completion(NbdDisk::Done done) {
    return {
        .callback = call_done, .user_data = new NbdDisk::Done(std::move(done)), .free = free_done};
}

struct Statuses {
    uint64_t at;
    std::vector<NbdDisk::Range> not_zero;
};

int add_statuses(void* data, const char*, uint64_t, uint32_t* entries, size_t count, int*) {
    auto* statuses = static_cast<Statuses*>(data);
    for (size_t i = 0; i + 1 < count; i += 2) {
        if ((entries[i + 1] & LIBNBD_STATE_ZERO) == 0) {
            statuses->not_zero.push_back({statuses->at, entries[i]});
        }
        statuses->at += entries[i];
    }
    return 0;
}

}  // namespace

Error NbdDisk::failed(const std::string& what) const {
    const int code = nbd_get_errno();
    return Error{code != 0 ? code : EIO, uri_ + ": " + what + ": " + nbd_get_error()};
}

Result<NbdDisk> NbdDisk::connect(const std::string& uri) {
    NbdDisk disk(Handle(nbd_create()), uri);
    nbd_handle* handle = disk.handle_.get();
    if (handle == nullptr || nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
        nbd_connect_uri(handle, uri.c_str()) < 0) {
        return disk.failed("cannot connect");
    }
    const int64_t size = nbd_get_size(handle);
    if (size < 0) {
        return disk.failed("has no size");
    }
    disk.size_ = static_cast<uint64_t>(size);
    return disk;
}

Result<void> NbdDisk::start_read(uint64_t offset, std::vector<uint8_t>& buffer, Done done) {
    if (nbd_aio_pread(handle_.get(), buffer.data(), buffer.size(), offset,
                      completion(std::move(done)), 0) < 0) {
        return failed("read at " + std::to_string(offset));
    }
    return {};
}

Result<void> NbdDisk::start_write(uint64_t offset, const std::vector<uint8_t>& buffer, Done done) {
    if (nbd_aio_pwrite(handle_.get(), buffer.data(), buffer.size(), offset,
                       completion(std::move(done)), 0) < 0) {
        return failed("write at " + std::to_string(offset));
    }
    return {};
}

Result<void> NbdDisk::start_flush(Done done) {
    if (nbd_aio_flush(handle_.get(), completion(std::move(done)), 0) < 0) {
        return failed("flush");
    }
    return {};
}

Result<void> NbdDisk::poll(int timeout_ms) {
    if (nbd_poll(handle_.get(), timeout_ms) < 0) {
        return failed("the connection broke");
    }
    return {};
}

Result<std::vector<NbdDisk::Range>> NbdDisk::not_zero() {
    if (nbd_can_meta_context(handle_.get(), LIBNBD_CONTEXT_BASE_ALLOCATION) != 1) {
        return std::vector<Range>{{0, size_}};
    }
    Statuses statuses{0, {}};
    while (statuses.at < size_) {
        const uint64_t before = statuses.at;
        const nbd_extent_callback callback{
            .callback = add_statuses, .user_data = &statuses, .free = nullptr};
        const uint64_t step = std::min(kStatusStep, size_ - before);
        if (nbd_block_status(handle_.get(), step, before, callback, 0) < 0) {
            return failed("block status at " + std::to_string(before));
        }
        if (statuses.at == before) {
            return Error{EIO,
                         uri_ + ": an empty answer to block status at " + std::to_string(before)};
        }
    }
    return std::move(statuses.not_zero);
}

}  // namespace predsnap::replay
