// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is predicted from: single requests of a guest, and what they are counted by.
#pragma once

#include <array>
#include <cstdint>

namespace predsnap::predict {

enum class Op : uint8_t { kRead, kWrite };
inline constexpr std::array kOps = {Op::kRead, Op::kWrite};
constexpr size_t index_of(Op op) { return static_cast<size_t>(op); }

// One request. Times are in microseconds; of what epoch does not matter, except for the hour of day.
struct Access {
    int64_t time_us = 0;
    uint64_t offset = 0;  // bytes
    uint64_t length = 0;  // bytes
    Op op = Op::kRead;
    float changed = -1;  // writes: share of the bytes that differ from before; below 0: not known
};

// The unit of prediction.
constexpr uint32_t kChunkShift = 16;
constexpr uint64_t kChunkSize = 1ull << kChunkShift;
using ChunkId = uint64_t;  // offset / kChunkSize

constexpr ChunkId chunk_of(uint64_t offset) { return offset >> kChunkShift; }

constexpr int64_t kSecond = 1000000;  // in microseconds
constexpr int64_t kNever = INT64_MIN / 4;

constexpr float seconds(int64_t us) { return static_cast<float>(us) * 1e-6f; }

}  // namespace predsnap::predict
