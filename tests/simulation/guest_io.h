// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a guest does to its disk, checked against the model. Each function makes one request of
// random place and size and may be called from any task.
#pragma once

#include "world.h"

namespace predsnap::sim {

struct Range {
    uint64_t first;  // sector
    uint64_t count;  // sectors, > 0
};

Range pick_range(World& world);
// Memory for a request, and its pieces as the guest passes them.
struct Buffer {
    explicit Buffer(uint64_t sectors) : bytes(sectors * kSectorSize) {}
    std::vector<uint8_t> bytes;
    const void* sector(uint64_t i) const { return bytes.data() + i * kSectorSize; }
    void* sector(uint64_t i) { return bytes.data() + i * kSectorSize; }
    std::vector<iovec> pieces(Random& random);
};

void guest_write(World& world);
void guest_read(World& world);
void guest_write_zeroes(World& world);
void guest_discard(World& world);
void guest_flush(World& world);
void guest_status(World& world);
// Requests that make no sense: they must fail and change nothing.
void guest_nonsense(World& world);

// Reads a range and checks it.
void check_range(World& world, Range range);
// With nothing running: reads everything, VM state too, and checks all of block status.
void check_everything(World& world);
void check_status(World& world, Range range);

void write_vm_state(World& world);
void read_vm_state(World& world);

}  // namespace predsnap::sim
