// SPDX-License-Identifier: GPL-2.0-or-later
#include "damage.h"

#include <algorithm>
#include <optional>

#include "block/engine/format.h"
#include "guest_io.h"
#include "lifecycle.h"
#include "view_ops.h"

namespace predsnap::sim {
namespace {

// A unit, which fails as a whole, has at most this many sectors (block/engine/extent.h).
constexpr uint64_t kUnitMax = kSectorsPerBlock;

void flip(World& world, uint64_t sector_offset) {
    const uint64_t byte = sector_offset + world.random.below(kSectorSize);
    world.disk.flip_bit(byte, static_cast<unsigned>(world.random.below(8)));
    ++world.flipped_bits;
    world.log("bit flipped in byte %llu of the image", (unsigned long long)byte);
}

// Picks a sector of the guest disk whose content is certain, and damages every copy of it in the
// image.
std::optional<uint64_t> damage_data(World& world) {
    const std::vector<uint8_t>& image = world.disk.content();
    for (int attempt = 0; attempt < 64; ++attempt) {
        const uint64_t sector = world.random.below(world.disk_sectors());
        const std::vector<Value> values = world.model.now(sector);
        if (values.size() != 1 || values[0] < kFirstWrite) {
            continue;
        }
        for (uint64_t at = 0; at + kSectorSize <= image.size(); at += kSectorSize) {
            const Stamp found = decode_stamp(image.data() + at);
            if (found.valid && found.address == sector && found.value == values[0]) {
                flip(world, at);
            }
        }
        world.coverage.hit("damage: data");
        return sector;
    }
    return std::nullopt;
}

// Damages sectors of the image that are neither guest data nor zeros: in the superblock or behind
// it, not both, for it is the newer superblock that proves what the end of the log must hold.
void damage_metadata(World& world) {
    const std::vector<uint8_t>& image = world.disk.content();
    const uint64_t sectors = image.size() / kSectorSize;
    const uint64_t wanted = world.random.between(1, 4);
    const bool superblock = world.random.chance(0.1);
    for (uint64_t attempt = 0, done = 0; attempt < 10'000 && done < wanted; ++attempt) {
        const uint64_t at =
            world.random.below(superblock ? format::kSuperblockArea / kSectorSize : sectors) *
            kSectorSize;
        const bool zero = read_stamp(image.data() + at, 0) == kZero;
        if ((at < format::kSuperblockArea) == superblock && !zero &&
            !decode_stamp(image.data() + at).valid) {
            flip(world, at);
            ++done;
        }
    }
    world.coverage.hit("damage: metadata");
}

bool may_have_deltas(World& world) {
    return world.plan.fine.granularity != Granularity::sub_block;
}

// Reads one sector; nothing if the engine says that it is corrupt.
std::optional<Value> read_sector(World& world, uint64_t sector) {
    Buffer buffer(1);
    const uint64_t reports = world.host.corruption_reports();
    const iovec whole{buffer.bytes.data(), kSectorSize};
    const Result<void> result = world.engine->read(sector * kSectorSize, {&whole, 1});
    if (result.ok()) {
        return read_stamp(buffer.sector(0), sector);
    }
    if (result.error().code != EIO || world.host.corruption_reports() == reports) {
        world.fail("read of sector " + std::to_string(sector) +
                   " of a damaged image failed with errno " + std::to_string(result.error().code) +
                   ", \"" + result.error().message + "\", " +
                   (world.host.corruption_reports() == reports ? "and nothing was reported" : ""));
    }
    return std::nullopt;
}

// Every sector is right or an error; with damaged data only, only the sectors of its unit are
// errors.
void look_at_damage(World& world, std::optional<uint64_t> damaged) {
    uint64_t unreadable = 0;
    for (uint64_t sector = 0; sector < world.disk_sectors(); ++sector) {
        const std::optional<Value> seen = read_sector(world, sector);
        if (seen) {
            world.require(world.model.allows(sector, world.model.now(sector), *seen),
                          "read of a damaged image", sector, *seen, nullptr);
        }
        unreadable += !seen;
        if (!damaged) {
            continue;
        }
        const uint64_t distance = std::max(sector, *damaged) - std::min(sector, *damaged);
        // A frame of a stream holds sectors from all over the disk.
        if (!seen && distance >= kUnitMax && world.engine->info().streams == 0) {
            world.fail("sector " + std::to_string(sector) + " cannot be read, but only sector " +
                       std::to_string(*damaged) + " was damaged");
        }
        // Of a delta there is no stamp in the image, and what is staged is not read from it.
        if (seen && distance == 0 && world.engine->info().streams == 0 && !may_have_deltas(world)) {  // there it is compressed, and not damaged
            world.fail("the damaged sector " + std::to_string(sector) +
                       " was read without an error");
        }
    }
    world.coverage.hit("damage: sectors given as errors", unreadable);
}

void check_finds_it(World& world) {
    const auto result = world.engine->check({});
    if (!result.ok()) {
        world.fail("check of a damaged image failed: " + result.error().message);
    }
    if ((result.value().corruptions == 0 || result.value().findings.empty()) &&
        world.engine->info().streams == 0 && !may_have_deltas(world)) {
        world.fail("check does not find damaged data");
    }
    world.coverage.hit("damage: found by check");
}

// Opens what was damaged. It may fail, naming what is wrong; it must not forget acknowledged
// history.
bool open_damaged(World& world) {
    const Result<void> opened = try_open(world);
    if (!opened.ok()) {
        if (opened.error().message.empty()) {
            world.fail("open of a damaged image failed without saying why");
        }
        world.log("open refused: %s", opened.error().message.c_str());
        world.host.join_spawned();
        world.coverage.hit("damage: open refused");
        return false;
    }
    const uint64_t newest = world.newest();
    if (newest < world.durable_claimed) {
        world.fail("a damaged image was opened at sequence " + std::to_string(newest) +
                   " without an error, though " + std::to_string(world.durable_claimed) +
                   " was durable");
    }
    if (const auto problem = world.model.recover(newest, false)) {
        world.fail("damaged image: " + *problem);
    }
    world.coverage.hit("damage: opened all the same");
    return true;
}

void look_at_reopened(World& world) {
    for (uint64_t sector = 0; sector < world.disk_sectors(); ++sector) {
        const std::optional<Value> seen = read_sector(world, sector);
        if (seen) {
            world.require(world.model.check_recovered(sector, *seen), "damaged image opened again",
                          sector, *seen, nullptr);
        }
    }
}

void leave(World& world, bool in_order) {
    close_all_views(world);
    if (!in_order) {
        world.disk.die();
    }
    const Result<void> closed = world.engine->close();
    world.host.join_spawned();
    world.engine.reset();
    if (in_order && closed.ok()) {
        world.model.make_durable(world.model.tick());
    }
    world.disk.die();
    world.disk.restart(in_order ? Death::process_killed : Death::power_loss);
}

}  // namespace

void damage_image(World& world) {
    guest_flush(world);
    const bool metadata = world.random.chance(0.6);
    const bool before_closing = world.random.chance(0.5);
    const bool in_order = world.random.chance(0.5);
    std::optional<uint64_t> damaged;
    if (!before_closing) {
        leave(world, in_order);
        damage_metadata(world);
    } else if (metadata) {
        damage_metadata(world);
        look_at_damage(world, std::nullopt);
        leave(world, in_order);
    } else if ((damaged = damage_data(world))) {
        look_at_damage(world, damaged);
        check_finds_it(world);
        leave(world, in_order);
    } else {
        leave(world, in_order);
    }
    if (open_damaged(world)) {
        look_at_reopened(world);
        leave(world, true);
    }
}

}  // namespace predsnap::sim
