// SPDX-License-Identifier: GPL-2.0-or-later
#include "chunk_supply.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace predsnap {

namespace {

void make_resident(void* chunk) {
    constexpr size_t kPage = 4096;
    for (size_t at = 0; at < ChunkSupply::kChunkSize; at += kPage) {
        static_cast<volatile char*>(chunk)[at] = 0;
    }
}

}  // namespace

void* ChunkSupply::map() {
    const size_t size = 2 * kChunkSize;
    void* raw = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) {
        fprintf(stderr, "predsnap: out of memory for the extent map\n");
        abort();
    }
    const uintptr_t begin = reinterpret_cast<uintptr_t>(raw);
    const uintptr_t aligned = (begin + kChunkSize - 1) & ~(kChunkSize - 1);
    if (aligned > begin) {
        munmap(raw, aligned - begin);
    }
    munmap(reinterpret_cast<void*>(aligned + kChunkSize), begin + kChunkSize - aligned);
    return reinterpret_cast<void*>(aligned);
}

bool ChunkSupply::make_huge(void* chunk) {
    return madvise(chunk, kChunkSize, MADV_HUGEPAGE) == 0;
}

void ChunkSupply::unmap(void* chunk) {
    munmap(chunk, kChunkSize);
}

ChunkSupply::~ChunkSupply() {
    {
        Lock lock(mutex_);
        stopping_ = true;
        change_.wake_all(host_);
    }
    filling_.wait().take();
    for (void* chunk : ready_) {
        unmap(chunk);
    }
}

void* ChunkSupply::take() {
    Lock lock(mutex_);
    const bool first = asked_++ == 0;
    void* chunk = nullptr;
    if (!ready_.empty()) {
        chunk = ready_.back();
        ready_.pop_back();
    }
    change_.wake_all(host_);
    lock.unlock();
    if (first) {
        filling_.run([this]() -> Result<void> {
            fill();
            return {};
        });
    }
    return chunk;
}

void ChunkSupply::fill() {
    Lock lock(mutex_);
    while (!stopping_) {
        if (missing() == 0) {
            change_.wait(host_, lock);
            continue;
        }
        lock.unlock();
        void* chunk = nullptr;
        host_.run_on_executor([&chunk] {
            chunk = map();
            make_huge(chunk);
            make_resident(chunk);
        });
        lock.lock();
        ready_.push_back(chunk);
    }
}

}  // namespace predsnap
