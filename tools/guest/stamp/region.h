/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of the disk that one thread writes, and what must be in it.
 *
 * Write number g (1, 2, ...) of a thread goes to a place that is a pure function of (seed, thread,
 * g), and each of its sectors carries its own address, g and a body derived from both.  So a
 * verifier that knows the seed can recompute the whole disk as it was after any number of writes.
 * A disk is good when it equals the state after exactly P writes of each thread ("prefix
 * consistent"); `verify` finds P and reports it, and says of the first bad sector whether it is
 * misplaced, stale, from the future, damaged, or not a stamp at all.
 *
 * Each thread owns its own part of the span and waits for one write before it issues the next, so
 * its prefix is exact.  Only the write in flight at a crash may be torn; `--allow-torn` accepts
 * that one.
 */
#ifndef STAMP_REGION_H
#define STAMP_REGION_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "latency.h"

enum { SECTOR_BYTES = 512, REQUEST_BYTES_MAX = 1 << 20 };

typedef struct {
    const char* path;
    uint64_t seed;
    uint64_t count;       /* stop after this many writes of each thread; 0: no limit */
    double seconds;       /* stop after this long; 0: no limit */
    uint64_t span_bytes;  /* part of the file that is used, from its start */
    uint32_t block_bytes; /* size and alignment of each write; 0: mixed sizes, any sector */
    uint32_t threads;
    uint32_t sync_every;        /* fdatasync after this many writes; 0: only at the end */
    uint32_t read_back_percent; /* chance that a write is followed by a checked read */
    uint64_t at_least, at_most; /* bounds on the prefix that `verify` accepts */
    bool direct, resume, allow_torn;
} Options;

/* One thread's part of the disk, and what must be in it. */
typedef struct {
    const Options* options;
    int fd;
    uint32_t index;
    uint64_t first_sector, sectors;
    uint64_t generation; /* writes done */
    uint64_t synced;     /* writes that the last completed fdatasync covered */
    uint32_t* expected;  /* generation of each sector of the region; 0: never written */
    uint8_t* buffer;     /* REQUEST_BYTES_MAX, aligned for O_DIRECT */
    uint64_t reads;
    Latencies latencies;
    pthread_t thread;
} Region;

extern volatile sig_atomic_t stop_asked;

/* Prints what went wrong and exits with status 1. */
__attribute__((format(printf, 1, 2), noreturn)) void fail(const char* format, ...);
uint64_t now_ns(void);

void region_prepare(Region* r, const Options* o, int fd, uint32_t index);
/* Writes until one of the options' limits or stop_asked. A thread's body: takes the Region. */
void* region_write(void* region);
/* Finds the region's prefix and proves that every sector of it agrees. Leaves it ready for further
 * writes. */
void region_verify(Region* r);

#endif
