// SPDX-License-Identifier: GPL-2.0-or-later
#include "hostile_image.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "block/engine/delta.h"
#include "block/engine/engine.h"
#include "block/engine/format.h"
#include "tests/engine/fiber_host.h"
#include "tests/engine/memory_device.h"

namespace predsnap::fuzz {

namespace {

constexpr uint32_t kSegment = 64 << 10;
constexpr uint64_t kDiskBytes = 256 << 10;

template <typename T>
T must(Result<T> result) {
    if (!result.ok()) {
        std::fprintf(stderr, "a valid image: %s\n", result.error().message.c_str());
        std::abort();
    }
    return result.take();
}

OpenOptions quiet_options() {
    OpenOptions options;
    options.point_interval_us = 0;
    options.pool_min = options.pool_max = 0;
    options.fine.granularity = Granularity::fine;
    options.fine.staging_bytes = 16 * kBlockSize;
    return options;
}

struct Maker {
    test::FiberHost host;
    test::MemoryDevice file;
    std::unique_ptr<Engine> engine;
    uint8_t writes = 0;

    Maker() {
        CreateOptions options;
        options.size = kDiskBytes;
        options.segment_size = kSegment;
        options.uuid.fill(7);
        must(Engine::create(host, file, options));
        engine = must(Engine::open(host, file, quiet_options()));
        engine->pause_background();
    }
    void write(uint64_t sector, uint64_t count) {
        host.time += 1000;
        std::vector<uint8_t> data(count * kSectorSize, static_cast<uint8_t>(sector));
        data[7] = ++writes;
        const iovec buffer{data.data(), data.size()};
        must(engine->write(sector * kSectorSize, {&buffer, 1}));
    }
    void history(const std::string& name) {
        SnapshotInfo snapshot;
        snapshot.name = name;
        must(engine->snapshot_create(snapshot));
        write(3, 20);
        must(engine->resize(engine->size() / 2));
        Moment moment;
        moment.snapshot = name;
        must(engine->rollback(moment));
        write(40, 3);
        moment.snapshot.reset();
        moment.sequence = Sequence(2);
        must(engine->rollback(moment));
        must(engine->write_zeroes(0, 4096));
    }
    void segments(uint64_t count) {
        for (uint64_t i = 0; i < 2 * count; ++i) {
            write(i * 17 % 400, 40);
            must(engine->flush());
        }
    }
};

// What is old is packed, then as much again is written and packed after a checkpoint.
Image make_packed_image() {
    constexpr int64_t kPackAfterUs = 8'000'000;
    Maker maker;
    Engine& engine = *maker.engine;
    must(engine.set_retention({0, {}}));
    engine.set_pack_after(kPackAfterUs);
    for (uint64_t packs = 1; packs <= 2; ++packs) {
        for (uint64_t sector = 0; sector < 400; sector += 40) {
            maker.write(sector, 40);
        }
        maker.segments(1);
        for (int i = 0; engine.stats().packs < packs; ++i) {
            if (i > 100) {
                std::fprintf(stderr, "a valid image: nothing was packed\n");
                std::abort();
            }
            maker.host.pass(1'000'000);
            engine.tend();
            engine.resume_background();
            maker.host.run_ready();
            engine.pause_background();
        }
        if (packs == 1) {
            must(engine.checkpoint());
        }
    }
    must(engine.flush());
    maker.engine.reset();
    return maker.file.bytes;
}

Image make_image(uint32_t kind) {
    if (kind == 4) {
        return make_packed_image();
    }
    Maker maker;
    if (kind > 0) {
        maker.write(0, 8);
        maker.write(5, 30);
        maker.write(100, 1);
    }
    for (int i = 0; kind > 1 && i < 10; ++i) {
        maker.write(160, 8);  // deltas
        maker.write(168, 16);
        maker.write(161, i == 7 ? 2 : 1);
    }
    if (kind > 1) {
        maker.history("a");
    }
    if (kind > 0) {
        maker.segments(2);
    }
    if (kind > 1) {
        maker.engine->resume_background();
        maker.host.run_ready();
        maker.engine->pause_background();
        maker.history("b");
    }
    if (kind > 2) {
        must(maker.engine->checkpoint());
        maker.write(9, 9);
        maker.history("c");
        maker.segments(1);
    }
    maker.host.run_ready();
    maker.engine.reset();
    return maker.file.bytes;
}

// The blocks of an image that hold structures: those that begin with a magic number, and what belongs
// to them behind.
std::vector<uint32_t> find_structure_bytes(const Image& image) {
    std::vector<uint32_t> offsets;
    const auto add = [&](size_t offset, size_t length) {
        for (size_t i = 0; i < length && offset + i < image.size(); ++i) {
            offsets.push_back(static_cast<uint32_t>(offset + i));
        }
    };
    for (size_t block = 0; block + kBlockSize <= image.size(); block += kBlockSize) {
        uint8_t magic[4];
        std::memcpy(magic, &image[block], sizeof(magic));
        if (std::memcmp(magic, format::kMagic, 4) == 0) {
            add(block, 200);
        } else if (std::memcmp(magic, format::kSegmentMagic, 4) == 0) {
            add(block, sizeof(format::SegmentHeader));
            if (image[block + 4] == static_cast<uint8_t>(format::SegmentKind::stream)) {
                add(block + kBlockSize, 1200);  // frames and the index of a small pack
            }
        } else if (std::memcmp(magic, format::kBatchMagic, 4) == 0) {
            const auto* batch = reinterpret_cast<const format::BatchHeader*>(&image[block]);
            add(block, batch->header_bytes);
            for (size_t at = align_up(block + batch->header_bytes, kDeltaUnit);
                 at + kDeltaUnit <= image.size() && std::memcmp(&image[at], format::kDeltaMagic, 2) == 0;
                 at += delta_length(*reinterpret_cast<const format::DeltaHeader*>(&image[at]))) {
                add(at, sizeof(format::DeltaHeader) + 8);
            }
        } else if (std::memcmp(magic, format::kChunkMagic, 4) == 0) {
            add(block, sizeof(format::ChunkHeader) +
                           reinterpret_cast<const format::ChunkHeader*>(&image[block])->bytes);
        } else if (std::memcmp(magic, format::kPageMagic, 4) == 0) {
            add(block, sizeof(format::PageHeader) +
                           reinterpret_cast<const format::PageHeader*>(&image[block])->bytes);
        }
    }
    return offsets;
}

// Views of a few moments, and all that can be asked of them.
void look_back(Engine& engine) {
    std::vector<Moment> moments;
    for (const SnapshotInfo& snapshot : engine.snapshots()) {
        moments.emplace_back().snapshot = snapshot.name;
    }
    const uint64_t newest = engine.info().sequence.value;
    for (const uint64_t sequence : {uint64_t{0}, uint64_t{1}, newest / 2, newest}) {
        moments.emplace_back().sequence = Sequence(sequence);
    }
    moments.emplace_back().time = Time(1'005'000);
    moments.resize(std::min<size_t>(moments.size(), 12));
    std::vector<uint8_t> data(64 << 10);
    const iovec buffer{data.data(), data.size()};
    for (const Moment& moment : moments) {
        auto view = engine.open_view(moment);
        if (view.ok()) {
            (void)view.value()->read(0, {&buffer, 1}).ok();
            (void)view.value()->read_vm_state(0, {&buffer, 1}).ok();
            (void)view.value()->status(0, 1 << 20).ok();
        }
    }
}

void read_all(Engine& engine) {
    std::vector<uint8_t> data(16 << 10);
    const iovec buffer{data.data(), data.size()};
    for (uint64_t offset = 0; offset < 2 * kDiskBytes; offset += data.size()) {
        (void)engine.read(offset, {&buffer, 1}).ok();
    }
    (void)engine.status(0, kDiskBytes).ok();
}

void change(Engine& engine) {
    std::vector<uint8_t> data(20 << 10, 0x77);
    const iovec buffer{data.data(), data.size()};
    for (uint64_t i = 0; i < 8; ++i) {
        (void)engine.write(i * 4096, {&buffer, 1}).ok();
    }
    SnapshotInfo snapshot;
    snapshot.name = "fuzz";
    (void)engine.snapshot_create(snapshot).ok();
    Moment moment;
    moment.sequence = Sequence(1);
    (void)engine.rollback(moment).ok();
    (void)engine.flush().ok();
    (void)engine.checkpoint().ok();
}

}  // namespace

const Image& valid_image(uint32_t kind) {
    static const std::array<Image, kImageKinds> images = [] {
        std::array<Image, kImageKinds> made;
        for (uint32_t i = 0; i < kImageKinds; ++i) {
            made[i] = make_image(i);
        }
        return made;
    }();
    return images[kind % kImageKinds];
}

const std::vector<uint32_t>& structure_bytes(uint32_t kind) {
    static const std::array<std::vector<uint32_t>, kImageKinds> all = [] {
        std::array<std::vector<uint32_t>, kImageKinds> found;
        for (uint32_t i = 0; i < kImageKinds; ++i) {
            found[i] = find_structure_bytes(valid_image(i));
        }
        return found;
    }();
    return all[kind % kImageKinds];
}

void use_image(Image image, const Use& use) {
    test::FiberHost host;
    test::MemoryDevice file;
    file.bytes = std::move(image);
    // As a file system would: no write far past the end.
    const uint64_t capacity = file.bytes.size() + (4 << 20);
    file.fail = [capacity](const test::MemoryDevice::Call& call) {
        const bool grows = call.op == test::MemoryDevice::Op::write ||
                           call.op == test::MemoryDevice::Op::truncate;
        return grows && (call.length > capacity || call.offset > capacity - call.length) ? ENOSPC : 0;
    };
    OpenOptions options = quiet_options();
    options.writable = use.writable;
    options.repair = use.repair;
    auto opened = Engine::open(host, file, options);
    host.run_ready();
    if (!opened.ok()) {
        return;
    }
    Engine& engine = *opened.value();
    read_all(engine);
    (void)engine.points({}).ok();
    look_back(engine);
    (void)engine.check({}).ok();
    if (use.writable) {
        change(engine);
        host.run_ready();
        read_all(engine);
        look_back(engine);
    }
    (void)engine.close().ok();
    host.run_ready();
}

}  // namespace predsnap::fuzz
