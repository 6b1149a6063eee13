// SPDX-License-Identifier: GPL-2.0-or-later
#include "view_ops.h"

#include <algorithm>

#include "guest_io.h"
#include "moment.h"

namespace predsnap::sim {
namespace {

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

}  // namespace

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

}  // namespace predsnap::sim
