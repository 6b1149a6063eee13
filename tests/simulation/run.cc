// SPDX-License-Identifier: GPL-2.0-or-later
#include "run.h"

#include "damage.h"
#include "guest_io.h"
#include "history_ops.h"
#include "lifecycle.h"
#include "point_ops.h"
#include "predict_ops.h"
#include "retention_ops.h"
#include "snapshot_ops.h"
#include "view_ops.h"
#include "world.h"

namespace predsnap::sim {
namespace {

// One request of a guest, or of its administrator while the guest runs.
void burst_request(World& world) {
    const uint64_t dice = world.random.below(100);
    if (dice < 46) {
        guest_write(world);
    } else if (dice < 60) {
        guest_read(world);
    } else if (dice < 67) {
        guest_write_zeroes(world);
    } else if (dice < 74) {
        guest_discard(world);
    } else if (dice < 82) {
        guest_flush(world);
    } else if (dice < 84) {
        guest_status(world);
    } else if (dice < 86) {
        guest_nonsense(world);
    } else if (dice < 88) {
        create_snapshot(world);
    } else if (dice < 89) {
        delete_snapshot(world);
    } else if (dice < 91) {
        open_view(world);
    } else if (dice < 98) {
        read_view(world);
    } else {
        close_view(world);
    }
}

void write_checkpoint(World& world) {
    const FaultMark since = world.mark();
    const Result<void> result = world.engine->checkpoint();
    world.check_call_end();
    if (world.alive() && !result.ok()) {
        world.require_excused("checkpoint", result.error(), since);
    }
    world.coverage.hit("checkpoint asked for");
}

// Several tasks at once, with now and then something rare among them.
void burst(World& world) {
    WaitGroup group(world.scheduler);
    const uint64_t tasks = world.random.between(1, world.plan.tasks_max);
    for (uint64_t i = 0; i < tasks; ++i) {
        group.add();
        const uint64_t requests = world.random.between(1, 8);
        world.scheduler.spawn("guest " + std::to_string(i), [&world, &group, requests] {
            for (uint64_t n = 0; n < requests && world.alive(); ++n) {
                burst_request(world);
            }
            group.done();
        });
    }
    if (world.random.chance(0.1)) {
        write_checkpoint(world);
    }
    if (world.plan.crash_rate > 0 && world.random.chance(0.05)) {
        world.scheduler.sleep(world.random.skewed(20'000));
        world.disk.die();
    }
    group.wait("the burst to end");
    world.coverage.hit("burst");
}

void change_faults(World& world) {
    const Plan& plan = world.plan;
    world.stop_faults();
    if (plan.errors && world.random.chance(0.5)) {
        const double rate = world.random.chance(0.3) ? 0.2 : 0.01;
        world.disk.set_faults({.read_error = world.random.chance(0.5) ? rate : 0,
                               .write_error = world.random.chance(0.7) ? rate : 0,
                               .flush_error = world.random.chance(0.5) ? rate : 0});
        world.base.set_read_error(world.random.chance(0.3) ? rate : 0);
        world.slow.set_faults({.read_error = world.random.chance(0.5) ? rate : 0,
                               .write_error = world.random.chance(0.5) ? rate : 0,
                               .flush_error = world.random.chance(0.5) ? rate : 0});
        world.coverage.hit("I/O errors begin");
    }
    if (plan.no_space && world.random.chance(0.5)) {
        world.disk.set_capacity(world.disk.allocated_bytes() + world.random.skewed(1 << 20));
        world.disk_full = true;
        world.coverage.hit("space becomes short");
    }
    if (plan.capacity && world.random.chance(0.3)) {
        world.slow.set_capacity(world.slow.allocated_bytes() + world.random.skewed(1 << 20));
        world.coverage.hit("space becomes short in the capacity image");
    }
    if (plan.clock_jumps && world.random.chance(0.5)) {
        const auto jump = static_cast<int64_t>(world.random.skewed(3'600'000'000));
        world.host.jump_clock(world.random.chance(0.5) ? jump : -jump);
        world.coverage.hit("clock jumps");
    }
}

void pause_or_resume(World& world) {
    if (world.random.chance(0.5)) {
        world.engine->pause_background();
        world.coverage.hit("background paused");
        burst(world);
        world.engine->resume_background();
    } else {
        world.engine->set_point_interval(static_cast<int64_t>(world.random.skewed(1'000'000)));
    }
}

void check_old_state(World& world) {
    const uint64_t newest = world.newest();
    const uint64_t floor = world.engine->info().floor.value;
    check_state(world, floor + world.random.below(newest - floor + 1));
}

// VM state is written and becomes part of a snapshot, as savevm does.
void save_vm(World& world) {
    for (uint64_t n = world.random.between(1, 4); n > 0 && world.alive(); --n) {
        write_vm_state(world);
    }
    if (world.alive()) {
        create_snapshot(world);
    }
    if (world.alive()) {
        read_vm_state(world);
    }
}

void note_deltas(World& world) {
    const EngineStats stats = world.engine->stats();
    const FineInfo fine = world.engine->fine_info();
    world.coverage.hit("deltas written", stats.deltas > 0);
    world.coverage.hit("deltas materialised", stats.materialised > 0);
    world.coverage.hit("deltas live", fine.live_deltas > 0);
    world.coverage.hit("deltas live while history is limited",
                       fine.live_deltas > 0 && world.engine->info().floor.value > 0);
    world.coverage.hit("deltas not learnt yet", !fine.deltas_learnt && world.engine->info().floor.value > 0);
    world.coverage.hit("staged block found", fine.staging.hits > 0);
    world.coverage.hit("staged block evicted", fine.staging.evictions > 0);
    note_predictions(world);
    if (!world.engine->totals_right()) {
        world.fail("what is counted of the segments is not what they say");
    }
}

// The administrator changes how writes are logged.
void change_fine(World& world) {
    const bool deltas = world.plan.fine.granularity != Granularity::sub_block;
    FineOptions options = world.plan.fine;
    options.stage_reads = world.random.chance(0.8);
    if (deltas && world.random.chance(0.3)) {
        options.granularity = static_cast<Granularity>(world.random.below(4));
    }
    // Another size empties the cache, so that what comes next is read from the disk.
    options.staging_bytes += world.random.between(0, 2) * kBlockSize;
    if (world.random.chance(0.2)) {
        options.staging_bytes = world.random.skewed(1 << 20);
    }
    world.engine->set_fine(options);
    world.coverage.hit("granularity changed");
}

void step(World& world) {
    struct Choice {
        unsigned weight;
        void (*action)(World&);
    };
    static constexpr Choice choices[] = {
        {40, burst},
        {6, check_everything},
        {5, create_snapshot},
        {2, delete_snapshot},
        {4, save_vm},
        {6, roll_back},
        {6, open_view},
        {4, read_all_views},
        {3, close_view},
        {4, check_old_state},
        {3, resize},
        {1, change_backing},
        {4, write_checkpoint},
        {3, check_points},
        {1, check_image},
        {4, reopen},
        {5, change_faults},
        {2, pause_or_resume},
        {1, check_snapshot_list},
        {2, change_retention},
        {1, coalesce_on_demand},
        {3, change_fine},
        {2, go_without_capacity},
        {3, give_predictions},
        {1, give_hint},
        {1, fetch_a_state},
        {1, change_threshold},
    };
    unsigned total = 0;
    for (const Choice& choice : choices) {
        total += choice.weight;
    }
    uint64_t dice = world.random.below(total);
    for (const Choice& choice : choices) {
        if (dice < choice.weight) {
            choice.action(world);
            return;
        }
        dice -= choice.weight;
    }
}

void run_steps(World& world, uint64_t steps) {
    for (uint64_t n = 0; n < steps; ++n) {
        if (world.random.chance(world.plan.crash_rate)) {
            world.disk.die_after(world.random.skewed(300));
        }
        step(world);
        if (!world.alive()) {
            recover(world);
        }
        note_deltas(world);
        const bool reclaimed = check_floor(world);
        if (reclaimed && world.plan.crash_rate > 0 && world.random.chance(0.4)) {
            world.disk.die_after(world.random.skewed(40));  // while segments are used again
        }
    }
    world.disk.call_off_death();
    world.stop_faults();
}

void whole_run(World& world, uint64_t steps) {
    create_image(world);
    if (world.plan.rewrite_image) {
        // A new image over an old one: nothing of the old may come back.
        run_steps(world, steps / 4);
        if (close_engine(world)) {
            world.disk.restart(Death::process_killed);
            create_image(world);
        } else {
            recover(world);
        }
    }
    run_steps(world, steps);
    check_everything(world);
    read_all_views(world);
    check_points(world);
    reopen(world);
    check_everything(world);
    check_image(world);
    if (world.plan.damage) {
        damage_image(world);
    } else {
        close_engine(world);
    }
}

}  // namespace

RunResult run_seed(uint64_t seed, uint64_t steps, Detail detail) {
    auto world = std::make_unique<World>(seed, detail != Detail::none);
    if (detail == Detail::disk_requests) {
        world->disk.observe([&world](const char* kind, uint64_t offset, uint64_t length) {
            world->log("  disk %s %llu+%llu", kind, (unsigned long long)offset,
                       (unsigned long long)length);
        });
    }
    world->scheduler.run([&] { whole_run(*world, steps); });
    RunResult result;
    result.failure = world->scheduler.failure();
    result.trace_hash = world->scheduler.trace_hash();
    result.steps = world->scheduler.steps();
    result.coverage = world->coverage;
    const DiskStats& disk = world->disk.stats();
    result.coverage.hit("disk: errors injected", disk.errors_injected);
    result.coverage.hit("disk: no space", disk.no_space);
    result.coverage.hit("disk: flushes", disk.flushes);
    result.coverage.hit("capacity image: no space", world->slow.stats().no_space);
    result.coverage.hit("capacity image: errors injected", world->slow.stats().errors_injected);
    result.coverage.hit("disk: writes", disk.writes);
    result.coverage.hit("disk: discards", disk.discards);
    result.coverage.hit("disk: sectors lost in power losses", disk.sectors_lost);
    result.coverage.hit("disk: unflushed sectors kept", disk.sectors_kept);
    if (!result.failure.empty()) {
        world.release();  // tasks were left where they stood, and what they use with them
    }
    return result;
}

}  // namespace predsnap::sim
