// SPDX-License-Identifier: GPL-2.0-or-later
#include "moment.h"

#include <algorithm>
#include <iterator>

namespace predsnap::sim {
namespace {

// A sequence number of the history: any, or one near the end, or one that matters.
uint64_t pick_sequence(World& world) {
    const uint64_t newest = world.newest();
    const uint64_t floor = world.engine->info().floor.value;
    switch (world.random.below(4)) {
        case 0:
            return newest - std::min(newest, world.random.skewed(20));
        case 1:
            if (!world.points.empty()) {
                auto point = world.points.begin();
                std::advance(point, world.random.below(world.points.size()));
                return point->first;
            }
            [[fallthrough]];
        default:
            return world.random.chance(0.05) ? world.random.below(newest + 1)
                                             : floor + world.random.below(newest - floor + 1);
    }
}

}  // namespace

std::string pick_snapshot(World& world) {
    if (world.snapshots.empty()) {
        return "no such snapshot";
    }
    auto chosen = world.snapshots.begin();
    std::advance(chosen, world.random.below(world.snapshots.size()));
    return chosen->first;
}

Moment pick_moment(World& world) {
    Moment moment;
    switch (world.random.below(4)) {
        case 0:
            moment.snapshot = pick_snapshot(world);
            break;
        case 1:
            moment.time =
                Time(world.host.now().value - static_cast<int64_t>(world.random.skewed(1'000'000)));
            break;
        case 2:
            if (!world.undo.empty()) {
                moment.sequence = Sequence(world.undo[world.random.below(world.undo.size())]);
                break;
            }
            [[fallthrough]];
        default:
            moment.sequence = Sequence(pick_sequence(world));
    }
    return moment;
}

std::string describe(const Moment& moment) {
    if (moment.snapshot) {
        return "snapshot " + *moment.snapshot;
    }
    return moment.time ? "time " + std::to_string(moment.time->value)
                       : "sequence " + std::to_string(moment.sequence->value);
}

bool may_be_unknown(World& world, const Moment& moment) {
    return (moment.snapshot &&
            (!world.snapshots.contains(*moment.snapshot) || world.snapshot_calls > 0)) ||
           moment.time.has_value() ||
           (moment.sequence && *moment.sequence < world.engine->info().floor);
}

}  // namespace predsnap::sim
