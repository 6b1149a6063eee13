/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A histogram of latencies: 32 steps in every power of two of microseconds, 3% wide. */
#ifndef STAMP_LATENCY_H
#define STAMP_LATENCY_H

#include <stdint.h>

enum { STEPS = 32, BUCKETS = 40 * STEPS };

typedef struct {
    uint64_t count;
    uint64_t ns_max;
    uint64_t buckets[BUCKETS];
} Latencies;

void latencies_note(Latencies* l, uint64_t ns);
void latencies_add(Latencies* to, const Latencies* from);
/* The latency that this share of them (0 to 1) did not exceed. */
double latencies_percentile_us(const Latencies* l, double share);

#endif
