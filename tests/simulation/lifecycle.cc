// SPDX-License-Identifier: GPL-2.0-or-later
#include "lifecycle.h"

#include <algorithm>

#include "guest_io.h"
#include "retention_ops.h"
#include "snapshot_ops.h"
#include "view_ops.h"

namespace predsnap::sim {
namespace {

// Ends what is left of a dead engine: its tasks see every request fail and end; nothing of that
// reaches the disk any more.
void drop_engine(World& world) {
    close_all_views(world);
    if (world.engine != nullptr) {
        world.engine->close().ok();
        world.host.join_spawned();
        world.engine.reset();
    }
}

void restart_disk(World& world) {
    const bool power = world.random.chance(0.7);
    world.disk.restart(power ? Death::power_loss : Death::process_killed);
    world.coverage.hit(power ? "crash: power loss" : "crash: process killed");
    world.log("crash: %s", power ? "power loss" : "process killed");
    world.power_was_lost = world.power_was_lost || power;
}

// Opens, again and again while crashes strike during the opening.
void open_until_it_holds(World& world) {
    for (int crashes = 0;; ++crashes) {
        world.stop_faults();
        if (crashes < 3 && world.random.chance(0.3)) {
            world.disk.die_after(world.random.skewed(60));
        }
        const bool fragile = world.plan.errors && crashes == 0 && world.random.chance(0.3);
        if (fragile) {
            world.disk.set_faults({.read_error = 0.02, .write_error = 0.02, .flush_error = 0.02});
        }
        const FaultMark since = world.mark();
        const Result<void> opened = try_open(world);
        if (opened.ok() && world.alive()) {
            world.disk.call_off_death();
            world.stop_faults();
            return;
        }
        if (!opened.ok()) {
            world.require_excused("open", opened.error(), since);
            world.host.join_spawned();
        }
        drop_engine(world);
        if (world.alive()) {
            world.coverage.hit("open failed because of a fault");
            world.disk.die();  // a program that gave up leaves the disk as a killed one does
            world.disk.restart(Death::process_killed);
        } else {
            world.coverage.hit("crash during open");
            restart_disk(world);
        }
    }
}

void adopt_branch(World& world, const EngineInfo& info) {
    const auto& unsettled = world.unsettled_rollbacks;
    if (!unsettled.empty() && info.branches.size() == world.model.branch() + 2) {
        const BranchInfo& branch = info.branches.back();
        if (std::none_of(unsettled.begin(), unsettled.end(),
                         [&](const auto& rollback) { return rollback.target == branch.parent.value; })) {
            world.fail("after a crash there is a rollback to " + std::to_string(branch.parent.value) +
                       " that nobody asked for");
        }
        world.model.rolled_back(branch.first.value, branch.parent.value);
        world.coverage.hit("rollback survived a crash before it returned");
    }
    world.unsettled_rollbacks.clear();
}

// Which snapshots must be there, may be there, and are.
void recover_snapshots(World& world) {
    std::map<std::string, SnapshotInfo> listed;
    for (SnapshotInfo& info : world.engine->snapshots()) {
        listed[info.name] = info;
    }
    std::vector<SnapshotRecord> known = std::move(world.unlisted);
    world.unlisted.clear();
    for (auto& [name, record] : world.snapshots) {
        known.push_back(record);
    }
    world.snapshots.clear();
    for (SnapshotRecord& record : known) {
        const auto created = world.model.fate(record.created);
        Model::Fate deleted = Model::Fate::lost;
        for (const OpId op : record.deletes) {
            deleted = std::max(deleted, world.model.fate(op));
        }
        const auto found = listed.find(record.info.name);
        const bool there =
            found != listed.end() && (record.info.id == 0 || record.info.id == found->second.id);
        if (there && (created == Model::Fate::lost || deleted == Model::Fate::kept)) {
            world.fail("snapshot " + record.info.name + " is back after a crash");
        }
        if (!there && created == Model::Fate::kept && deleted == Model::Fate::lost) {
            world.fail("snapshot " + record.info.name + " is lost after a crash");
        }
        if (there) {
            if (record.info.id != 0 && record.info.sequence != found->second.sequence) {
                world.fail("snapshot " + record.info.name +
                           " is of another sequence after a crash");
            }
            record.info = found->second;
            record.busy = false;
            world.snapshots[record.info.name] = record;
            listed.erase(found);
        } else if (created != Model::Fate::lost && !world.power_was_lost) {
            world.unlisted.push_back(
                record);  // its deletion may only be in the cache, and be lost later
        }
    }
    if (!listed.empty()) {
        world.fail("snapshot " + listed.begin()->first + " appeared after a crash");
    }
}

// What the recovered disk shows, slot by slot; checked against what it may show.
std::vector<Value> read_recovered(World& world) {
    Model& model = world.model;
    std::vector<Value> seen(model.size_slot() + 1, kNotSeen);
    const uint64_t size = world.disk_sectors();
    seen[model.size_slot()] = size;
    world.require(model.check_recovered(model.size_slot(), size), "size after a crash",
                  model.size_slot(), size, nullptr);
    Buffer disk(size), vm(kVmSectors);
    for (const bool is_vm : {false, true}) {
        Buffer& buffer = is_vm ? vm : disk;
        const std::vector<iovec> pieces = buffer.pieces(world.random);
        const auto result =
            is_vm ? world.engine->read_vm_state(0, pieces) : world.engine->read(0, pieces);
        if (!result.ok()) {
            world.fail("read after a crash failed: " + result.error().message);
        }
        const uint64_t first = is_vm ? model.vm_slot(0) : 0;
        for (uint64_t i = 0; i < buffer.bytes.size() / kSectorSize; ++i) {
            const uint64_t slot = first + i;
            seen[slot] = read_stamp(buffer.sector(i), slot);
            world.require(model.check_recovered(slot, seen[slot]), "after a crash", slot,
                          seen[slot], buffer.sector(i));
        }
    }
    return seen;
}

void forget_lost_history(World& world, uint64_t newest) {
    // The newest state is a point however it was left; others are only if a batch says so.
    std::erase_if(world.points, [&](const auto& point) {
        return point.first > newest || (point.first < newest && point.second.recorded_by > newest);
    });
    if (const auto last = world.points.find(newest); last != world.points.end()) {
        last->second.time.reset();
    }
    std::erase_if(world.undo, [&](uint64_t sequence) { return sequence > newest; });
}

// The state recovered must be one that the history allows; it becomes the model's.
void check_recovery(World& world) {
    const EngineInfo info = world.engine->info();
    const uint64_t newest = info.sequence.value;
    world.log("recovered at sequence %llu", (unsigned long long)newest);
    if (newest < world.durable_claimed) {
        world.fail("recovered at sequence " + std::to_string(newest) +
                   ", but the engine had said that " + std::to_string(world.durable_claimed) +
                   " is durable");
    }
    world.model.drop_branches_after(newest);
    adopt_branch(world, info);
    // If only the process died, what had returned is at least in the operating system's cache.
    if (const auto problem = world.model.recover(newest, !world.power_was_lost)) {
        world.fail(*problem);
    }
    if (info.branch != world.model.branch()) {
        world.fail("recovered on branch " + std::to_string(info.branch) + ", not " +
                   std::to_string(world.model.branch()));
    }
    recover_snapshots(world);
    world.model.settle(read_recovered(world));
    forget_lost_history(world, newest);
    if (world.power_was_lost) {
        world.model.make_durable(world.model.tick());  // what was found then is on the disk
    }
    world.durable_claimed = info.durable.value;
    check_snapshot_list(world);
}

void check_backing_name(World& world) {
    const std::string name = world.engine->info().backing_file;
    if (std::find(world.backing_names.begin(), world.backing_names.end(), name) ==
        world.backing_names.end()) {
        world.fail("the backing file is named \"" + name + "\", which is none of those set");
    }
    if (world.power_was_lost) {
        world.backing_names = {name};  // else it may only be in the cache, and be lost later
    }
}

}  // namespace

OpenOptions open_options(World& world) {
    OpenOptions options;
    options.backing = world.plan.backing ? &world.base : nullptr;
    options.point_interval_us = world.plan.point_interval_us;
    options.pool_min = world.plan.pool_min;
    options.pool_max = world.plan.pool_max;
    options.spare_segments = world.plan.spare_segments;
    options.checkpoint_segments = 64;
    options.fine = world.plan.fine;
    options.dictionary_frames = world.plan.dictionary_frames;
    options.pack_after_us = world.plan.pack_after_us;
    options.placement = world.plan.placement;
    options.coalesce_rate = world.plan.coalesce_rate;
    options.compression_level = world.compression_level;
    options.capacity = world.plan.capacity && !world.without_capacity ? &world.slow : nullptr;
    return options;
}

Result<void> try_open(World& world) {
    auto opened = Engine::open(world.host, world.disk, open_options(world));
    world.check_call_end();
    if (!opened.ok()) {
        return opened.error();
    }
    world.engine = opened.take();
    return {};
}

void create_image(World& world) {
    CreateOptions options;
    options.size = world.plan.disk_sectors * kSectorSize;
    options.segment_size = world.plan.segment_size;
    options.prewrite = world.plan.prewrite;
    options.backing_file = world.plan.backing ? "base" : "";
    options.backing_format = world.plan.backing ? "raw" : "";
    const Result<void> created = Engine::create(world.host, world.disk, options);
    world.check_call_end();
    if (!created.ok()) {
        world.fail("create failed: " + created.error().message);
    }
    if (!Engine::probe(world.disk.content().data(), kSectorSize)) {
        world.fail("the new image is not recognised as one");
    }
    world.model.reset(world.plan.disk_sectors);
    world.snapshots.clear();
    world.unlisted.clear();
    world.points.clear();
    world.undo.clear();
    world.durable_claimed = 0;
    world.backing_names = {options.backing_file};
    world.retentions = {Retention{}};
    world.floor = 0;
    world.reclaimed = 0;
    world.last_retentions_unlimited = true;
    world.last_window = INT64_MAX;
    world.states_seen = {{world.scheduler.now_us(), 0}};
    if (world.plan.capacity && !world.slow.content().empty()) {
        // It is that of the image before.
        const Result<void> opened = try_open(world);
        if (opened.ok() || opened.error().code != EINVAL) {
            world.fail("the capacity image of another disk is not refused");
        }
        world.host.join_spawned();
        world.slow.truncate(0).take();
        world.coverage.hit("capacity image of another disk refused");
    }
    const Result<void> opened = try_open(world);
    if (!opened.ok()) {
        world.fail("open of a new image failed: " + opened.error().message);
    }
}

bool close_engine(World& world) {
    close_all_views(world);
    const FaultMark since = world.mark();
    const Result<void> closed = world.engine->close();
    world.check_call_end();
    if (!world.alive()) {
        return false;
    }
    world.host.join_spawned();
    world.engine.reset();
    if (!closed.ok()) {
        world.require_excused("close", closed.error(), since);
        world.disk.die();
        return false;
    }
    world.model.make_durable(world.model.tick());
    world.disk.die();  // after a good close neither a power loss nor a kill may change anything
    world.coverage.hit("close");
    return true;
}

void reopen(World& world) {
    const uint64_t before = world.newest();
    const bool closed = close_engine(world);
    recover(world);
    if (closed && world.newest() < before) {
        world.fail("closed at sequence " + std::to_string(before) + ", opened at " +
                   std::to_string(world.newest()));
    }
}

void go_without_capacity(World& world) {
    if (!world.plan.capacity) {
        return;
    }
    world.disk.call_off_death();
    world.stop_faults();
    if (!close_engine(world)) {
        recover(world);
        return;
    }
    world.disk.restart(Death::process_killed);
    world.without_capacity = true;
    const Result<void> opened = try_open(world);
    if (!opened.ok()) {
        world.fail("open without the capacity image failed: " + opened.error().message);
    }
    world.reclaimed = 0;
    forget_lost_history(world, world.newest());
    world.coverage.hit("opened without the capacity image");
    world.coverage.hit("opened without the capacity image that it needs", world.engine->info().capacity.streams > 0);
    for (uint64_t n = world.random.between(5, 60); n > 0; --n) {
        const uint64_t dice = world.random.below(10);
        dice < 6 ? guest_write(world) : dice < 8 ? guest_read(world) : guest_flush(world);
    }
    open_view(world);
    read_all_views(world);
    world.coverage.hit("what lies in the capacity image not read without it",
                       world.host.count(Event::capacity_error) > 0);
    close_engine(world);
    world.without_capacity = false;
    recover(world);
}

void recover(World& world) {
    world.coverage.hit("recovery");
    world.power_was_lost = false;
    drop_engine(world);
    restart_disk(world);
    open_until_it_holds(world);
    check_recovery(world);
    check_backing_name(world);
    recover_retention(world);
    if (world.random.chance(0.2)) {
        check_image(world);
    }
}

void check_image(World& world) {
    CheckOptions options;
    options.verify_data = world.random.chance(0.7);
    const FaultMark since = world.mark();
    const auto result = world.engine->check(options);
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    if (!result.ok()) {
        world.require_excused("check", result.error(), since);
        return;
    }
    if (result.value().corruptions != 0 && world.flipped_bits == 0 &&
        world.mark().errors == since.errors) {
        const auto& findings = result.value().findings;
        world.fail("check finds something: " + (findings.empty() ? "" : findings.front()));
    }
    world.coverage.hit("check");
    world.coverage.hit(result.value().leaks != 0 ? "check: with leaks" : "check: without leaks");
}

}  // namespace predsnap::sim
