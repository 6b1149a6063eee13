// SPDX-License-Identifier: GPL-2.0-or-later
#include "modelled_disk.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "block/engine/buffer.h"

namespace predsnap::bench {

ModelledDisk::ModelledDisk(BenchHost& host, Time begin, uint64_t capacity)
    : host_(host),
      capacity_(align_up(capacity, kBlock)),
      is_allocated_(capacity_ / kBlock),
      now_us_(begin.value),
      busy_until_us_(begin.value) {
    void* const memory =
        ::mmap(nullptr, capacity_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        std::abort();
    }
    bytes_ = static_cast<uint8_t*>(memory);
    host_.set_clock(begin);
}

ModelledDisk::~ModelledDisk() { ::munmap(bytes_, capacity_); }

void ModelledDisk::run_clock() {
    for (;;) {
        host_.run_others();
        if (waiting_.empty()) {
            return;  // nobody will ask for anything any more
        }
        const auto next = waiting_.begin();
        now_us_ = next->first;
        host_.set_clock(Time(now_us_));
        Task* const task = next->second;
        waiting_.erase(next);
        host_.wake(task);
    }
}

void ModelledDisk::take(int64_t us) {
    busy_until_us_ = std::max(busy_until_us_, now_us_) + us;
    waiting_.emplace(busy_until_us_, host_.self());
    host_.suspend();
}

void ModelledDisk::allocate(uint64_t offset, uint64_t length, bool now) {
    for (uint64_t block = offset / kBlock; block < align_up(offset + length, kBlock) / kBlock; ++block) {
        allocated_ += now ? !is_allocated_[block] : 0;
        allocated_ -= !now ? is_allocated_[block] : 0;
        is_allocated_[block] = now;
    }
    most_allocated_ = std::max(most_allocated_, allocated_);
}

Result<void> ModelledDisk::preadv(uint64_t offset, std::span<const iovec> buffers) {
    const size_t length = total_length(buffers);
    take(kRequestUs + static_cast<int64_t>(length) / kBytesPerUs);
    if (offset + length > length_) {
        return Error{EINVAL, "read past the end"};
    }
    copy_to(buffers, 0, bytes_ + offset, length);
    return {};
}

Result<void> ModelledDisk::pwritev(uint64_t offset, std::span<const iovec> buffers) {
    const size_t length = total_length(buffers);
    if (offset + length > capacity_) {
        return Error{ENOSPC, "the disk is full"};
    }
    take(kRequestUs + static_cast<int64_t>(length) / kBytesPerUs);
    copy_from(buffers, 0, bytes_ + offset, length);
    allocate(offset, length, true);
    length_ = std::max(length_, offset + length);
    written_bytes_ += length;
    return {};
}

Result<void> ModelledDisk::write_zeroes(uint64_t offset, uint64_t length) {
    if (offset + length > capacity_) {
        return Error{ENOSPC, "the disk is full"};
    }
    take(kRequestUs);
    std::memset(bytes_ + offset, 0, length);
    allocate(offset, length, true);
    length_ = std::max(length_, offset + length);
    return {};
}

Result<void> ModelledDisk::discard(uint64_t offset, uint64_t length) {
    take(kRequestUs);
    const uint64_t end = align_down(std::min(offset + length, length_), kBlock);
    if (const uint64_t begin = align_up(offset, kBlock); begin < end) {
        ::madvise(bytes_ + begin, end - begin, MADV_DONTNEED);
        allocate(begin, end - begin, false);
    }
    return {};
}

Result<void> ModelledDisk::flush() {
    take(kFlushUs);
    return {};
}

Result<void> ModelledDisk::truncate(uint64_t length) {
    if (length < length_) {
        const uint64_t begin = align_up(length, kBlock);
        std::memset(bytes_ + length, 0, std::min(begin, length_) - length);
        if (begin < length_) {
            TRY(discard(begin, align_up(length_ - begin, kBlock)));
        }
    }
    length_ = length;
    return {};
}

}  // namespace predsnap::bench
