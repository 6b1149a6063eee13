// SPDX-License-Identifier: GPL-2.0-or-later
#include "retention_ops.h"

#include <algorithm>

namespace predsnap::sim {
namespace {

std::vector<RetentionRule> draw_rules(World& world, int64_t window_us) {
    std::vector<RetentionRule> rules;
    RetentionRule rule{0, window_us};
    for (uint64_t count = world.random.between(1, 3); count > 0; --count) {
        rule.every_us += static_cast<int64_t>(1 + world.random.skewed(300'000));
        rule.for_us += static_cast<int64_t>(1 + world.random.skewed(3'000'000));
        rules.push_back(rule);
    }
    return rules;
}

Retention draw_retention(World& world) {
    Retention retention;
    if (world.random.chance(0.8)) {
        retention.window_us =
            world.random.chance(0.5) ? 0 : static_cast<int64_t>(world.random.skewed(2'000'000));
        if (world.random.chance(0.4)) {
            retention.rules = draw_rules(world, *retention.window_us);
        }
    }
    if (world.random.chance(0.3)) {
        retention.bytes = world.random.between(4, 40) * world.plan.segment_size;
    }
    return retention;
}

}  // namespace

void change_retention(World& world) {
    if (!world.plan.retention) {
        return;
    }
    world.compression_level = static_cast<int>(world.random.between(1, 5));
    world.engine->set_compression_level(world.compression_level);
    const Retention asked = draw_retention(world);
    const FaultMark faults = world.mark();
    world.retentions.push_back(asked);
    const Result<void> result = world.engine->set_retention(asked);
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    if (!result.ok()) {
        world.require_excused("set_retention", result.error(), faults);
        return;
    }
    if (!(world.engine->retention() == asked)) {
        world.fail("the limits of history are not those that were set");
    }
    world.retentions = {asked};
    world.coverage.hit(!asked.limited()           ? "history without limit"
                       : asked.window_us == 0     ? "no history asked for"
                       : asked.window_us && asked.bytes ? "history limited twice"
                                                  : "history limited");
}

void coalesce_on_demand(World& world) {
    if (!world.plan.retention) {
        return;
    }
    if (world.engine->coalescing().running && world.random.chance(0.5)) {
        if (world.random.chance(0.3)) {
            world.engine->end_coalescing();
            world.coverage.hit("coalescing on demand cancelled");
        } else {
            world.engine->pause_coalescing(world.random.chance(0.5));
            world.coverage.hit("coalescing on demand paused or resumed");
        }
        return;
    }
    std::optional<Time> until;
    if (world.random.chance(0.3)) {
        until = world.host.now() + -static_cast<int64_t>(world.random.skewed(1'000'000));
        world.demanded = true;
    }
    world.engine->begin_coalescing(until);
    world.coverage.hit("coalescing on demand");
}

bool check_floor(World& world) {
    const EngineInfo info = world.engine->info();
    const uint64_t floor = info.floor.value;
    if (floor < world.floor) {
        world.fail("history began at " + std::to_string(world.floor) + " and now at " + std::to_string(floor));
    }
    if (floor > world.floor) {
        world.coverage.hit("history dropped");
        world.log("history begins at %llu", (unsigned long long)floor);
    }
    if (floor > info.durable.value) {
        world.coverage.hit("history begins at a state that is not durable");
    }
    const bool old_snapshot =
        std::any_of(world.snapshots.begin(), world.snapshots.end(),
                    [&](const auto& known) { return known.second.info.sequence.value < floor; });
    world.coverage.hit("snapshots before the beginning of history", old_snapshot);
    world.coverage.hit("streams", info.streams);
    // What could be dropped: limits that were set since the last check may have been in force.
    bool unlimited = true;
    int64_t shortest = INT64_MAX;
    for (const Retention& retention : world.retentions) {
        unlimited = unlimited && !retention.limited();
        shortest = std::min(shortest, retention.bytes ? 0 : retention.window_us.value_or(INT64_MAX));
    }
    // Where there is no space, the window may be shorter, if that is said.
    const bool no_space = world.disk_full || world.disk.stats().no_space != world.no_space_seen;
    world.no_space_seen = world.disk.stats().no_space;
    const bool shrunk = world.host.count(Event::window_shrunk) != world.shrunk_seen;
    world.shrunk_seen = world.host.count(Event::window_shrunk);
    if (no_space && shrunk && shortest != INT64_MAX) {
        world.coverage.hit("window shortened for want of space", shortest > 0);
        shortest = 0;
    }
    if (world.demanded) {
        unlimited = false;
        shortest = 0;
        world.demanded = world.engine->coalescing().running;
    }
    if (floor > world.floor && unlimited && world.last_retentions_unlimited) {
        world.fail("history was dropped, but all of it was to be kept");
    }
    const uint64_t now = world.scheduler.now_us();
    const auto window = static_cast<uint64_t>(std::min(shortest, world.last_window));
    if (floor > world.floor && window > 0 && window < now && !world.plan.clock_jumps) {
        // A state was newest at least until the next one was seen.
        uint64_t allowed = world.newest();
        for (auto seen = world.states_seen.rbegin(); seen != world.states_seen.rend(); ++seen) {
            if (seen->first + window < now) {
                break;
            }
            allowed = seen->second;
        }
        if (floor > allowed) {
            world.fail("history begins at " + std::to_string(floor) + ", but " + std::to_string(allowed) +
                       " is younger than the window");
        }
        world.coverage.hit("window checked");
    }
    world.floor = floor;
    world.last_retentions_unlimited = unlimited;
    world.last_window = shortest;
    world.states_seen.emplace_back(now, world.newest());
    std::erase_if(world.points, [&](const auto& point) { return point.first < floor; });
    const EngineStats stats = world.engine->stats();
    world.coverage.hit("segments reclaimed", stats.reclaimed_segments > 0);
    world.coverage.hit("segments cleaned", stats.cleaned_segments > 0);
    world.coverage.hit("data moved by the cleaner", stats.moved_bytes > 0);
    world.coverage.hit("points kept by rules", !info.retention.rules.empty() && info.streams > world.snapshots.size());
    world.coverage.hit("cold data packed", stats.packs > 0 && world.plan.placement == Placement::log);
    world.coverage.hit("data put apart to make room", stats.packs > 0 && world.plan.pack_after_us < 0);
    world.coverage.hit("old history stored after packs", stats.streams_referred > 0);
    world.coverage.hit("streams compacted", stats.streams_compacted > 0);
    world.coverage.hit("streams merged", stats.merges > 0);
    world.coverage.hit("points given up for want of space", stats.points_cut > 0);
    world.coverage.hit("dictionaries trained", stats.dictionaries_trained > 0);
    world.coverage.hit("streams with a dictionary", stats.dictionaries_used > 0);
    world.coverage.hit("space given back", stats.given_back_bytes > 0);
    world.coverage.hit("streams moved to the capacity image", stats.moved_streams > 0);
    world.coverage.hit("streams in the capacity image", info.capacity.streams > 0);
    world.coverage.hit("capacity image full", info.capacity.full);
    const bool reclaimed = stats.reclaimed_segments > world.reclaimed;
    world.reclaimed = stats.reclaimed_segments;
    return reclaimed;
}

void recover_retention(World& world) {
    const EngineInfo info = world.engine->info();
    if (std::none_of(world.retentions.begin(), world.retentions.end(),
                     [&](const Retention& known) { return known == info.retention; })) {
        world.fail("after a crash the limits of history are none of those that were set");
    }
    world.last_retentions_unlimited = false;  // dropped before the crash
    world.last_window = 0;
    if (world.power_was_lost) {
        world.retentions = {info.retention};
    }
    world.floor = info.floor.value;
    world.reclaimed = 0;  // counted since the image was opened
    std::erase_if(world.states_seen, [&](const auto& seen) { return seen.second > info.sequence.value; });
    world.states_seen.emplace_back(world.scheduler.now_us(), info.sequence.value);
}

}  // namespace predsnap::sim
