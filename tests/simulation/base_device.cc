// SPDX-License-Identifier: GPL-2.0-or-later
#include "base_device.h"

#include <cstring>
#include <vector>

#include "block/engine/types.h"
#include "stamp.h"

namespace predsnap::sim {

BaseDevice::BaseDevice(Scheduler& scheduler, uint64_t seed, uint64_t length)
    : scheduler_(scheduler), random_(seed, 4), key_(mix(seed)), length_(length) {}

bool BaseDevice::has_data(uint64_t sector) const {
    return (sector + 1) * kSectorSize <= length_ && mix(key_ + sector / 4) % 4 != 0;
}

Result<void> BaseDevice::preadv(uint64_t offset, std::span<const iovec> buffers) {
    ++reads_;
    scheduler_.sleep(random_.skewed(200));
    if (random_.chance(read_error_)) {
        ++errors_injected_;
        return Error{EIO, "injected in the backing disk"};
    }
    std::vector<uint8_t> bytes;
    uint64_t length = 0;
    for (const iovec& part : buffers) {
        length += part.iov_len;
    }
    if (offset % kSectorSize != 0 || length % kSectorSize != 0 || offset + length > length_) {
        scheduler_.fail("the engine asked the backing disk of " + std::to_string(length_) +
                        " bytes for " + std::to_string(length) + " at " + std::to_string(offset));
    }
    bytes.resize(length);
    for (uint64_t at = 0; at < length; at += kSectorSize) {
        const uint64_t sector = (offset + at) / kSectorSize;
        if (has_data(sector)) {
            stamp(bytes.data() + at, sector, kHole);
        }
    }
    const uint8_t* from = bytes.data();
    for (const iovec& part : buffers) {
        memcpy(part.iov_base, from, part.iov_len);
        from += part.iov_len;
    }
    return {};
}

Error BaseDevice::refuse() {
    scheduler_.fail("the engine tried to change the backing disk");
    return Error{EROFS, "the backing disk is read-only"};
}

}  // namespace predsnap::sim
