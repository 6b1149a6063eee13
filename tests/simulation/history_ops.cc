// SPDX-License-Identifier: GPL-2.0-or-later
#include "history_ops.h"

#include <algorithm>
#include <set>

#include "guest_io.h"

namespace predsnap::sim {
namespace {

// A sequence number of the history: any, or one near the end, or one that matters.
uint64_t pick_sequence(World& world) {
    const uint64_t newest = world.newest();
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
            return world.random.below(newest + 1);
    }
}

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

// Failures that the moment itself explains: an unknown snapshot, a time before the first point.
bool may_be_unknown(World& world, const Moment& moment) {
    return (moment.snapshot &&
            (!world.snapshots.contains(*moment.snapshot) || world.snapshot_calls > 0)) ||
           moment.time.has_value();
}

// Checks what was read of a view, and that it is what was read of it before.
void check_view_sectors(World& world, OpenView& view, uint64_t slot, const Buffer& buffer) {
    const uint64_t count = buffer.bytes.size() / kSectorSize;
    for (uint64_t i = 0; i < count; ++i, ++slot) {
        const Value seen = read_stamp(buffer.sector(i), slot);
        Value& before = view.seen[slot];
        const bool fine = before != kNotSeen
                              ? before == seen
                              : world.model.allows(slot, world.model.at(slot, view.sequence), seen);
        if (!fine) {
            const std::string text = "view of sequence " + std::to_string(view.sequence) +
                                     (before != kNotSeen ? " changed" : "");
            world.require(false, text.c_str(), slot, seen, buffer.sector(i));
        }
        before = seen;
    }
}

void read_view_range(World& world, OpenView& view, uint64_t first, uint64_t count, bool vm) {
    Buffer buffer(count);
    const std::vector<iovec> pieces = buffer.pieces(world.random);
    const FaultMark faults = world.mark();
    const Result<void> result = vm ? view.view->read_vm_state(first * kSectorSize, pieces)
                                   : view.view->read(first * kSectorSize, pieces);
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    if (!result.ok()) {
        world.require_excused("read of a view", result.error(), faults);
        return;
    }
    check_view_sectors(world, view, vm ? world.model.vm_slot(first) : first, buffer);
    world.coverage.hit("view read");
}

void read_whole_view(World& world, OpenView& view) {
    const uint64_t size = view.view->size() / kSectorSize;
    for (uint64_t at = 0; at < size && world.alive();) {
        const uint64_t count = std::min(size - at, world.random.between(64, 2048));
        read_view_range(world, view, at, count, false);
        at += count;
    }
    if (world.alive()) {
        read_view_range(world, view, 0, kVmSectors, true);
        world.coverage.hit("whole view checked");
    }
}

void check_view_size(World& world, const View& view) {
    const uint64_t slot = world.model.size_slot();
    const uint64_t size = view.size() / kSectorSize;
    world.require(world.model.allows(slot, world.model.at(slot, view.sequence().value), size),
                  "size of a view", slot, size, nullptr);
}

std::shared_ptr<OpenView> try_open(World& world, const Moment& moment) {
    const FaultMark faults = world.mark();
    auto result = world.engine->open_view(moment);
    world.check_call_end();
    if (!world.alive()) {
        return nullptr;
    }
    if (!result.ok()) {
        if (!may_be_unknown(world, moment)) {
            world.log("%s", describe(moment).c_str());
            world.require_excused("open_view", result.error(), faults);
        }
        return nullptr;
    }
    auto opened = std::make_shared<OpenView>();
    opened->view = result.take();
    opened->sequence = opened->view->sequence().value;
    opened->seen.assign(world.model.size_slot(), kNotSeen);
    world.log("view of %s is of sequence %llu", describe(moment).c_str(),
              (unsigned long long)opened->sequence);
    if (moment.sequence && moment.sequence->value != opened->sequence) {
        world.fail("view of " + describe(moment) + " is of sequence " +
                   std::to_string(opened->sequence));
    }
    if (moment.snapshot) {
        const auto known = world.snapshots.find(*moment.snapshot);
        if (known != world.snapshots.end() && !world.model.is_open(known->second.created) &&
            known->second.info.sequence.value != opened->sequence) {
            world.fail("view of " + describe(moment) + " is of sequence " +
                       std::to_string(opened->sequence));
        }
    }
    check_view_size(world, *opened->view);
    world.coverage.hit("view opened");
    return opened;
}

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
    asked.horizon_s = static_cast<uint32_t>(world.random.below(1000));
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

void open_view(World& world) {
    if (world.views.size() >= 6) {
        return;
    }
    if (auto opened = try_open(world, pick_moment(world))) {
        world.views.push_back(std::move(opened));
    }
}

void read_view(World& world) {
    if (world.views.empty()) {
        return;
    }
    const auto view = world.views[world.random.below(world.views.size())];
    ++view->users;
    const uint64_t size = view->view->size() / kSectorSize;
    const uint64_t count = std::min(size, world.random.between(1, 256));
    read_view_range(world, *view, world.random.below(size - count + 1), count, false);
    --view->users;
}

void read_all_views(World& world) {
    for (const auto& view : std::vector(world.views)) {
        ++view->users;
        read_whole_view(world, *view);
        --view->users;
    }
}

void close_view(World& world) {
    if (world.views.empty()) {
        return;
    }
    const size_t chosen = world.random.below(world.views.size());
    if (world.views[chosen]->users == 0) {
        world.views.erase(world.views.begin() + static_cast<int64_t>(chosen));
        world.coverage.hit("view closed");
    }
}

void close_all_views(World& world) {
    world.views.clear();
}

void check_state(World& world, uint64_t sequence) {
    Moment moment;
    moment.sequence = Sequence(sequence);
    if (const auto opened = try_open(world, moment)) {
        read_whole_view(world, *opened);
    }
}

void roll_back(World& world) {
    const Moment moment = pick_moment(world);
    FaultMark faults = world.mark();
    const auto resolved = world.engine->resolve(moment);
    if (world.alive() && !resolved.ok() && !may_be_unknown(world, moment)) {
        world.require_excused("resolve", resolved.error(), faults);
    }
    if (!world.alive() || !resolved.ok()) {
        return;
    }
    const uint64_t target = resolved.value().sequence.value;
    const uint64_t before = world.newest();
    const OpId op = world.model.begin(before);
    world.rollback = {.unsettled = true, .op = op, .target = target};
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
        world.require_excused("rollback", result.error(), faults);
        const bool happened = info.branch == world.model.branch() + 1;  // all but the flush
        world.model.end(op, world.newest(), happened);
        if (happened) {
            world.rollback.unsettled = false;
            world.model.rolled_back(info.branches.back().first.value, target);
            world.coverage.hit("rollback done by a call that failed");
        }
        return;
    }
    world.rollback.unsettled = false;
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

// --- points ---

static void check_point_filter(World& world, const std::vector<PointInfo>& all) {
    PointQuery query;
    const int64_t now = world.host.now().value;
    query.since = Time(now - static_cast<int64_t>(world.random.skewed(10'000'000)));
    query.limit = world.random.chance(0.5) ? world.random.between(1, 5) : UINT64_MAX;
    const auto result = world.engine->points(query);
    if (!world.alive() || !result.ok()) {
        return;
    }
    std::vector<uint64_t> expected, got;
    for (const PointInfo& point : all) {
        if (point.time >= query.since) {
            expected.push_back(point.sequence.value);
        }
    }
    for (const PointInfo& point : result.value()) {
        got.push_back(point.sequence.value);
    }
    if (expected.size() > query.limit) {
        expected.erase(expected.begin(), expected.end() - static_cast<int64_t>(query.limit));
    }
    if (got != expected) {
        world.fail("a query of points with a limit and a time gives " + std::to_string(got.size()) +
                   " points, not " + std::to_string(expected.size()));
    }
}

// A time names the last point, in order of sequence numbers, that is not after it.
static void check_resolve_time(World& world, const std::vector<PointInfo>& all) {
    const PointInfo& chosen = all[world.random.below(all.size())];
    Moment moment;
    moment.time = chosen.time + static_cast<int64_t>(world.random.below(3));
    const FaultMark faults = world.mark();
    const auto resolved = world.engine->resolve(moment);
    if (!world.alive() || (!resolved.ok() && world.excused(resolved.error(), faults))) {
        return;
    }
    if (!resolved.ok()) {
        world.fail("no point found at or before the time of point " +
                   std::to_string(chosen.sequence.value) + ": " + resolved.error().message);
    }
    PointInfo last;
    for (const PointInfo& point : all) {
        last = point.time <= *moment.time ? point : last;
    }
    // The newest state has a time of its own, before that of the flush that made it a point.
    const bool newest =
        resolved.value().sequence == all.back().sequence && resolved.value().time <= *moment.time;
    if (resolved.value().sequence != last.sequence && !newest) {
        world.fail("time " + std::to_string(moment.time->value) + " was resolved to sequence " +
                   std::to_string(resolved.value().sequence.value) + " of time " +
                   std::to_string(resolved.value().time.value) +
                   ", the last point not after it is " + std::to_string(last.sequence.value) +
                   " of time " + std::to_string(last.time.value));
    }
    world.coverage.hit("time resolved");
}

// A point is recorded in a batch after it: the next one that is not yet on its way to the disk.
constexpr uint64_t kRecordedWithin = 8;

void check_points(World& world) {
    const FaultMark faults = world.mark();
    const auto result = world.engine->points({});
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    if (!result.ok()) {
        world.require_excused("points", result.error(), faults);
        return;
    }
    const uint64_t newest = world.newest();
    std::map<uint64_t, PointRecord> found;
    std::set<uint64_t> present;
    const PointInfo* before = nullptr;
    for (const PointInfo& point : result.value()) {
        if (before != nullptr && before->sequence >= point.sequence) {
            world.fail("points are not in order of their sequence numbers");
        }
        before = &point;
        if (point.flush || (point.sequence.value < newest && point.snapshot.empty())) {
            found[point.sequence.value] = {point.time.value, point.branch,
                                           newest + kRecordedWithin};
        }  // else it is one only as long as it is the newest state, or the snapshot is there
        present.insert(point.sequence.value);
        world.log("point %llu: time %lld%s", (unsigned long long)point.sequence.value,
                  (long long)point.time.value, point.flush ? ", flush" : "");
        const auto known = world.points.find(point.sequence.value);
        if (known != world.points.end() &&
            (known->second.time.value_or(point.time.value) != point.time.value ||
             known->second.branch != point.branch)) {
            world.fail("point " + std::to_string(point.sequence.value) + " has changed");
        }
        if (point.branch > world.model.branch() ||
            world.model.branch_first(point.branch) > point.sequence.value) {
            world.fail("point " + std::to_string(point.sequence.value) +
                       " is said to be on branch " + std::to_string(point.branch));
        }
    }
    for (const auto& [sequence, point] : world.points) {
        if (!present.contains(sequence)) {
            world.fail("point " + std::to_string(sequence) + " has vanished");
        }
    }
    world.points.merge(found);
    world.coverage.hit("points checked");
    if (!result.value().empty() && faults.errors == world.mark().errors) {
        check_point_filter(world, result.value());
        check_resolve_time(world, result.value());
    }
}

}  // namespace predsnap::sim
