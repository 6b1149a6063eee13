/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * stamp: writes 512-byte sectors that say what they are, and checks them.
 *
 * Write number g (1, 2, ...) of a thread goes to a place that is a pure function of (seed, thread, g), and
 * each of its sectors carries its own address, g and a body derived from both.  So a verifier that knows the
 * seed can recompute the whole disk as it was after any number of writes.  A disk is good when it equals the
 * state after exactly P writes of each thread ("prefix consistent"); `verify` finds P and reports it, and says
 * of the first bad sector whether it is misplaced, stale, from the future, damaged, or not a stamp at all.
 *
 * Each thread owns its own part of the span and waits for one write before it issues the next, so its prefix
 * is exact.  Only the write in flight at a crash may be torn; `--allow-torn` accepts that one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>

enum {
    SECTOR_BYTES = 512,
    WORDS = SECTOR_BYTES / 8,
    REQUEST_BYTES_MAX = 1 << 20,
    THREADS_MAX = 64,
    /* Latency histogram: 32 steps in every power of two of microseconds (3% wide). */
    STEPS = 32,
    BUCKETS = 40 * STEPS,
};

static const uint64_t MAGIC = UINT64_C(0x31706d6174735350); /* "PSstamp1" */

typedef struct {
    const char *path;
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
    const Options *options;
    int fd;
    uint32_t index;
    uint64_t first_sector, sectors;
    uint64_t generation; /* writes done */
    uint64_t synced;     /* writes that the last completed fdatasync covered */
    uint32_t *expected;  /* generation of each sector of the region; 0: never written */
    uint8_t *buffer;     /* REQUEST_BYTES_MAX, aligned for O_DIRECT */
    uint64_t reads;
    uint64_t latency_ns_max;
    uint64_t histogram[BUCKETS];
    pthread_t thread;
} Region;

