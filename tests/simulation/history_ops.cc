// SPDX-License-Identifier: GPL-2.0-or-later
#include "history_ops.h"

#include <algorithm>

#include "moment.h"

namespace predsnap::sim {

void roll_back(World& world) {
    Moment moment = pick_moment(world);
    FaultMark faults = world.mark();
    const auto resolved = world.engine->resolve(moment);
    if (world.alive() && !resolved.ok() && !may_be_unknown(world, moment)) {
        world.require_excused("resolve", resolved.error(), faults);
    }
    if (!world.alive() || !resolved.ok()) {
        return;
    }
    const uint64_t target = resolved.value().sequence.value;
    if (moment.time && world.plan.retention) {
        // Batches of the background may come in between, and then the time may name another state that is the same.
        moment = {};
        moment.sequence = Sequence(target);
    }
    const uint64_t before = world.newest();
    const OpId op = world.model.begin(before);
    world.unsettled_rollbacks.push_back({target});
    world.log("rollback from %llu to %s, sequence %llu", (unsigned long long)before,
              describe(moment).c_str(), (unsigned long long)target);
    faults = world.mark();
    const auto result = world.engine->rollback(moment);
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    const EngineInfo info = world.engine->info();
    if (!result.ok()) {
        if (result.error().code != ENOENT || !may_be_unknown(world, moment)) {
            world.require_excused("rollback", result.error(), faults);
        }
        const bool happened = info.branch == world.model.branch() + 1;  // all but the flush
        world.model.end(op, world.newest(), happened);
        world.unsettled_rollbacks.back().failed = true;
        if (happened) {
            // What failed before it may still come back instead of it: nothing was flushed since.
            world.unsettled_rollbacks.pop_back();
            world.model.rolled_back(info.branches.back().first.value, target);
            world.coverage.hit("rollback done by a call that failed");
        }
        return;
    }
    world.unsettled_rollbacks.clear();
    world.model.end(op, world.newest(), true);
    if (result.value().to.value != target || info.branch != world.model.branch() + 1 ||
        result.value().branch != info.branch || result.value().from.value < before ||
        result.value().from >= info.branches.back().first) {
        world.fail("rollback to sequence " + std::to_string(target) + " went to " +
                   std::to_string(result.value().to.value) + ", branch " +
                   std::to_string(info.branch));
    }
    world.undo.push_back(result.value().from.value);
    world.model.rolled_back(info.branches.back().first.value, target);
    world.coverage.hit("rollback by " + describe(moment).substr(0, describe(moment).find(' ')));
}

void resize(World& world) {
    const uint64_t old = world.disk_sectors();
    const uint64_t most = world.plan.disk_sectors_max;
    const uint64_t size = world.random.chance(0.5)
                              ? world.random.between(64, most)
                              : std::clamp<uint64_t>(old + world.random.below(128) - 64, 64, most);
    const OpId op = world.model.begin(world.newest());
    world.model.put(op, world.model.size_slot(), 1, size);
    // What is cut off is forgotten; new space reads as zeros even where the backing disk is longer.
    const uint64_t low = std::min(old, size), high = std::max(old, size);
    world.model.put(op, low, high - low, size < old ? kHole : kZero);
    world.log("resize from %llu to %llu sectors", (unsigned long long)old,
              (unsigned long long)size);
    const FaultMark faults = world.mark();
    const Result<void> result = world.engine->resize(size * kSectorSize);
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    world.model.end(op, world.newest(), result.ok() || world.disk_sectors() == size);
    if (!result.ok()) {
        world.require_excused("resize", result.error(), faults);
    } else if (world.disk_sectors() != size) {
        world.fail("the disk does not have the size it was given");
    }
    world.coverage.hit(size < old ? "disk made smaller" : "disk made larger");
}

void change_backing(World& world) {
    const std::string name = "base" + std::to_string(world.next_name++);
    const FaultMark faults = world.mark();
    const Result<void> result = world.engine->set_backing(name, "raw");
    world.check_call_end();
    if (!world.alive()) {
        world.backing_names.push_back(name);
        return;
    }
    if (!result.ok()) {
        world.backing_names.push_back(name);
        world.require_excused("set_backing", result.error(), faults);
        return;
    }
    world.backing_names = {name};
    if (world.engine->info().backing_file != name) {
        world.fail("the backing file's name is not the one set");
    }
    world.coverage.hit("backing file name changed");
}

}  // namespace predsnap::sim
