// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is done for deltas in the background, by the one task that works there.
#include <algorithm>

#include "engine_impl.h"

namespace predsnap {

namespace {

constexpr size_t kExtentsAtOnce = 1024;
// Each takes up to nine reads, one after the other; other work waits meanwhile.
constexpr size_t kLearntAtOnce = 32;
// As deep as deltas may be, and not written again for so long: written out. What is written again sooner is written
// out by that.
constexpr int64_t kDeepIdleUs = 1'000'000;

}  // namespace

// Finds out what deltas need that came into the map other than by being written: when the image was opened, or by a
// rollback. Only what may be given away matters, so nothing is done while all history is kept.
bool Engine::Impl::learn_deltas_step() {
    std::vector<Extent> extents;
    uint64_t generation;
    Sector to;
    {
        Lock lock(core.mutex);
        const DeltaTable& deltas = segments.deltas();
        if (history.floor == Sequence(0) || learn_failed || deltas.complete()) {
            return false;
        }
        generation = deltas.generation();
        to = disk.map.lookup(deltas.learnt_to(), kSectorLimit, kExtentsAtOnce, &extents);
        std::erase_if(extents, [&](const Extent& extent) {
            return !extent.is_delta() || deltas.find(extent.unit_place()) != nullptr;
        });
        if (extents.size() > kLearntAtOnce) {
            to = extents[kLearntAtOnce].start;
            extents.resize(kLearntAtOnce);
        }
    }
    for (const Extent& extent : extents) {
        if (paused) {
            return false;
        }
        if (!learn_delta(extent, generation).ok()) {
            Lock lock(core.mutex);
            learn_failed = true;
            return false;
        }
    }
    Lock lock(core.mutex);
    if (segments.deltas().generation() == generation) {
        segments.deltas().set_learnt_to(to);
        reclaim_due = reclaim_due || segments.deltas().complete();
        clean_due = clean_due || segments.deltas().complete();
    }
    return true;
}

Result<void> Engine::Impl::learn_delta(const Extent& extent, uint64_t generation) {
    DeltaChain chain;
    TRY(reader.learn_chain(extent, &chain));
    Lock lock(core.mutex);
    if (segments.deltas().generation() != generation || segments.deltas().find(extent.unit_place()) != nullptr) {
        return {};
    }
    uint64_t mapped = 0;
    for (const Extent& part : parts_of_delta(whole_delta(extent))) {
        mapped += part.count;
    }
    if (mapped > 0) {
        segments.learn_delta(extent.unit_place(), chain, static_cast<uint32_t>(mapped));
    }
    return {};
}

// What of it the map has. Requires the lock.
std::vector<Extent> Engine::Impl::parts_of_delta(const Extent& delta) const {
    std::vector<Extent> parts;
    disk.map.lookup(delta.start, delta.end(), SIZE_MAX, &parts);
    std::erase_if(parts, [&](const Extent& part) {
        return !part.is_delta() || part.unit_place() != delta.place;
    });
    return parts;
}

// Writes what the map has of a delta as data. No state changes by that.
Result<void> Engine::Impl::materialise(const Extent& delta) {
    std::vector<Extent> parts;
    {
        Lock lock(core.mutex);
        parts = parts_of_delta(delta);
    }
    if (parts.empty()) {
        return {};
    }
    AlignedBuffer block(kBlockSize);
    std::vector<Log::Move> moves;
    for (const Extent& part : parts) {
        uint8_t* const data = block.data() + part.head * kSectorSize;
        TRY(reader.read_extent(part, data));
        moves.push_back({part.start, part.count, part.place, data});
    }
    TRY(log.append_moves(moves));
    Lock lock(core.mutex);
    core.stats.materialised += moves.size();
    return {};
}

// The deepest ones that nobody has written since: so the next write to them can be a delta again.
bool Engine::Impl::materialise_step() {
    Extent deep;
    {
        Lock lock(core.mutex);
        std::deque<DeltaTable::Deep>& list = segments.deltas().deep;
        const Time now = core.host.now();
        while (!list.empty() && segments.deltas().find(list.front().unit) == nullptr) {
            list.pop_front();
        }
        // A clock that goes back does not matter: the next one does.
        if (materialise_failed || list.empty() || now - list.front().since < kDeepIdleUs) {
            return false;
        }
        deep.kind = ExtentKind::unit;
        deep.start = list.front().block;
        deep.count = kSectorsPerBlock;
        deep.place = list.front().unit;
        list.pop_front();
    }
    const Result<void> done = materialise(deep);
    Lock lock(core.mutex);
    materialise_failed = !done.ok();
    return done.ok();
}

}  // namespace predsnap
