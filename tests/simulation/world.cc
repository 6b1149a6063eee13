// SPDX-License-Identifier: GPL-2.0-or-later
#include "world.h"

#include <cstdarg>
#include <cstdio>

namespace predsnap::sim {
namespace {

DiskOptions draw_disk(Random& random) {
    DiskOptions disk;
    disk.latency_us_max = 1ull << random.between(3, 10);
    disk.slow_probability = random.chance(0.3) ? 0.05 : 0.002;
    disk.garbage_in_new_space = random.chance(0.4);
    disk.late_capture = random.chance(0.5);
    return disk;
}

FineOptions draw_fine(Random& random) {
    FineOptions fine;
    const double kind = static_cast<double>(random.below(100));
    fine.granularity = kind < 45   ? Granularity::fine
                       : kind < 70 ? Granularity::automatic
                                   : Granularity::sub_block;
    fine.staging_bytes = random.between(8, 600) * kBlockSize;
    fine.weight = static_cast<unsigned>(random.below(11));
    return fine;
}

}  // namespace

Plan::Plan(uint64_t seed) {
    Random random(seed, 5);
    disk_sectors = random.between(512, 4096);
    disk_sectors_max = disk_sectors + random.between(0, 4096);
    segment_size = 64u << (10 + random.skewed(4));
    prewrite = random.chance(0.3) ? random.between(1, 4) * segment_size : 0;
    backing = random.chance(0.5);
    backing_bytes = backing ? random.between(1, disk_sectors_max + 512) * kSectorSize : 0;
    point_interval_us = random.chance(0.5) ? static_cast<int64_t>(random.between(100, 100'000)) : 0;
    pool_min = random.below(4) * segment_size;
    pool_max = pool_min + random.below(6) * segment_size;
    disk = draw_disk(random);
    crash_rate = random.chance(0.2) ? 0 : 0.02 + 0.01 * static_cast<double>(random.below(15));
    errors = random.chance(0.3);
    no_space = random.chance(0.25);
    clock_jumps = random.chance(0.3);
    damage = random.chance(0.25);
    rewrite_image = random.chance(0.1);
    tasks_max = random.between(1, 12);
    hot_sectors = random.between(8, 256);
    request_sectors_max = 8ull << random.below(9);
    fine = draw_fine(random);
    retention = random.chance(fine.granularity == Granularity::fine ? 0.8 : 0.6);
    capacity = retention && random.chance(0.6);
    slow = draw_disk(random);
    slow.latency_us_max *= random.chance(0.5) ? 20 : 1;
    slow.garbage_in_new_space = false;  // what is empty is made a capacity image
    slim_rate = fine.granularity == Granularity::sub_block ? 0 : 0.3 + 0.1 * static_cast<double>(random.below(8));
    fine.stage_reads = random.chance(0.85);
    fine.use = {random.chance(0.8), random.chance(0.8), random.chance(0.8)};
    fine.threshold.adaptive = random.chance(0.7);
    if (random.chance(0.25)) {
        fine.staging_bytes = random.between(1, 12) * kBlockSize;
    }
    dictionary_frames = random.chance(0.7) ? 4 : 128;
    coalesce_rate = random.chance(0.3) ? 4096ull << random.below(12) : 0;
    spare_segments = random.chance(0.3) ? 8 : random.below(4);
    pack_after_us = !random.chance(0.5) ? -1 : random.chance(0.5) ? 0 : static_cast<int64_t>(random.between(1000, 500'000));
    placement = random.chance(0.5) ? Placement::apart : Placement::log;
    fine.use.placement = random.chance(0.8);
    if (Random archive(seed, 11); archive.chance(0.12)) {
        make_archive(archive);
    }
}

// A larger disk of small segments, written in large pieces, on which data gets cold: packs are made, and what is
// overwritten is stored after them.
void Plan::make_archive(Random& random) {
    disk_sectors = random.between(2048, 6144);
    disk_sectors_max = disk_sectors + random.between(0, 2048);
    backing_bytes = std::min(backing_bytes, disk_sectors_max * kSectorSize);
    segment_size = 64 << 10;
    prewrite = 0;
    pool_min = pool_max = random.below(4) * segment_size;
    retention = true;
    crash_rate = std::min(crash_rate, 0.06);
    archive = true;
    request_sectors_max = 256ull << random.below(3);
    hot_sectors = disk_sectors / random.between(2, 6);
    slim_rate /= 4;
    pack_after_us = random.chance(0.7) ? 0 : static_cast<int64_t>(random.between(100, 20'000));
    placement = Placement::log;
    coalesce_rate = 0;
}

World::World(uint64_t seed, bool verbose)
    : seed(seed),
      verbose(verbose),
      plan(seed),
      random(seed, 6),
      scheduler(seed),
      host(scheduler, seed),
      disk(scheduler, seed, plan.disk),
      slow(scheduler, mix(seed + 1), plan.slow),
      base(scheduler, seed, plan.backing_bytes),
      model(plan.disk_sectors_max, kVmSectors,
            [this](uint64_t sector) { return plan.backing && base.has_data(sector); }) {
    slow.follow(disk);
}

FaultMark World::mark() const {
    return {disk.stats().errors_injected + slow.stats().errors_injected + base.errors_injected(),
            disk.stats().no_space, disk_full};
}

bool World::excused(const Error& error, const FaultMark& since) const {
    const FaultMark now = mark();
    if (disk.dead() || now.errors != since.errors) {
        return true;
    }
    if (error.code == ENOSPC && (since.full || now.full || now.no_space != since.no_space)) {
        return true;
    }
    if (without_capacity && error.code == EIO && host.count(Event::capacity_error) > 0) {
        return true;
    }
    return error.code == EIO && flipped_bits > 0 && host.corruption_reports() > 0;
}

void World::require_excused(const char* what, const Error& error, const FaultMark& since) {
    log("%s failed: %d %s", what, error.code, error.message.c_str());
    if (excused(error, since)) {
        coverage.hit(std::string("failed because of a fault: ") + what);
        return;
    }
    fail(std::string(what) + " failed without a fault: errno " + std::to_string(error.code) +
         ", \"" + error.message + "\"");
}

void World::require(bool fine, const char* what, uint64_t slot, Value observed,
                    const void* content) {
    if (fine) {
        return;
    }
    std::string place = "sector " + std::to_string(slot);
    if (slot == model.size_slot()) {
        place = "the disk size";
    } else if (slot >= model.disk_sectors()) {
        place = "VM state sector " + std::to_string(slot - model.disk_sectors());
    }
    fail(std::string(what) + ": " + place + " holds " +
         (content != nullptr ? describe_content(content) : std::to_string(observed)) +
         "; what is known of it:" + model.explain(slot));
}

void World::log(const char* format, ...) {
    if (!verbose) {
        return;
    }
    printf("[%10llu us] ", static_cast<unsigned long long>(scheduler.now_us()));
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
}

void World::check_call_end() {
    if (scheduler.wakes_pending(scheduler.self()) != 0) {
        fail("the engine returned and left a wake-up for its caller's task behind");
    }
}

void World::stop_faults() {
    disk.set_faults({});
    slow.set_faults({});
    slow.set_capacity(UINT64_MAX);
    base.set_read_error(0);
    disk.set_capacity(UINT64_MAX);
    disk_full = false;
}

}  // namespace predsnap::sim
