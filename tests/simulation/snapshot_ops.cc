// SPDX-License-Identifier: GPL-2.0-or-later
#include "snapshot_ops.h"

#include <algorithm>

#include "moment.h"

namespace predsnap::sim {
namespace {

void adopt_snapshot(World& world, const SnapshotInfo& asked, const SnapshotInfo& got, OpId op) {
    if (got.name != asked.name || got.vm_clock_ns != asked.vm_clock_ns ||
        got.vm_state_size != asked.vm_state_size || got.horizon_s != asked.horizon_s ||
        got.icount != asked.icount || got.disk_size != world.engine->size()) {
        world.fail("snapshot " + asked.name + " was made with other properties than asked for");
    }
    for (const auto& [name, other] : world.snapshots) {
        if (other.info.id == got.id) {
            world.fail("snapshots " + name + " and " + got.name + " have the same id");
        }
    }
    world.snapshots[got.name] = {.info = got, .created = op};
}

const SnapshotInfo* find(const std::vector<SnapshotInfo>& list, const std::string& name) {
    const auto found = std::find_if(list.begin(), list.end(),
                                    [&](const SnapshotInfo& info) { return info.name == name; });
    return found == list.end() ? nullptr : &*found;
}

// The flush after the record may have failed: then the snapshot is there, though the call failed.
void settle_failed_create(World& world, const SnapshotInfo& asked, OpId op) {
    const std::vector<SnapshotInfo> listed = world.engine->snapshots();
    const SnapshotInfo* there = find(listed, asked.name);
    world.snapshots.erase(asked.name);
    world.model.end(op, world.newest(), there != nullptr);
    if (there == nullptr) {
        world.unlisted.push_back({.info = asked, .created = op});
        return;
    }
    world.model.known_after(op, there->sequence.value);
    adopt_snapshot(world, asked, *there, op);
    world.coverage.hit("snapshot made by a call that failed");
}

}  // namespace

void create_snapshot(World& world) {
    SnapshotInfo asked;
    asked.name = "s" + std::to_string(world.next_name++);
    const bool clash =
        world.snapshot_calls == 0 && !world.snapshots.empty() && world.random.chance(0.03);
    if (clash) {
        asked.name = pick_snapshot(world);
        world.snapshots[asked.name].busy = true;  // nobody may delete it meanwhile
    }
    asked.vm_clock_ns = world.random.next();
    asked.vm_state_size = world.random.chance(0.5) ? kVmSectors * kSectorSize : 0;
    asked.horizon_s = static_cast<uint32_t>(world.random.skewed(1000));
    const OpId op = world.model.begin(world.newest());
    if (!clash) {
        if (asked.vm_state_size > 0) {
            world.model.put(op, world.model.vm_slot(0), kVmSectors, kHole);
        }
        world.snapshots[asked.name] = {.info = asked, .created = op};  // a crash may leave it
    }
    const FaultMark faults = world.mark();
    ++world.snapshot_calls;
    const auto result = world.engine->snapshot_create(asked);
    --world.snapshot_calls;
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    if (clash) {
        world.snapshots[asked.name].busy = false;
    }
    if (!result.ok()) {
        if (!(clash && result.error().code == EEXIST)) {
            world.require_excused("snapshot_create", result.error(), faults);
        }
        if (!clash) {
            settle_failed_create(world, asked, op);
        }
        return;
    }
    world.model.end(op, world.newest(), true);
    if (clash) {
        world.fail("a second snapshot named " + asked.name + " was made");
    }
    world.snapshots.erase(asked.name);
    world.log("snapshot %s at sequence %llu", asked.name.c_str(),
              (unsigned long long)result.value().sequence.value);
    world.model.known_after(op, result.value().sequence.value);
    world.model.make_op_durable(op);
    adopt_snapshot(world, asked, result.value(), op);
    world.coverage.hit("snapshot created");
}

void delete_snapshot(World& world) {
    const std::string name = world.random.chance(0.1) ? "no such snapshot" : pick_snapshot(world);
    const auto found = world.snapshots.find(name);
    const bool known = found != world.snapshots.end();
    if (known && (found->second.busy || world.model.is_open(found->second.created))) {
        return;  // another task is at it
    }
    const OpId op = world.model.begin(world.newest());
    if (known) {
        found->second.busy = true;
        found->second.deletes.push_back(op);
    }
    const FaultMark faults = world.mark();
    ++world.snapshot_calls;
    const Result<void> result = world.engine->snapshot_delete(name);
    --world.snapshot_calls;
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    world.model.end(op, world.newest(), result.ok());
    if (!known) {
        if (result.ok() || result.error().code != ENOENT) {
            world.fail("deleting an unknown snapshot did not fail with ENOENT");
        }
        return;
    }
    if (!result.ok()) {
        world.require_excused("snapshot_delete", result.error(), faults);
        if (find(world.engine->snapshots(), name) != nullptr) {
            world.snapshots[name].busy = false;
            return;
        }
        world.model.end(op, world.newest(), true);  // all but its flush
    }
    world.unlisted.push_back(world.snapshots[name]);
    world.snapshots.erase(name);
    world.coverage.hit("snapshot deleted");
}

void check_snapshot_list(World& world) {
    const std::vector<SnapshotInfo> listed = world.engine->snapshots();
    if (listed.size() != world.snapshots.size()) {
        world.fail("there are " + std::to_string(listed.size()) + " snapshots, not " +
                   std::to_string(world.snapshots.size()));
    }
    for (const SnapshotInfo& info : listed) {
        const auto known = world.snapshots.find(info.name);
        if (known == world.snapshots.end() || known->second.info.sequence != info.sequence ||
            known->second.info.id != info.id || known->second.info.time != info.time ||
            known->second.info.vm_clock_ns != info.vm_clock_ns ||
            known->second.info.disk_size != info.disk_size) {
            world.fail("snapshot " + info.name + " is listed and not as it was made");
        }
    }
    world.coverage.hit("snapshot list checked");
}

}  // namespace predsnap::sim
