/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "latency.h"

static int bucket_of(uint64_t ns) {
    uint64_t us_32 = ns * STEPS / 1000; /* microseconds, with five binary places */
    int power = 0;
    while ((us_32 >> power) >= 2 * STEPS) {
        power++;
    }
    int bucket = power * STEPS + (int)(us_32 >> power);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double bucket_us(int bucket) {
    int power = bucket / STEPS ? bucket / STEPS - 1 : 0;
    return (double)((uint64_t)(bucket - power * STEPS) << power) / STEPS;
}

void latencies_note(Latencies* l, uint64_t ns) {
    l->buckets[bucket_of(ns)]++;
    l->count++;
    l->ns_max = ns > l->ns_max ? ns : l->ns_max;
}

void latencies_add(Latencies* to, const Latencies* from) {
    for (int i = 0; i < BUCKETS; i++) {
        to->buckets[i] += from->buckets[i];
    }
    to->count += from->count;
    to->ns_max = from->ns_max > to->ns_max ? from->ns_max : to->ns_max;
}

double latencies_percentile_us(const Latencies* l, double share) {
    uint64_t seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += l->buckets[i];
        if (seen && (double)seen >= share * (double)l->count) {
            return bucket_us(i);
        }
    }
    return 0;
}
