// SPDX-License-Identifier: GPL-2.0-or-later
//
// The seam through which all of the engine's I/O goes. In QEMU a Device is a child node, in tools a
// file, in tests a simulated disk.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "result.h"

namespace predsnap {

// All calls block the calling task (see host.h) until done; several tasks may call at once, from
// several threads. Offsets and lengths are in bytes and multiples of kSectorSize. Buffers stay the
// caller's and must live until the call returns. A call either succeeds wholly or fails; after a
// failed write the range holds old, new or mixed content. Completed writes are durable only after a
// flush that began after they completed.
class Device {
  public:
    virtual ~Device() = default;

    // Reads past the end of the device are errors: callers know the length.
    virtual Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) = 0;
    // Writing past the end grows a device that can grow; ENOSPC when it cannot.
    virtual Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) = 0;
    // The range reads as zeros afterwards, and is allocated where the device can do that.
    virtual Result<void> write_zeroes(uint64_t offset, uint64_t length) = 0;
    // Gives space back; content is undefined afterwards. May do nothing.
    virtual Result<void> discard(uint64_t offset, uint64_t length) = 0;
    virtual Result<void> flush() = 0;
    // Current length in bytes.
    virtual Result<uint64_t> length() = 0;
    // Sets the length; used to give space back at the end of the image.
    virtual Result<void> truncate(uint64_t length) = 0;

    Result<void> pread(uint64_t offset, void* buffer, size_t length) {
        const iovec vector{buffer, length};
        return preadv(offset, {&vector, 1});
    }
    Result<void> pwrite(uint64_t offset, const void* buffer, size_t length) {
        const iovec vector{const_cast<void*>(buffer), length};
        return pwritev(offset, {&vector, 1});
    }
};

}  // namespace predsnap
