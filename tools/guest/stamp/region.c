/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "region.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = SECTOR_BYTES / 8 };

static const uint64_t MAGIC = UINT64_C(0x31706d6174735350); /* "PSstamp1" */

typedef struct {
    uint64_t sector; /* relative to the region */
    uint32_t sectors;
} Extent;

/* splitmix64: the next value of a well-mixed sequence. */
static uint64_t mix(uint64_t* state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t region_key(const Region* r) {
    return r->options->seed * UINT64_C(0xd1342543de82ef95) + r->index;
}

static Extent extent_of(const Region* r, uint64_t generation) {
    uint64_t state = region_key(r) ^ (generation << 20);
    uint64_t place = mix(&state);
    uint32_t block_sectors = r->options->block_bytes / SECTOR_BYTES;
    if (block_sectors) {
        return (Extent){place % (r->sectors / block_sectors) * block_sectors, block_sectors};
    }
    uint32_t sectors = 1 + mix(&state) % 32;
    if (sectors > r->sectors) {
        sectors = r->sectors;
    }
    return (Extent){place % (r->sectors - sectors + 1), sectors};
}

static void fill_sector(const Region* r, uint64_t sector, uint64_t generation, uint64_t* words) {
    words[0] = MAGIC;
    words[1] = sector;
    words[2] = generation;
    words[3] = region_key(r);
    uint64_t state = words[3] ^ (sector << 32) ^ generation;
    for (int i = 4; i < WORDS; i++) {
        words[i] = mix(&state);
    }
}

static void note_expected(Region* r, Extent e, uint64_t generation) {
    for (uint32_t i = 0; i < e.sectors; i++) {
        r->expected[e.sector + i] = (uint32_t)generation;
    }
}

/* What is wrong with a sector that should carry `generation` (0: zeroes), or NULL. */
static const char* fault_of(const Region* r, uint64_t sector, uint64_t generation,
                            const uint64_t* got) {
    uint64_t want[WORDS] = {0};
    if (generation) {
        fill_sector(r, sector, generation, want);
    }
    if (memcmp(want, got, SECTOR_BYTES) == 0) {
        return NULL;
    }
    if (got[0] != MAGIC) {
        static const uint64_t zeroes[WORDS];
        return memcmp(got, zeroes, SECTOR_BYTES) ? "is not a stamp" : "is all zeroes";
    }
    if (got[3] != region_key(r)) {
        return "belongs to another run";
    }
    if (got[1] != sector) {
        return "is misplaced";
    }
    if (got[2] == generation) {
        return "is damaged";
    }
    return got[2] < generation ? "is stale" : "is from the future";
}

static void check_sector(const Region* r, uint64_t sector, uint64_t generation,
                         const uint64_t* got) {
    const char* fault = fault_of(r, sector, generation, got);
    if (fault) {
        fail("%s: sector %" PRIu64 " %s: should be write %" PRIu64 ", holds magic %016" PRIx64
             " sector %" PRIu64 " write %" PRIu64 " (%" PRIu64 " writes done, %" PRIu64 " synced)",
             r->options->path, sector, fault, generation, got[0], got[1], got[2], r->generation,
             r->synced);
    }
}

static void read_extent(const Region* r, Extent e) {
    size_t bytes = (size_t)e.sectors * SECTOR_BYTES;
    off_t offset = (off_t)((r->first_sector + e.sector) * SECTOR_BYTES);
    ssize_t done = pread(r->fd, r->buffer, bytes, offset);
    if (done < 0) {
        fail("%s: read of %zu bytes at %jd: %s", r->options->path, bytes, (intmax_t)offset,
             strerror(errno));
    }
    if ((size_t)done != bytes) {
        fail("%s: short read at %jd: %zd of %zu bytes", r->options->path, (intmax_t)offset, done,
             bytes);
    }
}

static const uint64_t* buffered_sector(const Region* r, uint32_t i) {
    return (const uint64_t*)(r->buffer + (size_t)i * SECTOR_BYTES);
}

static void check_extent(Region* r, Extent e) {
    read_extent(r, e);
    for (uint32_t i = 0; i < e.sectors; i++) {
        uint64_t sector = e.sector + i;
        check_sector(r, r->first_sector + sector, r->expected[sector], buffered_sector(r, i));
    }
    r->reads++;
}

static void write_once(Region* r) {
    uint64_t generation = r->generation + 1;
    Extent e = extent_of(r, generation);
    for (uint32_t i = 0; i < e.sectors; i++) {
        fill_sector(r, r->first_sector + e.sector + i, generation,
                    (uint64_t*)(r->buffer + i * SECTOR_BYTES));
    }
    size_t bytes = (size_t)e.sectors * SECTOR_BYTES;
    off_t offset = (off_t)((r->first_sector + e.sector) * SECTOR_BYTES);
    uint64_t start = now_ns();
    ssize_t done = pwrite(r->fd, r->buffer, bytes, offset);
    uint64_t ns = now_ns() - start;
    if (done != (ssize_t)bytes) {
        fail("%s: write %" PRIu64 " of %zu bytes at %jd: %s", r->options->path, generation, bytes,
             (intmax_t)offset, done < 0 ? strerror(errno) : "short write");
    }
    note_expected(r, e, generation);
    r->generation = generation;
    latencies_note(&r->latencies, ns);
}

static void sync_region(Region* r) {
    if (fdatasync(r->fd) < 0) {
        fail("%s: fdatasync: %s", r->options->path, strerror(errno));
    }
    r->synced = r->generation;
}

void* region_write(void* opaque) {
    Region* r = opaque;
    const Options* o = r->options;
    uint64_t deadline = now_ns() + (uint64_t)(o->seconds * 1e9);
    uint64_t random = region_key(r) ^ now_ns(); /* only chooses which reads are made */
    uint64_t first = r->generation;
    while (!stop_asked && (!o->count || r->generation - first < o->count)) {
        if (o->seconds > 0 && now_ns() >= deadline) {
            break;
        }
        write_once(r);
        if (o->sync_every && r->generation % o->sync_every == 0) {
            sync_region(r);
        }
        if (mix(&random) % 100 < o->read_back_percent) {
            check_extent(r, extent_of(r, 1 + mix(&random) % r->generation));
        }
    }
    sync_region(r);
    return NULL;
}

static void for_each_piece(Region* r, void (*visit)(Region*, Extent)) {
    uint32_t piece = REQUEST_BYTES_MAX / SECTOR_BYTES;
    for (uint64_t at = 0; at < r->sectors; at += piece) {
        uint64_t left = r->sectors - at;
        visit(r, (Extent){at, left < piece ? (uint32_t)left : piece});
    }
}

/* The newest write of which anything is on the disk: the prefix, if the disk is consistent at all.
 */
static void find_newest(Region* r, Extent e) {
    read_extent(r, e);
    for (uint32_t i = 0; i < e.sectors; i++) {
        const uint64_t* got = buffered_sector(r, i);
        if (got[0] == MAGIC && got[3] == region_key(r) && got[2] > r->generation) {
            r->generation = got[2];
        }
    }
}

/* Whether the newest write is on the disk in part only, as a crash may leave it. */
static bool newest_is_torn(Region* r) {
    Extent e = extent_of(r, r->generation);
    read_extent(r, e);
    for (uint32_t i = 0; i < e.sectors; i++) {
        if (fault_of(r, r->first_sector + e.sector + i, r->generation, buffered_sector(r, i))) {
            return true;
        }
    }
    return false;
}

static void check_piece_skipping_torn(Region* r, Extent e) {
    Extent torn = extent_of(r, r->generation + 1);
    read_extent(r, e);
    for (uint32_t i = 0; i < e.sectors; i++) {
        uint64_t sector = e.sector + i;
        bool in_torn = sector - torn.sector < torn.sectors;
        uint64_t want = r->expected[sector];
        if (in_torn &&
            !fault_of(r, r->first_sector + sector, r->generation + 1, buffered_sector(r, i))) {
            continue;
        }
        check_sector(r, r->first_sector + sector, want, buffered_sector(r, i));
    }
}

void region_verify(Region* r) {
    for_each_piece(r, find_newest);
    bool torn = r->options->allow_torn && r->generation && newest_is_torn(r);
    r->generation -= torn;
    r->synced = r->generation;
    for (uint64_t g = 1; g <= r->generation; g++) {
        note_expected(r, extent_of(r, g), g);
    }
    for_each_piece(r, torn ? check_piece_skipping_torn : check_extent);
    if (r->generation < r->options->at_least || r->generation > r->options->at_most) {
        fail("%s: thread %u: the disk is as after write %" PRIu64 ", expected %" PRIu64
             " to %" PRIu64,
             r->options->path, r->index, r->generation, r->options->at_least, r->options->at_most);
    }
}

void region_prepare(Region* r, const Options* o, int fd, uint32_t index) {
    uint64_t unit = o->block_bytes ? o->block_bytes / SECTOR_BYTES : 1;
    r->options = o;
    r->fd = fd;
    r->index = index;
    r->sectors = o->span_bytes / SECTOR_BYTES / o->threads / unit * unit;
    r->first_sector = index * r->sectors;
    if (!r->sectors) {
        fail("%s: %" PRIu64 " bytes are too few for %u threads", o->path, o->span_bytes,
             o->threads);
    }
    r->expected = calloc(r->sectors, sizeof(*r->expected));
    r->buffer = aligned_alloc(4096, REQUEST_BYTES_MAX);
    if (!r->expected || !r->buffer) {
        fail("out of memory");
    }
}
