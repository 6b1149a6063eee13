// SPDX-License-Identifier: GPL-2.0-or-later
#include "bench_device.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <string>

#include "block/engine/buffer.h"

namespace predsnap::bench {
namespace {

Error last_error(const char* what) {
    return Error{errno, what};
}

// Calls transfer(buffers, how many, offset) until all is done.
template <typename Transfer>
Result<void> transfer_all(const char* what, uint64_t offset, std::span<const iovec> buffers,
                          Transfer transfer) {
    while (!buffers.empty()) {
        const size_t count = std::min<size_t>(buffers.size(), IOV_MAX);
        const size_t expected = total_length(buffers.first(count));
        const ssize_t done = transfer(buffers.data(), static_cast<int>(count), offset);
        if (done < 0) {
            return last_error(what);
        }
        if (static_cast<size_t>(done) != expected) {
            return Error{EIO, std::string(what) + ": fewer bytes than asked for"};
        }
        offset += expected;
        buffers = buffers.subspan(count);
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<FileDevice>> FileDevice::open(BenchHost& host, const char* path,
                                                     bool create) {
    const int fd =
        ::open(path, O_RDWR | O_DIRECT | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0), 0600);
    if (fd < 0) {
        return last_error(path);
    }
    return std::unique_ptr<FileDevice>(new FileDevice(host, fd));
}

FileDevice::~FileDevice() {
    ::close(fd_);
}

Result<void> FileDevice::preadv(uint64_t offset, std::span<const iovec> buffers) {
    Result<void> result;
    host_.run_blocking([&] {
        result = transfer_all("read", offset, buffers, [this](const iovec* v, int n, uint64_t at) {
            return ::preadv(fd_, v, n, static_cast<off_t>(at));
        });
    });
    return result;
}

Result<void> FileDevice::pwritev(uint64_t offset, std::span<const iovec> buffers) {
    Result<void> result;
    host_.run_blocking([&] {
        result = transfer_all("write", offset, buffers, [this](const iovec* v, int n, uint64_t at) {
            return ::pwritev(fd_, v, n, static_cast<off_t>(at));
        });
    });
    return result;
}

Result<void> FileDevice::write_zeroes(uint64_t offset, uint64_t length) {
    AlignedBuffer zeros(std::min<uint64_t>(length, 1 << 20));
    std::memset(zeros.data(), 0, zeros.size());
    for (uint64_t done = 0; done < length;) {
        const uint64_t part = std::min<uint64_t>(length - done, zeros.size());
        TRY(pwrite(offset + done, zeros.data(), part));
        done += part;
    }
    return {};
}

// As QEMU does it for a file.
Result<void> FileDevice::discard(uint64_t offset, uint64_t length) {
    Result<void> result;
    host_.run_blocking([&] {
        if (::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                        static_cast<off_t>(length)) < 0) {
            result = last_error("discard");
        }
    });
    return result;
}

Result<void> FileDevice::flush() {
    Result<void> result;
    host_.run_blocking([&] {
        if (::fdatasync(fd_) < 0) {
            result = last_error("flush");
        }
    });
    return result;
}

Result<uint64_t> FileDevice::length() {
    struct stat status;
    if (::fstat(fd_, &status) < 0) {
        return last_error("length");
    }
    return static_cast<uint64_t>(status.st_size);
}

Result<uint64_t> FileDevice::allocated() const {
    struct stat status;
    if (::fstat(fd_, &status) < 0) {
        return last_error("allocated size");
    }
    return static_cast<uint64_t>(status.st_blocks) * 512;
}

Result<void> FileDevice::truncate(uint64_t length) {
    if (::ftruncate(fd_, static_cast<off_t>(length)) < 0) {
        return last_error("truncate");
    }
    return {};
}

Result<void> NullDevice::preadv(uint64_t offset, std::span<const iovec> buffers) {
    fill_zero(buffers, 0, total_length(buffers));
    if (offset < superblock_.size()) {
        const size_t kept = std::min(total_length(buffers), superblock_.size() - offset);
        copy_to(buffers, 0, superblock_.data() + offset, kept);
    }
    return {};
}

Result<void> NullDevice::pwritev(uint64_t offset, std::span<const iovec> buffers) {
    const size_t length = total_length(buffers);
    if (offset < superblock_.size()) {
        const size_t kept = std::min(length, superblock_.size() - offset);
        copy_from(buffers, 0, superblock_.data() + offset, kept);
    }
    length_ = std::max(length_, offset + length);
    host_.yield();
    return {};
}

Result<void> NullDevice::write_zeroes(uint64_t offset, uint64_t length) {
    length_ = std::max(length_, offset + length);
    return {};
}

Result<void> NullDevice::flush() {
    host_.yield();
    return {};
}

Result<void> NullDevice::truncate(uint64_t length) {
    length_ = length;
    return {};
}

}  // namespace predsnap::bench
