// SPDX-License-Identifier: GPL-2.0-or-later
#include "granularity.h"

#include <algorithm>
#include <bit>

namespace predsnap {

namespace {

// Below that share of changed bytes deltas pay, in 256ths; above the other one they do not.
constexpr unsigned kSmallShare = 64;
constexpr unsigned kLargeShare = 90;
constexpr uint8_t kFirstPatience = 16;
constexpr unsigned kPeriodBits = 22;  // of microseconds: 4 s
constexpr float kNeutralWeight = 5;

uint64_t spread(uint64_t number) { return number * 0x9e3779b97f4a7c15ull; }

uint16_t period_of(Time now) { return static_cast<uint16_t>(static_cast<uint64_t>(now.value) >> kPeriodBits); }

}  // namespace

void RecentBlocks::set_capacity(uint64_t blocks) {
    if (blocks != capacity_) {
        capacity_ = blocks;
        tags_ = {};
    }
}

// 8 MiB of them, for 16 GiB of blocks.
static constexpr size_t kMostTags = size_t{1} << 22;

bool RecentBlocks::test_and_add(uint64_t block) {
    if (capacity_ == 0) {
        return false;
    }
    if (tags_.empty()) {
        tags_.resize(std::bit_ceil(std::min(capacity_, kMostTags)));
    }
    const uint64_t hash = spread(block);
    uint16_t& tag = tags_[hash >> 16 & (tags_.size() - 1)];
    const auto own = static_cast<uint16_t>(hash >> 48 | 1);
    const bool seen = tag == own;
    tag = own;
    return seen;
}

GranularityMap::Chunk* GranularityMap::find(uint64_t number) {
    if (chunks_.empty()) {
        return nullptr;
    }
    Chunk* const set = set_of(number);
    Chunk* const found = std::find_if(set, set + kWays, [&](const Chunk& chunk) { return chunk.number() == number; });
    return found == set + kWays ? nullptr : found;
}

GranularityMap::Chunk* GranularityMap::set_of(uint64_t number) {
    return &chunks_[(spread(number) >> 32 & (kChunks / kWays - 1)) * kWays];
}

// Its place in the table, unless others that are written more often have those it may have.
GranularityMap::Chunk* GranularityMap::claim(uint64_t number) {
    if (chunks_.empty()) {
        chunks_.resize(kChunks);
    }
    if (Chunk* const known = find(number)) {
        return known;
    }
    Chunk* const set = set_of(number);
    Chunk& chunk = *std::min_element(set, set + kWays,
                                     [](const Chunk& a, const Chunk& b) { return a.writes < b.writes; });
    if (chunk.writes > 0) {
        --chunk.writes;
        return nullptr;
    }
    chunk = Chunk{};
    chunk.number_low = static_cast<uint32_t>(number);
    chunk.number_high = static_cast<uint8_t>(number >> 32);
    return &chunk;
}

unsigned GranularityMap::writes_at(const Chunk& chunk, Time now) {
    return chunk.writes >> std::min<unsigned>(static_cast<uint16_t>(period_of(now) - chunk.period), 8);
}

void GranularityMap::decay(Chunk& chunk, Time now) {
    chunk.writes = static_cast<uint8_t>(writes_at(chunk, now));
    chunk.period = period_of(now);
}

bool GranularityMap::wants(Sector start, uint64_t sectors, Time now) {
    if (mode_ == Granularity::fine) {
        return true;
    }
    if (mode_ != Granularity::automatic || !recent_.test_and_add(start.value / kSectorsPerBlock)) {
        return false;
    }
    Chunk* const chunk = claim(start.value / kChunkSectors);
    if (chunk == nullptr) {
        return false;
    }
    decay(*chunk, now);
    chunk->writes = static_cast<uint8_t>(std::min<unsigned>(chunk->writes + 1u, UINT8_MAX));
    const uint64_t within = start.value % kChunkSectors;
    const bool sequential = chunk->next == within;
    chunk->next = static_cast<uint16_t>((within + sectors) % kChunkSectors);
    if (sequential && chunk->level != ChunkLevel::fine) {
        return false;
    }
    if (chunk->patience > 0) {
        --chunk->patience;
        return false;
    }
    return true;
}

void GranularityMap::measured(Sector start, uint64_t changed, uint64_t of) {
    Chunk* const chunk = find(start.value / kChunkSectors);
    if (chunk == nullptr) {
        return;
    }
    const auto share = static_cast<unsigned>(std::min<uint64_t>(changed * 256 / of, 255));
    const bool first = chunk->level != ChunkLevel::fine;
    chunk->share = static_cast<uint8_t>(first ? share : (chunk->share * 3u + share) / 4);
    if (chunk->share <= kSmallShare) {
        chunk->level = ChunkLevel::fine;
        chunk->trials = 0;
    } else if (chunk->share > kLargeShare || first) {
        chunk->level = ChunkLevel::sub_block;
        chunk->patience = static_cast<uint8_t>(std::min(kFirstPatience << std::min<unsigned>(chunk->trials, 4), 255));
        chunk->trials = static_cast<uint8_t>(std::min<unsigned>(chunk->trials + 1u, UINT8_MAX));
    }
}

float GranularityMap::score(Sector start, float load, Time now) const {
    const Chunk* const chunk = find(start.value / kChunkSectors);
    return score_of_count(chunk != nullptr ? writes_at(*chunk, now) : 0, load);
}

float GranularityMap::score_of_count(unsigned count, float load) const {
    const float wanted = often(count) * (1 + static_cast<float>(weight_)) / (1 + kNeutralWeight);
    return std::min(1.0f, wanted * (1 - load / 2));
}

bool GranularityMap::is_fine(Sector start) const {
    const Chunk* const chunk = find(start.value / kChunkSectors);
    return mode_ == Granularity::automatic && chunk != nullptr && chunk->level == ChunkLevel::fine;
}

bool GranularityMap::is_not_fine(Sector start) const {
    const Chunk* const chunk = find(start.value / kChunkSectors);
    return chunk != nullptr && chunk->trials > 0;
}

std::vector<uint64_t> GranularityMap::fine_chunks() const {
    std::vector<uint64_t> numbers;
    for (const Chunk& chunk : chunks_) {
        if (chunk.level == ChunkLevel::fine) {
            numbers.push_back(chunk.number());
        }
    }
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}

uint64_t GranularityMap::fine_count() const {
    return static_cast<uint64_t>(std::count_if(chunks_.begin(), chunks_.end(), [](const Chunk& chunk) {
        return chunk.level == ChunkLevel::fine;
    }));
}

void GranularityMap::restore(const std::vector<uint64_t>& fine_chunks) {
    for (const uint64_t number : fine_chunks) {
        if (Chunk* const chunk = claim(number)) {
            chunk->level = ChunkLevel::fine;
        }
    }
}

}  // namespace predsnap
