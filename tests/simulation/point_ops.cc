// SPDX-License-Identifier: GPL-2.0-or-later
#include "point_ops.h"

#include <map>
#include <set>
#include <vector>

namespace predsnap::sim {
namespace {

void check_point_filter(World& world, const std::vector<PointInfo>& all) {
    PointQuery query;
    const int64_t now = world.host.now().value;
    const EngineInfo before = world.engine->info();
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
    const EngineInfo after = world.engine->info();
    if (got != expected && after.floor == before.floor && after.sequence == before.sequence) {
        world.fail("a query of points with a limit and a time gives " + std::to_string(got.size()) +
                   " points, not " + std::to_string(expected.size()));
    }
}

// A time names the last point, in order of sequence numbers, that is not after it.
void check_resolve_time(World& world, const std::vector<PointInfo>& all) {
    const PointInfo& chosen = all[world.random.below(all.size())];
    Moment moment;
    moment.time = chosen.time + static_cast<int64_t>(world.random.below(3));
    const FaultMark faults = world.mark();
    const EngineInfo before = world.engine->info();
    const auto resolved = world.engine->resolve(moment);
    const EngineInfo after = world.engine->info();
    if (after.floor != before.floor || after.sequence != all.back().sequence || chosen.sequence < after.floor) {
        return;
    }
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

}  // namespace

void check_points(World& world) {
    const FaultMark faults = world.mark();
    // Work in the background may append batches of its own, and drop history, at any time.
    const EngineInfo before_query = world.engine->info();
    const auto result = world.engine->points({});
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    if (!result.ok()) {
        world.require_excused("points", result.error(), faults);
        return;
    }
    const uint64_t newest = before_query.sequence.value;
    std::map<uint64_t, PointRecord> found;
    std::set<uint64_t> present;
    const PointInfo* before = nullptr;
    for (const PointInfo& point : result.value()) {
        if (before != nullptr && before->sequence >= point.sequence) {
            world.fail("points are not in order of their sequence numbers");
        }
        before = &point;
        if ((point.bytes_changed == 0) != (point.chunks_changed() == 0)) {
            world.fail("point " + std::to_string(point.sequence.value) + " has bytes changed, or chunks, but not both");
        }
        world.coverage.hit("changes of points in streams",
                           point.sequence <= before_query.floor && point.chunks_changed() > 0);
        if (point.flush || (point.sequence.value < newest && point.snapshot.empty())) {
            found[point.sequence.value] = {point.time.value, point.branch,
                                           newest + kRecordedWithin};
        }  // else it is one only as long as it is the newest state, or the snapshot is there
        present.insert(point.sequence.value);
        world.log("point %llu: time %lld%s", (unsigned long long)point.sequence.value,
                  (long long)point.time.value, point.flush ? ", flush" : "");
        const auto known = world.points.find(point.sequence.value);
        // Of a snapshot before the floor only the snapshot's own time is known.
        if (known != world.points.end() && point.sequence >= world.engine->info().floor &&
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
        if (!present.contains(sequence) && Sequence(sequence) >= world.engine->info().floor) {
            world.fail("point " + std::to_string(sequence) + " has vanished");
        }
    }
    world.points.merge(found);
    world.coverage.hit("points checked");
    if (!result.value().empty() && faults.errors == world.mark().errors &&
        world.engine->info().floor == before_query.floor && world.newest() == newest) {
        check_point_filter(world, result.value());
        check_resolve_time(world, result.value());
    }
}

}  // namespace predsnap::sim
