// SPDX-License-Identifier: GPL-2.0-or-later
#include "activity.h"

#include <algorithm>
#include <cmath>

namespace predsnap::predict {
namespace {

constexpr float kMeanStep = 0.1f;       // of running means
constexpr int64_t kHour = 3600 * kSecond;
constexpr uint64_t kBlock = 4096;

// A running mean that starts at its first value.
void approach(float& mean, float value, uint32_t count_before) {
    const float step = std::max(kMeanStep, 1.f / static_cast<float>(count_before + 1));
    mean += (value - mean) * step;
}

void note_hour(Chunk& chunk, int64_t before_us, int64_t now_us) {
    if (before_us != kNever && before_us / (24 * kHour) != now_us / (24 * kHour)) {
        chunk.hours_before |= chunk.hours_today;
        chunk.hours_today = 0;
    }
    chunk.hours_today |= 1u << (now_us / kHour % 24);
}

}  // namespace

void Activity::observe(Access access) {
    if (access.length == 0 || access.offset + access.length < access.offset) {
        return;
    }
    access.time_us = now_us_ = std::max(now_us_, access.time_us);
    begin_us_ = begin_us_ == kNever ? now_us_ : begin_us_;
    const bool sequential = streams_.observe(access) > 0;
    whole_.counts[index_of(access.op)].add(now_us_, 1);
    if (access.op == Op::kWrite) {
        written_bytes_.add(now_us_, static_cast<float>(access.length));
    }
    const ChunkId first = chunk_of(access.offset), last = last_chunk_of(access);
    for (ChunkId id = first; id <= last; ++id) {
        visit(id, access, sequential || id != first);
        count_regions(id, access);
    }
}

void Activity::visit(ChunkId id, const Access& access, bool sequential) {
    Chunk& found = chunk(id);
    const size_t op = index_of(access.op);
    const uint32_t before = found.rhythm[0].visits() + found.rhythm[1].visits();
    approach(found.length[op], std::log2(static_cast<float>(access.length)), found.rhythm[op].visits());
    approach(found.sequential, sequential ? 1.f : 0.f, before);
    approach(found.aligned, access.offset % kBlock == 0 && access.length % kBlock == 0 ? 1.f : 0.f, before);
    note_hour(found, before == 0 ? kNever : found.last_us(), access.time_us);
    if (access.op == Op::kWrite && access.changed >= 0) {
        approach(found.changed, access.changed, found.changed < 0 ? 0 : before);
        found.changed_last = access.changed;
    }
    follow(static_cast<uint32_t>(&found - chunks_.data()), access.op);
    found.counts[op].add(access.time_us, 1);
    found.rhythm[op].visit(access.time_us);
}

void Activity::count_regions(ChunkId id, const Access& access) {
    for (size_t i = 0; i < kRegionShifts.size(); ++i) {
        regions_[i][id >> kRegionShifts[i]].counts[index_of(access.op)].add(access.time_us, 1);
    }
}

void Activity::follow(uint32_t slot, Op op) {
    uint32_t& last = last_slots_[index_of(op)];
    if (last != UINT32_MAX && last != slot) {
        chunks_[last].after[index_of(op)].add(slot);
    }
    last = slot;
}

Chunk& Activity::chunk(ChunkId id) {
    if (const auto found = slots_.find(id); found != slots_.end()) {
        return chunks_[found->second];
    }
    if (chunks_.size() >= chunks_max_) {
        forget_oldest();
    }
    slots_.emplace(id, static_cast<uint32_t>(chunks_.size()));
    chunks_.emplace_back().id = id;
    return chunks_.back();
}

void Activity::forget_oldest() {
    std::vector<int64_t> times(chunks_.size());
    std::transform(chunks_.begin(), chunks_.end(), times.begin(),
                   [](const Chunk& chunk) { return chunk.last_us(); });
    const auto quarter = times.begin() + static_cast<ptrdiff_t>(times.size() / 4);
    std::nth_element(times.begin(), quarter, times.end());
    const int64_t oldest_us = *quarter;

    // Of those as old as the oldest that may stay, as many go as are needed to keep the bound.
    size_t going = chunks_.size() / 4 + 1, next = 0;
    std::vector<uint32_t> moved(chunks_.size(), UINT32_MAX);
    for (size_t i = 0; i < chunks_.size(); ++i) {
        if (chunks_[i].last_us() <= oldest_us && going > 0) {
            --going;
            continue;
        }
        moved[i] = static_cast<uint32_t>(next);
        chunks_[next++] = chunks_[i];
    }
    chunks_.resize(next);
    slots_.clear();
    std::array<std::unordered_map<uint64_t, Region>, kRegionShifts.size()> regions;
    for (uint32_t i = 0; i < chunks_.size(); ++i) {
        slots_.emplace(chunks_[i].id, i);
        for (Successors& after : chunks_[i].after) {
            after.renumber([&](uint32_t slot) { return moved[slot]; });
        }
        for (size_t size = 0; size < kRegionShifts.size(); ++size) {
            const uint64_t region = chunks_[i].id >> kRegionShifts[size];
            regions[size].emplace(region, regions_[size][region]);
        }
    }
    regions_ = std::move(regions);
    for (uint32_t& last : last_slots_) {
        last = last == UINT32_MAX ? UINT32_MAX : moved[last];
    }
}

const Chunk* Activity::find(ChunkId id) const {
    const auto found = slots_.find(id);
    return found == slots_.end() ? nullptr : &chunks_[found->second];
}

const Region* Activity::region(size_t size, ChunkId id) const {
    const auto found = regions_[size].find(id >> kRegionShifts[size]);
    return found == regions_[size].end() ? nullptr : &found->second;
}

Surroundings Activity::surroundings(int64_t now_us) const {
    constexpr int64_t kHolds = 60 * kSecond;
    if (surrounded_us_ <= now_us && now_us - surrounded_us_ <= kHolds) {
        return surroundings_;
    }
    Surroundings lasting;
    lasting.weight = surroundings_.weight;
    return lasting;
}

double Activity::write_rate(int64_t now_us) const {
    const FadeValues bytes = written_bytes_.at(now_us);
    return std::max(bytes[0] / kTimeConstants[0], bytes[1] / kTimeConstants[1]);
}

size_t Activity::memory_bytes() const {
    constexpr size_t kNode = 2 * sizeof(void*) + 16;  // of a hash table
    size_t bytes = chunks_.capacity() * sizeof(Chunk) + slots_.size() * kNode;
    for (const auto& regions : regions_) {
        bytes += regions.size() * (kNode + sizeof(Region));
    }
    return bytes;
}

}  // namespace predsnap::predict
