// SPDX-License-Identifier: GPL-2.0-or-later
#include "format_example.h"

#include <cstdio>
#include <cstdlib>

#include "block/engine/engine.h"
#include "block/engine/format.h"
#include "fiber_host.h"
#include "memory_device.h"

namespace predsnap::test {

namespace {

template <typename T>
T must(Result<T> result) {
    if (!result.ok()) {
        std::fprintf(stderr, "format example: %s\n", result.error().message.c_str());
        std::abort();
    }
    return result.take();
}

class Example {
  public:
    explicit Example(const char* backing_file) {
        host.time = Time(1'700'000'000'000'000);  // 2023-11-14 22:13:20 UTC
        CreateOptions options;
        options.size = 1 << 20;
        options.segment_size = 64 << 10;
        options.backing_file = backing_file;
        options.backing_format = *backing_file != 0 ? "raw" : "";
        for (uint8_t i = 0; i < options.uuid.size(); ++i) {
            options.uuid[i] = static_cast<uint8_t>(0x10 * i + i);
        }
        must(Engine::create(host, file, options));
        OpenOptions how;
        how.point_interval_us = 0;
        how.pool_min = how.pool_max = 0;
        engine = must(Engine::open(host, file, how));
        engine->pause_background();
    }

    void write(uint64_t sector, uint64_t count, char content) {
        host.time += 1'000'000;
        std::vector<uint8_t> data(count * kSectorSize, static_cast<uint8_t>(content));
        const iovec buffer{data.data(), data.size()};
        must(engine->write(sector * kSectorSize, {&buffer, 1}));
    }

    // What the background has to do is done.
    void rest() {
        engine->resume_background();
        host.run_ready();
        engine->pause_background();
    }

    FiberHost host;
    MemoryDevice file;
    std::unique_ptr<Engine> engine;
};

}  // namespace

std::vector<uint8_t> build_format_example() {
    Example example("base.raw");
    Engine& engine = *example.engine;
    example.write(0, 8, 'A');                    // batch 1: a unit
    must(engine.flush());                        // state 1 is a point; batch 2 says so
    example.write(5, 12, 'B');                   // batch 2: a run of 3 units, over a part of batch 1
    must(engine.write_zeroes(64 * 512, 512));    // batch 3
    SnapshotInfo snapshot;
    snapshot.name = "clean";
    must(engine.snapshot_create(snapshot));      // batch 4: a name for state 3
    must(engine.resize(2 << 20));                // batch 5
    Moment moment;
    moment.snapshot = "clean";
    must(engine.rollback(moment));               // batch 6: state 6 is state 3
    example.write(128, 48, 'C');                 // batch 7 opens the next segment
    example.write(256, 8, 'D');                  // batch 8
    example.write(512, 48, 'E');                 // batch 9 opens a third segment
    must(engine.flush());
    example.rest();                              // the two that are full get their indexes
    must(engine.checkpoint());
    example.write(0, 1, 'F');                    // batch 10, after the checkpoint
    must(engine.close());
    return example.file.bytes;
}

std::vector<uint8_t> build_pack_example(bool closed) {
    constexpr int64_t kPackAfterUs = 8'000'000;
    Example example("");
    Engine& engine = *example.engine;
    must(engine.set_retention({0, {}}));
    engine.set_pack_after(kPackAfterUs);
    for (const char content : {'A', 'B', 'C'}) {
        example.write(static_cast<uint64_t>(content - 'A') * 128, 104, content);  // two batches each, a segment
    }
    example.write(1024, 48, 'D');                // batch 7 opens a fourth segment
    must(engine.flush());
    example.rest();                              // batches 1 to 6 are no history any more: their segments are past
    std::vector<uint8_t> in_log;  // the image before a checkpoint knows of the pack
    example.file.before = [&](const MemoryDevice::Call& call) {
        const bool superblock = call.op == MemoryDevice::Op::write && call.offset < format::kSuperblockArea;
        if (superblock && engine.stats().packs > 0 && in_log.empty()) {
            in_log = example.file.bytes;
        }
    };
    for (int i = 0; engine.stats().packs == 0; ++i) {
        if (i > 100) {
            std::fprintf(stderr, "format example: nothing was packed\n");
            std::abort();
        }
        example.host.pass(1'000'000);
        engine.tend();
        example.rest();
    }
    must(engine.close());
    return closed ? example.file.bytes : in_log;
}

}  // namespace predsnap::test
