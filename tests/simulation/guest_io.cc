// SPDX-License-Identifier: GPL-2.0-or-later
#include "guest_io.h"

#include <algorithm>
#include <cstring>

namespace predsnap::sim {
namespace {

uint64_t pick_count(World& world) {
    Random& random = world.random;
    if (world.plan.archive && random.chance(0.5)) {
        return random.between(64, world.plan.request_sectors_max);
    }
    switch (random.below(10)) {
        case 0:
        case 1:
        case 2:
            return random.between(1, 8);
        case 3:
        case 4:
        case 5:
            return 8;
        case 6:
        case 7:
            return random.between(1, 64);
        case 8:
            return random.between(1, world.plan.request_sectors_max);
        default:
            return random.skewed(world.plan.request_sectors_max * 2);
    }
}

// Writes the buffer again, with another stamp, while the request runs: guests do that.
void rewrite_during(World& world, const std::shared_ptr<Buffer>& buffer, Range range, Value value,
                    const std::shared_ptr<bool>& running) {
    world.scheduler.after(world.random.skewed(300), [=] {
        if (*running) {
            for (uint64_t i = 0; i < range.count; ++i) {
                stamp(buffer->sector(i), range.first + i, value);
            }
        }
    });
}

// Runs a request that changes the model, and closes its operation unless the disk died meanwhile.
template <typename Call>
void run_change(World& world, const char* what, OpId op, Call call) {
    const FaultMark since = world.mark();
    const Result<void> result = call();
    world.check_call_end();
    if (!world.alive()) {
        return;  // whether it happened, the next opening shows
    }
    if (!result.ok()) {
        world.require_excused(what, result.error(), since);
    }
    world.model.end(op, world.newest(), result.ok());
    world.coverage.hit(what);
}

}  // namespace

Range pick_range(World& world) {
    const uint64_t size = world.disk_sectors();
    uint64_t count = std::clamp<uint64_t>(pick_count(world), 1, size);
    const uint64_t space = world.random.chance(0.5) ? std::min(size, world.plan.hot_sectors) : size;
    count = std::min(count, std::max<uint64_t>(space, 1));
    uint64_t first = world.random.below(space - count + 1);
    if (count % kSectorsPerBlock == 0 && world.random.chance(0.7)) {
        first = align_down(first, kSectorsPerBlock);
    }
    return {first, count};
}

std::vector<iovec> Buffer::pieces(Random& random) {
    std::vector<iovec> result;
    size_t at = 0;
    const bool whole = random.chance(0.5);
    while (at < bytes.size()) {
        const size_t rest = bytes.size() - at;
        const size_t length = whole || result.size() >= 8 ? rest : random.between(1, rest);
        result.push_back({bytes.data() + at, length});
        at += length;
    }
    return result;
}

// Whole blocks, mostly of the hot ones: a database's pages.
static Range pick_pages(World& world) {
    const uint64_t size = world.disk_sectors();
    const uint64_t space = world.random.chance(0.9) ? std::min(size, world.plan.hot_sectors) : size;
    const uint64_t pages = space / kSectorsPerBlock;
    const uint64_t count = std::min(pages, world.random.chance(0.7) ? 1 : world.random.between(1, 4));
    // What is hot grows cold: others go on with other pages.
    const uint64_t moved = align_down(world.next_write / 32 * 24 % (size - space + 1), kSectorsPerBlock);
    return {moved + world.random.below(pages - count + 1) * kSectorsPerBlock, count * kSectorsPerBlock};
}

void guest_write(World& world) {
    const bool slim = world.random.chance(world.plan.slim_rate);
    const Range range = slim && world.random.chance(0.85) ? pick_pages(world) : pick_range(world);
    const Value value = world.random.chance(0.03) ? kZero : world.next_write++ | (slim ? kSlimWrite : 0);
    auto buffer = std::make_shared<Buffer>(range.count);
    for (uint64_t i = 0; i < range.count && value != kZero; ++i) {
        stamp(buffer->sector(i), range.first + i, value);
    }
    const OpId op = world.model.begin(world.newest());
    world.model.put(op, range.first, range.count, value);
    auto running = std::make_shared<bool>(true);
    if (world.random.chance(0.05)) {
        const Value second = world.next_write++;
        world.model.put(op, range.first, range.count, second);
        rewrite_during(world, buffer, range, second, running);
        world.coverage.hit("write with a buffer that changes");
    }
    world.log("write %llu: sectors %llu+%llu", (unsigned long long)value,
              (unsigned long long)range.first, (unsigned long long)range.count);
    const std::vector<iovec> pieces = buffer->pieces(world.random);
    run_change(world, "write", op,
               [&] { return world.engine->write(range.first * kSectorSize, pieces); });
    *running = false;
}

void guest_write_zeroes(World& world) {
    const Range range = pick_range(world);
    const OpId op = world.model.begin(world.newest());
    world.model.put(op, range.first, range.count, kZero);
    world.log("write_zeroes: sectors %llu+%llu", (unsigned long long)range.first,
              (unsigned long long)range.count);
    run_change(world, "write_zeroes", op, [&] {
        return world.engine->write_zeroes(range.first * kSectorSize, range.count * kSectorSize);
    });
}

void guest_discard(World& world) {
    const Range range = pick_range(world);
    const OpId op = world.model.begin(world.newest());
    world.model.put(op, range.first, range.count, kZero);  // so that the backing disk stays covered
    world.log("discard: sectors %llu+%llu", (unsigned long long)range.first,
              (unsigned long long)range.count);
    run_change(world, "discard", op, [&] {
        return world.engine->discard(range.first * kSectorSize, range.count * kSectorSize);
    });
}

void guest_flush(World& world) {
    const uint64_t moment = world.model.tick();
    const FaultMark since = world.mark();
    const auto failed_before = world.unsettled_rollbacks;
    world.log("flush");
    const Result<void> result = world.engine->flush();
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    if (!result.ok()) {
        world.require_excused("flush", result.error(), since);
        return;
    }
    world.model.make_durable(moment);
    // No crash brings back what had failed by then.
    std::erase_if(world.unsettled_rollbacks, [&](const auto& rollback) {
        return std::any_of(failed_before.begin(), failed_before.end(), [&](const auto& before) {
            return before.failed && before.target == rollback.target && rollback.failed;
        });
    });
    world.durable_claimed = std::max(world.durable_claimed, world.engine->info().durable.value);
    world.coverage.hit("flush");
}

void guest_read(World& world) {
    check_range(world, pick_range(world));
}

void check_range(World& world, Range range) {
    Buffer buffer(range.count);
    const uint64_t since = world.model.tick();
    const FaultMark faults = world.mark();
    const std::vector<iovec> pieces = buffer.pieces(world.random);
    const Result<void> result = world.engine->read(range.first * kSectorSize, pieces);
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    world.coverage.hit("read");
    if (!result.ok()) {
        world.require_excused("read", result.error(), faults);
        return;
    }
    for (uint64_t i = 0; i < range.count; ++i) {
        const uint64_t sector = range.first + i;
        const Value seen = read_stamp(buffer.sector(i), sector);
        world.require(world.model.may_read(sector, since, seen), "read", sector, seen,
                      buffer.sector(i));
        world.model.remember(sector, since, seen);
    }
}

void guest_status(World& world) {
    const Range range = pick_range(world);
    const FaultMark faults = world.mark();
    const auto status = world.engine->status(range.first * kSectorSize, range.count * kSectorSize);
    world.check_call_end();
    if (world.alive() && !status.ok()) {
        world.require_excused("status", status.error(), faults);
    }
}

void guest_nonsense(World& world) {
    Buffer buffer(8);
    const iovec whole{buffer.bytes.data(), buffer.bytes.size()};
    const uint64_t end = world.engine->size();
    const uint64_t kind = world.random.below(5);
    Result<void> result;
    switch (kind) {
        case 0:
            result = world.engine->write(end, {&whole, 1});
            break;
        case 1:
            result = world.engine->read(end - kSectorSize, {&whole, 1});
            break;
        case 2:
            result = world.engine->write_zeroes(end - kSectorSize, 2 * kSectorSize);
            break;
        case 3:
            result = world.engine->discard(end, kSectorSize);
            break;
        default:
            result = world.engine->write(UINT64_MAX - 511, {&whole, 1});
            break;
    }
    world.check_call_end();
    if (world.alive() && result.ok()) {
        world.fail("a request beyond the end of the disk succeeded (kind " + std::to_string(kind) +
                   ")");
    }
    world.coverage.hit("nonsense request refused");
}

void write_vm_state(World& world) {
    const uint64_t first = world.random.below(kVmSectors);
    const uint64_t count = world.random.between(1, kVmSectors - first);
    const Value value = world.next_write++;
    Buffer buffer(count);
    for (uint64_t i = 0; i < count; ++i) {
        stamp(buffer.sector(i), world.model.vm_slot(first + i), value);
    }
    const OpId op = world.model.begin(world.newest());
    world.model.put(op, world.model.vm_slot(first), count, value);
    world.log("write VM state %llu: sectors %llu+%llu", (unsigned long long)value,
              (unsigned long long)first, (unsigned long long)count);
    const std::vector<iovec> pieces = buffer.pieces(world.random);
    run_change(world, "write VM state", op,
               [&] { return world.engine->write_vm_state(first * kSectorSize, pieces); });
}

void read_vm_state(World& world) {
    Buffer buffer(kVmSectors);
    const uint64_t since = world.model.tick();
    const FaultMark faults = world.mark();
    const std::vector<iovec> pieces = buffer.pieces(world.random);
    const Result<void> result = world.engine->read_vm_state(0, pieces);
    world.check_call_end();
    if (!world.alive()) {
        return;
    }
    if (!result.ok()) {
        world.require_excused("read VM state", result.error(), faults);
        return;
    }
    for (uint64_t i = 0; i < kVmSectors; ++i) {
        const uint64_t slot = world.model.vm_slot(i);
        const Value seen = read_stamp(buffer.sector(i), slot);
        world.require(world.model.may_read(slot, since, seen), "read of VM state", slot, seen,
                      buffer.sector(i));
        world.model.remember(slot, since, seen);
    }
    world.coverage.hit("read VM state");
}

void check_everything(World& world) {
    const uint64_t size = world.disk_sectors();
    for (uint64_t at = 0; at < size && world.alive();) {
        const uint64_t count = std::min(size - at, world.random.between(1, 2048));
        check_range(world, {at, count});
        at += count;
    }
    if (world.alive()) {
        read_vm_state(world);
        check_status(world, {0, size});
        const uint64_t slot = world.model.size_slot();
        world.require(world.model.allows(slot, world.model.now(slot), size), "size", slot, size,
                      nullptr);
    }
    world.coverage.hit("whole disk checked");
}

// What the status says of a sector must be what the model knows of it.
static bool fits(const RangeStatus& status, const std::vector<Value>& values) {
    return std::any_of(values.begin(), values.end(), [&](Value value) {
        switch (value) {
            case kHole:
                return !status.data && !status.zero;
            case kZero:
                return status.data || status.zero;
            case kZeroOrHole:
                return true;
            default:
                return status.data && !status.zero;
        }
    });
}

void check_status(World& world, Range range) {
    uint64_t at = range.first;
    while (at < range.first + range.count && world.alive()) {
        const uint64_t asked = range.first + range.count - at;
        const FaultMark faults = world.mark();
        const auto result = world.engine->status(at * kSectorSize, asked * kSectorSize);
        world.check_call_end();
        if (!result.ok()) {
            world.require_excused("status", result.error(), faults);
            return;
        }
        const RangeStatus& status = result.value();
        const uint64_t count = status.length / kSectorSize;
        if (count == 0 || count > asked || status.length % kSectorSize != 0) {
            world.fail("status of sector " + std::to_string(at) + " has a length of " +
                       std::to_string(status.length));
        }
        for (uint64_t sector = at; sector < at + count; ++sector) {
            world.require(fits(status, world.model.now(sector)),
                          status.data   ? "status data"
                          : status.zero ? "status zero"
                                        : "status hole",
                          sector, kBadContent, nullptr);
        }
        at += count;
    }
    world.coverage.hit("block status checked");
}

}  // namespace predsnap::sim
