// SPDX-License-Identifier: GPL-2.0-or-later
//
// A disk with a capacity image that streams have moved to. Input: bits that ask for wrong checksums (0: of the capacity
// image's superblock, 1: of the disk's structures) and for opening read-only (2); then changes: which of the two images
// (1 byte), the offset (3), the byte that goes there.
#include <cstring>

#include "block/engine/checksum.h"
#include "block/engine/engine.h"
#include "block/engine/format.h"
#include "hostile_image.h"
#include "tests/engine/fiber_host.h"
#include "tests/engine/memory_device.h"

namespace predsnap::fuzz {
namespace {

constexpr uint64_t kSize = 1 << 20;
constexpr uint32_t kSegment = 64 << 10;

struct Pair {
    Image disk, capacity;
};

void write(Engine& engine, uint64_t offset, size_t length, int value) {
    std::vector<uint8_t> data(length);
    for (size_t i = 0; i < length; ++i) {
        data[i] = static_cast<uint8_t>(value + static_cast<int>(i / 512) * 7 + static_cast<int>(i % 3));
    }
    const iovec whole{data.data(), data.size()};
    engine.write(offset, {&whole, 1}).ok();
}

// Snapshots that lie before the floor, in streams, in the capacity image.
Pair make() {
    test::FiberHost host;
    test::MemoryDevice file, slow;
    CreateOptions create;
    create.size = kSize;
    create.segment_size = kSegment;
    Engine::create(host, file, create).take();
    OpenOptions options;
    options.capacity = &slow;
    options.pool_min = options.pool_max = 0;
    auto engine = Engine::open(host, file, options).take();
    engine->set_retention({0, {}}).take();
    for (int round = 0; round < 24; ++round) {
        write(*engine, static_cast<uint64_t>(round) * 4096 % kSize, 48 << 10, round);
        engine->flush().take();
        if (round == 2 || round == 5) {
            SnapshotInfo info;
            info.name = "s" + std::to_string(round);
            engine->snapshot_create(info).take();
        }
        host.run_ready();
    }
    if (engine->info().capacity.streams == 0) {
        __builtin_trap();  // else nothing of it is tested
    }
    engine->close().take();
    host.run_ready();
    return {std::move(file.bytes), std::move(slow.bytes)};
}

const Pair& valid_pair() {
    static const Pair pair = make();
    return pair;
}

void limit(test::MemoryDevice& device) {
    const uint64_t most = device.bytes.size() + (4 << 20);
    device.fail = [most](const test::MemoryDevice::Call& call) {
        const bool grows = call.op == test::MemoryDevice::Op::write || call.op == test::MemoryDevice::Op::truncate;
        return grows && (call.length > most || call.offset > most - call.length) ? ENOSPC : 0;
    };
}

void use(Pair pair, bool writable) {
    test::FiberHost host;
    test::MemoryDevice file, slow;
    file.bytes = std::move(pair.disk);
    slow.bytes = std::move(pair.capacity);
    limit(file);
    limit(slow);
    OpenOptions options;
    options.capacity = &slow;
    options.pool_min = options.pool_max = 0;
    options.writable = writable;
    auto opened = Engine::open(host, file, options);
    host.run_ready();
    if (!opened.ok()) {
        return;
    }
    Engine& engine = *opened.value();
    std::vector<uint8_t> data(kSize);
    const iovec whole{data.data(), data.size()};
    for (const char* name : {"s2", "s5"}) {
        Moment moment;
        moment.snapshot = name;
        auto view = engine.open_view(moment);
        if (view.ok() && view.value()->size() <= kSize) {
            const iovec part{data.data(), view.value()->size()};
            view.value()->read(0, {&part, 1}).ok();
        }
        if (writable) {
            engine.rollback(moment).ok();
        }
    }
    engine.check({}).ok();
    for (int round = 0; round < 6 && writable; ++round) {
        write(engine, 0, 60 << 10, round);
        engine.flush().ok();
        host.run_ready();
    }
    if (engine.size() == kSize) {
        engine.read(0, {&whole, 1}).ok();
    }
    engine.close().ok();
    host.run_ready();
}

}  // namespace

std::vector<Input> seeds() {
    std::vector<Input> list{{0}, {4}};
    for (uint8_t offset = 0; offset < 88; offset += 4) {
        list.push_back({0, 1, offset, 0, 0, 0xff, 1, offset, 16, 0, 0xff});  // both slots
        list.push_back({0, 1, offset, 0x10, 1, 0x5a});                       // content of its first segment
    }
    for (uint8_t at = 0; at < 64; ++at) {
        list.push_back({2, 0, static_cast<uint8_t>(at * 4), static_cast<uint8_t>(at * 3), static_cast<uint8_t>(at / 4), at});
    }
    return list;
}

}  // namespace predsnap::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace predsnap;
    fuzz::InputReader input(data, size);
    const uint8_t how = input.byte();
    fuzz::Pair pair = fuzz::valid_pair();
    while (!input.empty()) {
        fuzz::Image& image = (input.byte() & 1) != 0 ? pair.capacity : pair.disk;
        const uint64_t offset = input.number(3) % image.size();
        image[offset] = input.byte();
    }
    for (size_t slot = 0; (how & 1) == 0 && slot < format::kSuperblockSlots; ++slot) {
        auto* block = reinterpret_cast<format::CapacitySuperblock*>(&pair.capacity[slot * kBlockSize]);
        block->checksum = self_hash(0, *block);
    }
    if ((how & 2) == 0) {
        fuzz::mend(pair.disk);
    }
    fuzz::use(std::move(pair), (how & 4) == 0);
    return 0;
}
