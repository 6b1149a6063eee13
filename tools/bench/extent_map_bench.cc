// SPDX-License-Identifier: GPL-2.0-or-later
//
// Measures the extent map with scattered 4 KiB extents, inserted in random order, and prints JSON.
// Usage: extent_map_bench [EXTENTS...]; the default is 1, 10 and 16 million.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "block/engine/extent_map.h"

namespace {

using predsnap::Extent;
using predsnap::ExtentKind;
using predsnap::ExtentMap;
using predsnap::Place;
using predsnap::Sector;

constexpr uint64_t kOperationsMax = 4000000;

// A bijection of [0, 2^64): numbers in no order without a table that would disturb the caches.
uint64_t scramble(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// Visits 0..n-1 in a random order: a bijection of the next power of two, skipping what is too
// large.
class Order {
  public:
    Order(uint64_t n, uint64_t seed) : n_(n), seed_(scramble(seed) | 1) {
        while ((1ull << bits_) < n) {
            ++bits_;
        }
    }
    uint64_t next() {
        for (;;) {
            const uint64_t x = mix(i_++);
            if (x < n_) {
                return x;
            }
        }
    }

  private:
    uint64_t mix(uint64_t x) const {
        const uint64_t mask = (1ull << bits_) - 1;
        for (int round = 0; round < 3; ++round) {
            x = (x * seed_ + round) & mask;
            x ^= x >> (bits_ / 2 + 1);
        }
        return x;
    }
    uint64_t n_;
    uint64_t seed_;
    unsigned bits_ = 1;
    uint64_t i_ = 0;
};

// Of processor time: what else runs on the machine should not count.
class Timer {
  public:
    double ns() const { return now() - begin_; }

  private:
    static double now() {
        timespec time;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
        return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
    }
    double begin_ = now();
};

uint64_t resident_bytes() {
    FILE* file = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    uint64_t kib = 0;
    while (file != nullptr && fgets(line, sizeof(line), file) != nullptr) {
        if (sscanf(line, "Rss: %" SCNu64, &kib) == 1) {
            break;
        }
    }
    if (file != nullptr) {
        fclose(file);
    }
    return kib * 1024;
}

// Blocks lie apart by an uneven step, so that no two touch.
Extent block(uint64_t index, uint64_t place) {
    Extent extent;
    extent.start = Sector(index * 24 + scramble(index) % 2 * 8);
    extent.count = 8;
    extent.kind = ExtentKind::unit;
    extent.checksum = static_cast<uint32_t>(scramble(place));
    extent.place = Place(place * 8);
    return extent;
}

double time_inserts(ExtentMap* map, uint64_t n) {
    Order order(n, 1);
    const Timer timer;
    for (uint64_t i = 0; i < n; ++i) {
        map->insert(block(order.next(), i));
    }
    return timer.ns() / static_cast<double>(n);
}

double time_overwrites(ExtentMap* map, uint64_t n) {
    Order order(n, 2);
    const uint64_t operations = n < kOperationsMax ? n : kOperationsMax;
    std::vector<Extent> replaced;
    const Timer timer;
    for (uint64_t i = 0; i < operations; ++i) {
        replaced.clear();
        map->insert(block(order.next(), n + i), &replaced);
    }
    return timer.ns() / static_cast<double>(operations);
}

// Each lookup begins only when the one before is done, as a single reader's would.
double time_lookups(const ExtentMap& map, uint64_t n) {
    Order order(n, 3);
    const uint64_t operations = n < kOperationsMax ? n : kOperationsMax;
    uint64_t carried = 0;
    const Timer timer;
    for (uint64_t i = 0; i < operations; ++i) {
        const Sector at = block(order.next(), 0).start + (carried & 7);
        Extent found;
        if (!map.find(at, &found) || found.start.value + (carried & 7) != at.value) {
            fprintf(stderr, "extent_map_bench: sector %" PRIu64 " was not found\n", at.value);
            exit(1);
        }
        carried = found.checksum;
    }
    return timer.ns() / static_cast<double>(operations);
}

double time_for_each(const ExtentMap& map) {
    uint64_t sum = 0;
    const Timer timer;
    map.for_each(Sector(0), [&](const Extent& e) {
        sum += e.place.value;
        return true;
    });
    const double ns = timer.ns();
    return sum == 0 ? 0 : ns / static_cast<double>(map.extent_count());
}

double time_erases(ExtentMap* map, uint64_t n) {
    Order order(n, 4);
    const uint64_t operations = n / 2;
    const Timer timer;
    for (uint64_t i = 0; i < operations; ++i) {
        const Extent e = block(order.next(), 0);
        map->erase(e.start, e.end());
    }
    return timer.ns() / static_cast<double>(operations);
}

double time_appends(ExtentMap* map, uint64_t n) {
    const Timer timer;
    for (uint64_t i = 0; i < n; ++i) {
        map->append(block(i, i));
    }
    return timer.ns() / static_cast<double>(n);
}

double bytes_per_extent(const ExtentMap& map) {
    return static_cast<double>(map.memory_bytes()) / static_cast<double>(map.extent_count());
}

void measure(uint64_t n, const char* comma) {
    const uint64_t rss_before = resident_bytes();
    ExtentMap map;
    const double insert = time_inserts(&map, n);
    const double rss = static_cast<double>(resident_bytes() - rss_before);
    const double bytes = bytes_per_extent(map);
    const double lookup = time_lookups(map, n);
    const double overwrite = time_overwrites(&map, n);
    const double each = time_for_each(map);
    const double erase = time_erases(&map, n);
    const double bytes_after_erase = bytes_per_extent(map);
    map.clear();
    const double append = time_appends(&map, n);
    printf("  {\"extents\": %" PRIu64
           ", \"bytes_per_extent\": %.2f, \"rss_per_extent\": %.2f, "
           "\"insert_ns\": %.1f, \"lookup_ns\": %.1f, \"overwrite_ns\": %.1f, "
           "\"for_each_ns\": %.2f, \"erase_ns\": %.1f, \"bytes_per_extent_half_erased\": %.2f, "
           "\"append_ns\": %.2f, \"appended_bytes_per_extent\": %.2f}%s\n",
           n, bytes, rss / static_cast<double>(n), insert, lookup, overwrite, each, erase,
           bytes_after_erase, append, bytes_per_extent(map), comma);
    fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<uint64_t> sizes;
    for (int i = 1; i < argc; ++i) {
        sizes.push_back(strtoull(argv[i], nullptr, 0));
    }
    if (sizes.empty()) {
        sizes = {1000000, 10000000, 16000000};
    }
    printf("[\n");
    for (size_t i = 0; i < sizes.size(); ++i) {
        if (sizes[i] < 2) {
            fprintf(stderr, "usage: extent_map_bench [EXTENTS...], each at least 2\n");
            return 1;
        }
        measure(sizes[i], i + 1 < sizes.size() ? "," : "");
    }
    printf("]\n");
    return 0;
}
