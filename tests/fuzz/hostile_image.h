// SPDX-License-Identifier: GPL-2.0-or-later
//
// Images made hostile: small valid ones, edits of their structures, and checksums made right again, so
// that fuzzing gets behind them.
#pragma once

#include <cstdint>
#include <vector>

#include "target.h"

namespace predsnap::fuzz {

using Image = std::vector<uint8_t>;

constexpr uint32_t kImageKinds = 5;
// 0: empty. 1: a log in several segments. 2: with index blobs, snapshots, rollbacks. 3: with a checkpoint too. 4: without a
// window, and with packs: one that the checkpoint knows, one in the log behind it.
const Image& valid_image(uint32_t kind);

// Offsets of all bytes of an image that are part of a structure, so of neither payload nor free space.
const std::vector<uint32_t>& structure_bytes(uint32_t kind);

// Makes the checksums of all structures, and the chain of hashes, right again where sizes allow.
void mend(Image& image);

// What using an image amounts to, whatever it says: open, read, points, views, check, and if it is opened
// for writing some of that too. Must come back, without undefined behaviour, in bounded time and memory.
struct Use {
    bool writable = false;
    bool repair = false;
};
void use_image(Image image, const Use& use);

}  // namespace predsnap::fuzz