typedef struct {
    uint64_t sector; /* relative to the region */
    uint32_t sectors;
} Extent;

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("stamp: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64: the next value of a well-mixed sequence. */
static uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t region_key(const Region *r)
{
    return r->options->seed * UINT64_C(0xd1342543de82ef95) + r->index;
}

static Extent extent_of(const Region *r, uint64_t generation)
{
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

static void fill_sector(const Region *r, uint64_t sector, uint64_t generation, uint64_t *words)
{
    words[0] = MAGIC;
    words[1] = sector;
    words[2] = generation;
    words[3] = region_key(r);
    uint64_t state = words[3] ^ (sector << 32) ^ generation;
    for (int i = 4; i < WORDS; i++) {
        words[i] = mix(&state);
    }
}

static void note_expected(Region *r, Extent e, uint64_t generation)
{
    for (uint32_t i = 0; i < e.sectors; i++) {
        r->expected[e.sector + i] = (uint32_t)generation;
    }
}

/* What is wrong with a sector that should carry `generation` (0: zeroes), or NULL. */
static const char *fault_of(const Region *r, uint64_t sector, uint64_t generation, const uint64_t *got)
{
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

static void check_sector(const Region *r, uint64_t sector, uint64_t generation, const uint64_t *got)
{
    const char *fault = fault_of(r, sector, generation, got);
    if (fault) {
        fail("%s: sector %" PRIu64 " %s: should be write %" PRIu64 ", holds magic %016" PRIx64 " sector %" PRIu64
             " write %" PRIu64 " (%" PRIu64 " writes done, %" PRIu64 " synced)",
             r->options->path, sector, fault, generation, got[0], got[1], got[2], r->generation, r->synced);
    }
}

static void read_extent(const Region *r, Extent e)
{
    size_t bytes = (size_t)e.sectors * SECTOR_BYTES;
    off_t offset = (off_t)((r->first_sector + e.sector) * SECTOR_BYTES);
    ssize_t done = pread(r->fd, r->buffer, bytes, offset);
    if (done < 0) {
        fail("%s: read of %zu bytes at %jd: %s", r->options->path, bytes, (intmax_t)offset, strerror(errno));
    }
    if ((size_t)done != bytes) {
        fail("%s: short read at %jd: %zd of %zu bytes", r->options->path, (intmax_t)offset, done, bytes);
    }
}

static const uint64_t *buffered_sector(const Region *r, uint32_t i)
{
    return (const uint64_t *)(r->buffer + (size_t)i * SECTOR_BYTES);
}

static void check_extent(Region *r, Extent e)
{
    read_extent(r, e);
    for (uint32_t i = 0; i < e.sectors; i++) {
        uint64_t sector = e.sector + i;
        check_sector(r, r->first_sector + sector, r->expected[sector], buffered_sector(r, i));
    }
    r->reads++;
}

static int bucket_of(uint64_t ns)
{
    uint64_t us_32 = ns * STEPS / 1000; /* microseconds, with five binary places */
    int power = 0;
    while ((us_32 >> power) >= 2 * STEPS) {
        power++;
    }
    int bucket = power * STEPS + (int)(us_32 >> power);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double bucket_us(int bucket)
{
    int power = bucket / STEPS ? bucket / STEPS - 1 : 0;
    return (double)((uint64_t)(bucket - power * STEPS) << power) / STEPS;
}

static void write_once(Region *r)
{
    uint64_t generation = r->generation + 1;
    Extent e = extent_of(r, generation);
    for (uint32_t i = 0; i < e.sectors; i++) {
        fill_sector(r, r->first_sector + e.sector + i, generation, (uint64_t *)(r->buffer + i * SECTOR_BYTES));
    }
    size_t bytes = (size_t)e.sectors * SECTOR_BYTES;
    off_t offset = (off_t)((r->first_sector + e.sector) * SECTOR_BYTES);
    uint64_t start = now_ns();
    ssize_t done = pwrite(r->fd, r->buffer, bytes, offset);
    uint64_t ns = now_ns() - start;
    if (done != (ssize_t)bytes) {
        fail("%s: write %" PRIu64 " of %zu bytes at %jd: %s", r->options->path, generation, bytes, (intmax_t)offset,
             done < 0 ? strerror(errno) : "short write");
    }
    note_expected(r, e, generation);
    r->generation = generation;
    r->histogram[bucket_of(ns)]++;
    if (ns > r->latency_ns_max) {
        r->latency_ns_max = ns;
    }
}

static void sync_region(Region *r)
{
    if (fdatasync(r->fd) < 0) {
        fail("%s: fdatasync: %s", r->options->path, strerror(errno));
    }
    r->synced = r->generation;
}

static void *write_region(void *opaque)
{
    Region *r = opaque;
    const Options *o = r->options;
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

static void for_each_piece(Region *r, void (*visit)(Region *, Extent))
{
    uint32_t piece = REQUEST_BYTES_MAX / SECTOR_BYTES;
    for (uint64_t at = 0; at < r->sectors; at += piece) {
        uint64_t left = r->sectors - at;
        visit(r, (Extent){at, left < piece ? (uint32_t)left : piece});
    }
}

/* The newest write of which anything is on the disk: the prefix, if the disk is consistent at all. */
static void find_newest(Region *r, Extent e)
{
    read_extent(r, e);
    for (uint32_t i = 0; i < e.sectors; i++) {
        const uint64_t *got = buffered_sector(r, i);
        if (got[0] == MAGIC && got[3] == region_key(r) && got[2] > r->generation) {
            r->generation = got[2];
        }
    }
}

/* Whether the newest write is on the disk in part only, as a crash may leave it. */
static bool newest_is_torn(Region *r)
{
    Extent e = extent_of(r, r->generation);
    read_extent(r, e);
    for (uint32_t i = 0; i < e.sectors; i++) {
        if (fault_of(r, r->first_sector + e.sector + i, r->generation, buffered_sector(r, i))) {
            return true;
        }
    }
    return false;
}

static void check_piece_skipping_torn(Region *r, Extent e)
{
    Extent torn = extent_of(r, r->generation + 1);
    read_extent(r, e);
    for (uint32_t i = 0; i < e.sectors; i++) {
        uint64_t sector = e.sector + i;
        bool in_torn = sector - torn.sector < torn.sectors;
        uint64_t want = r->expected[sector];
        if (in_torn && !fault_of(r, r->first_sector + sector, r->generation + 1, buffered_sector(r, i))) {
            continue;
        }
        check_sector(r, r->first_sector + sector, want, buffered_sector(r, i));
    }
}

/* Finds the region's prefix and proves that every sector of it agrees. Leaves `expected` for further writes. */
static void verify_region(Region *r)
{
    for_each_piece(r, find_newest);
    bool torn = r->options->allow_torn && r->generation && newest_is_torn(r);
    r->generation -= torn;
    r->synced = r->generation;
    for (uint64_t g = 1; g <= r->generation; g++) {
        note_expected(r, extent_of(r, g), g);
    }
    for_each_piece(r, torn ? check_piece_skipping_torn : check_extent);
    if (r->generation < r->options->at_least || r->generation > r->options->at_most) {
        fail("%s: thread %u: the disk is as after write %" PRIu64 ", expected %" PRIu64 " to %" PRIu64,
             r->options->path, r->index, r->generation, r->options->at_least, r->options->at_most);
    }
}

static void print_prefixes(const Options *o, const Region *regions, const char *name)
{
    printf("\"%s\": [", name);
    for (uint32_t i = 0; i < o->threads; i++) {
        printf("%s%" PRIu64, i ? ", " : "", regions[i].generation);
    }
    printf("]");
}

static double percentile_us(const uint64_t *histogram, uint64_t total, double share)
{
    uint64_t seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen && (double)seen >= share * (double)total) {
            return bucket_us(i);
        }
    }
    return 0;
}

static void print_write_report(const Options *o, const Region *regions, double seconds)
{
    static uint64_t histogram[BUCKETS];
    uint64_t writes = 0, reads = 0, max_ns = 0;
    for (uint32_t i = 0; i < o->threads; i++) {
        for (int b = 0; b < BUCKETS; b++) {
            histogram[b] += regions[i].histogram[b];
            writes += regions[i].histogram[b];
        }
        reads += regions[i].reads;
        max_ns = regions[i].latency_ns_max > max_ns ? regions[i].latency_ns_max : max_ns;
    }
    printf("{");
    print_prefixes(o, regions, "prefix");
    printf(", \"writes\": %" PRIu64 ", \"checked_reads\": %" PRIu64 ", \"seconds\": %.3f, \"iops\": %.0f, "
           "\"latency_us\": {\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}}\n",
           writes, reads, seconds, seconds > 0 ? (double)writes / seconds : 0, percentile_us(histogram, writes, 0.50),
           percentile_us(histogram, writes, 0.99), (double)max_ns / 1000);
}

static void run_write(const Options *o, Region *regions)
{
    if (o->resume) {
        for (uint32_t i = 0; i < o->threads; i++) {
            verify_region(&regions[i]);
            regions[i].reads = 0;
        }
    }
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < o->threads; i++) {
        int error = pthread_create(&regions[i].thread, NULL, write_region, &regions[i]);
        if (error) {
            fail("thread %u: %s", i, strerror(error));
        }
    }
    for (uint32_t i = 0; i < o->threads; i++) {
        pthread_join(regions[i].thread, NULL);
    }
    print_write_report(o, regions, (double)(now_ns() - start) / 1e9);
}

static void run_verify(const Options *o, Region *regions)
{
    for (uint32_t i = 0; i < o->threads; i++) {
        verify_region(&regions[i]);
    }
    printf("{");
    print_prefixes(o, regions, "prefix");
    printf(", \"sectors_checked\": %" PRIu64 "}\n", regions[0].sectors * o->threads);
}

static uint64_t file_bytes(int fd, const char *path)
{
    struct stat st;
    uint64_t bytes = 0;
    if (fstat(fd, &st) < 0) {
        fail("%s: %s", path, strerror(errno));
    }
    if (!S_ISBLK(st.st_mode)) {
        return (uint64_t)st.st_size;
    }
    if (ioctl(fd, BLKGETSIZE64, &bytes) < 0) {
        fail("%s: size: %s", path, strerror(errno));
    }
    return bytes;
}

static int open_target(Options *o, bool writing)
{
    int flags = (writing ? O_RDWR | (o->span_bytes ? O_CREAT : 0) : O_RDONLY) | (o->direct ? O_DIRECT : 0);
    int fd = open(o->path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        fail("%s: %s", o->path, strerror(errno));
    }
    uint64_t bytes = file_bytes(fd, o->path);
    if (writing && o->span_bytes > bytes && ftruncate(fd, (off_t)o->span_bytes) < 0) {
        fail("%s: cannot grow to the %" PRIu64 " bytes of --span: %s", o->path, o->span_bytes, strerror(errno));
    }
    if (!o->span_bytes) {
        o->span_bytes = bytes;
    }
    return fd;
}

static void prepare_region(Region *r, const Options *o, int fd, uint32_t index)
{
    uint64_t unit = o->block_bytes ? o->block_bytes / SECTOR_BYTES : 1;
    r->options = o;
    r->fd = fd;
    r->index = index;
    r->sectors = o->span_bytes / SECTOR_BYTES / o->threads / unit * unit;
    r->first_sector = index * r->sectors;
    if (!r->sectors) {
        fail("%s: %" PRIu64 " bytes are too few for %u threads", o->path, o->span_bytes, o->threads);
    }
    r->expected = calloc(r->sectors, sizeof(*r->expected));
    r->buffer = aligned_alloc(4096, REQUEST_BYTES_MAX);
    if (!r->expected || !r->buffer) {
        fail("out of memory");
    }
}

__attribute__((noreturn)) static void usage(FILE *to, int status)
{
    fputs("usage: stamp write|verify FILE --seed N [options]\n"
          "  --span BYTES       use this much from the start (default: all; write creates a file of that size)\n"
          "  --block BYTES      size and alignment of each write (default 4096); 0: 1 to 32 sectors, anywhere\n"
          "  --threads N        that many writers, each with its own part (default 1)\n"
          "  --direct           O_DIRECT\n"
          "write:\n"
          "  --count N          writes of each thread;  --seconds S  time limit;  SIGTERM ends it cleanly too\n"
          "  --sync-every N     fdatasync after every N writes of a thread (always at the end)\n"
          "  --read-back P      follow P percent of the writes with a checked read of an earlier one\n"
          "  --resume           verify what is there and go on after it\n"
          "verify (and --resume):\n"
          "  --at-least N, --at-most N   bounds on the number of writes that must be there, for each thread\n"
          "  --allow-torn       the newest write may be there in part\n"
          "prints one line of JSON; exits 1 and says why at the first error\n",
          to);
    exit(status);
}

static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    if (errno || end == text || *end) {
        fail("'%s' is not a number", text);
    }
    return value;
}

static const struct option LONG_OPTIONS[] = {
    {"seed", 1, 0, 's'},       {"count", 1, 0, 'c'},     {"seconds", 1, 0, 't'},    {"span", 1, 0, 'S'},
    {"block", 1, 0, 'b'},      {"threads", 1, 0, 'n'},   {"sync-every", 1, 0, 'f'}, {"read-back", 1, 0, 'r'},
    {"at-least", 1, 0, 'l'},   {"at-most", 1, 0, 'm'},   {"direct", 0, 0, 'd'},     {"resume", 0, 0, 'R'},
    {"allow-torn", 0, 0, 'T'}, {"help", 0, 0, 'h'},      {0},
};

static void take_option(Options *o, int c)
{
    switch (c) {
    case 's': o->seed = number(optarg); break;
    case 'c': o->count = number(optarg); break;
    case 't': o->seconds = (double)number(optarg); break;
    case 'S': o->span_bytes = number(optarg); break;
    case 'b': o->block_bytes = (uint32_t)number(optarg); break;
    case 'n': o->threads = (uint32_t)number(optarg); break;
    case 'f': o->sync_every = (uint32_t)number(optarg); break;
    case 'r': o->read_back_percent = (uint32_t)number(optarg); break;
    case 'l': o->at_least = number(optarg); break;
    case 'm': o->at_most = number(optarg); break;
    case 'd': o->direct = true; break;
    case 'R': o->resume = true; break;
    case 'T': o->allow_torn = true; break;
    case 'h': usage(stdout, 0);
    default: usage(stderr, 2);
    }
}

static Options parse(int argc, char **argv)
{
    Options o = {.block_bytes = 4096, .threads = 1, .at_most = UINT32_MAX};
    int c;
    while ((c = getopt_long(argc, argv, "h", LONG_OPTIONS, NULL)) != -1) {
        take_option(&o, c);
    }
    if (argc - optind != 2) {
        usage(stderr, 2);
    }
    o.path = argv[optind + 1];
    if (o.block_bytes % SECTOR_BYTES || o.block_bytes > REQUEST_BYTES_MAX) {
        fail("--block must be a multiple of %d, at most %d", SECTOR_BYTES, REQUEST_BYTES_MAX);
    }
    if (o.threads < 1 || o.threads > THREADS_MAX) {
        fail("--threads must be 1 to %d", THREADS_MAX);
    }
    return o;
}

int main(int argc, char **argv)
{
    Options o = parse(argc, argv);
    const char *verb = argv[optind];
    bool writing = strcmp(verb, "write") == 0;
    if (!writing && strcmp(verb, "verify") != 0) {
        usage(stderr, 2);
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    int fd = open_target(&o, writing);
    Region *regions = calloc(o.threads, sizeof(*regions));
    for (uint32_t i = 0; i < o.threads; i++) {
        prepare_region(&regions[i], &o, fd, i);
    }
    (writing ? run_write : run_verify)(&o, regions);
    return 0;
}
