/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * stamp: writes 512-byte sectors that say what they are, and checks them. How: region.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "region.h"

enum { THREADS_MAX = 64 };

volatile sig_atomic_t stop_asked;

static void on_signal(int number) {
    (void)number;
    stop_asked = 1;
}

void fail(const char* format, ...) {
    va_list args;
    va_start(args, format);
    fputs("stamp: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void print_prefixes(const Options* o, const Region* regions, const char* name) {
    printf("\"%s\": [", name);
    for (uint32_t i = 0; i < o->threads; i++) {
        printf("%s%" PRIu64, i ? ", " : "", regions[i].generation);
    }
    printf("]");
}

static void print_write_report(const Options* o, const Region* regions, double seconds) {
    static Latencies all;
    uint64_t reads = 0;
    for (uint32_t i = 0; i < o->threads; i++) {
        latencies_add(&all, &regions[i].latencies);
        reads += regions[i].reads;
    }
    printf("{");
    print_prefixes(o, regions, "prefix");
    printf(", \"writes\": %" PRIu64 ", \"checked_reads\": %" PRIu64
           ", \"seconds\": %.3f, \"iops\": %.0f, "
           "\"latency_us\": {\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}}\n",
           all.count, reads, seconds, seconds > 0 ? (double)all.count / seconds : 0,
           latencies_percentile_us(&all, 0.50), latencies_percentile_us(&all, 0.99),
           (double)all.ns_max / 1000);
}

static void run_write(const Options* o, Region* regions) {
    if (o->resume) {
        for (uint32_t i = 0; i < o->threads; i++) {
            region_verify(&regions[i]);
            regions[i].reads = 0;
        }
    }
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < o->threads; i++) {
        int error = pthread_create(&regions[i].thread, NULL, region_write, &regions[i]);
        if (error) {
            fail("thread %u: %s", i, strerror(error));
        }
    }
    for (uint32_t i = 0; i < o->threads; i++) {
        pthread_join(regions[i].thread, NULL);
    }
    print_write_report(o, regions, (double)(now_ns() - start) / 1e9);
}

static void run_verify(const Options* o, Region* regions) {
    for (uint32_t i = 0; i < o->threads; i++) {
        region_verify(&regions[i]);
    }
    printf("{");
    print_prefixes(o, regions, "prefix");
    printf(", \"sectors_checked\": %" PRIu64 "}\n", regions[0].sectors * o->threads);
}

static uint64_t file_bytes(int fd, const char* path) {
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

static int open_target(Options* o, bool writing) {
    int flags =
        (writing ? O_RDWR | (o->span_bytes ? O_CREAT : 0) : O_RDONLY) | (o->direct ? O_DIRECT : 0);
    int fd = open(o->path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        fail("%s: %s", o->path, strerror(errno));
    }
    uint64_t bytes = file_bytes(fd, o->path);
    if (writing && o->span_bytes > bytes && ftruncate(fd, (off_t)o->span_bytes) < 0) {
        fail("%s: cannot grow to the %" PRIu64 " bytes of --span: %s", o->path, o->span_bytes,
             strerror(errno));
    }
    if (!o->span_bytes) {
        o->span_bytes = bytes;
    }
    return fd;
}

__attribute__((noreturn)) static void usage(FILE* to, int status) {
    fputs(
        "usage: stamp write|verify FILE --seed N [options]\n"
        "  --span BYTES       use this much from the start (default: all; write creates a file of "
        "that size)\n"
        "  --block BYTES      size and alignment of each write (default 4096); 0: 1 to 32 sectors, "
        "anywhere\n"
        "  --threads N        that many writers, each with its own part (default 1)\n"
        "  --direct           O_DIRECT\n"
        "write:\n"
        "  --count N          writes of each thread;  --seconds S  time limit;  SIGTERM ends it "
        "cleanly too\n"
        "  --sync-every N     fdatasync after every N writes of a thread (always at the end)\n"
        "  --read-back P      follow P percent of the writes with a checked read of an earlier "
        "one\n"
        "  --resume           verify what is there and go on after it\n"
        "verify (and --resume):\n"
        "  --at-least N, --at-most N   bounds on the number of writes that must be there, for each "
        "thread\n"
        "  --allow-torn       the newest write may be there in part\n"
        "prints one line of JSON; exits 1 and says why at the first error\n",
        to);
    exit(status);
}

static uint64_t number(const char* text) {
    char* end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    if (errno || end == text || *end) {
        fail("'%s' is not a number", text);
    }
    return value;
}

static const struct option LONG_OPTIONS[] = {
    {"seed", 1, 0, 's'},       {"count", 1, 0, 'c'},     {"seconds", 1, 0, 't'},
    {"span", 1, 0, 'S'},       {"block", 1, 0, 'b'},     {"threads", 1, 0, 'n'},
    {"sync-every", 1, 0, 'f'}, {"read-back", 1, 0, 'r'}, {"at-least", 1, 0, 'l'},
    {"at-most", 1, 0, 'm'},    {"direct", 0, 0, 'd'},    {"resume", 0, 0, 'R'},
    {"allow-torn", 0, 0, 'T'}, {"help", 0, 0, 'h'},      {0},
};

static void take_option(Options* o, int c) {
    switch (c) {
        case 's':
            o->seed = number(optarg);
            break;
        case 'c':
            o->count = number(optarg);
            break;
        case 't':
            o->seconds = (double)number(optarg);
            break;
        case 'S':
            o->span_bytes = number(optarg);
            break;
        case 'b':
            o->block_bytes = (uint32_t)number(optarg);
            break;
        case 'n':
            o->threads = (uint32_t)number(optarg);
            break;
        case 'f':
            o->sync_every = (uint32_t)number(optarg);
            break;
        case 'r':
            o->read_back_percent = (uint32_t)number(optarg);
            break;
        case 'l':
            o->at_least = number(optarg);
            break;
        case 'm':
            o->at_most = number(optarg);
            break;
        case 'd':
            o->direct = true;
            break;
        case 'R':
            o->resume = true;
            break;
        case 'T':
            o->allow_torn = true;
            break;
        case 'h':
            usage(stdout, 0);
        default:
            usage(stderr, 2);
    }
}

static Options parse(int argc, char** argv) {
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

int main(int argc, char** argv) {
    Options o = parse(argc, argv);
    const char* verb = argv[optind];
    bool writing = strcmp(verb, "write") == 0;
    if (!writing && strcmp(verb, "verify") != 0) {
        usage(stderr, 2);
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    int fd = open_target(&o, writing);
    Region* regions = calloc(o.threads, sizeof(*regions));
    for (uint32_t i = 0; i < o.threads; i++) {
        region_prepare(&regions[i], &o, fd, i);
    }
    (writing ? run_write : run_verify)(&o, regions);
    return 0;
}
