// SPDX-License-Identifier: GPL-2.0-or-later
#include "change_vector.h"

#include <algorithm>

namespace predsnap {

ChangeVector ChangeVector::of(const ChunkSet& changed, const ChunkSet& before, const ChunkSet& after) {
    const ChunkSet left = changed & after;
    return {left - before, left & before, changed - after};
}

ChangeVector ChangeVector::join(const ChangeVector& older, const ChangeVector& newer, const ChunkSet& whole) {
    const ChunkSet older_changed = older.changed();
    // Of what only the newer one changed, it says what was there before.
    const ChunkSet before =
        older.modified | older.discarded | ((newer.modified | newer.discarded) - older_changed);
    const ChunkSet after = newer.after() | (older.after() - whole);
    return of(older_changed | newer.changed(), before, after);
}

void ExtentChunks::add(const Extent& extent) {
    if (extent.start >= kVmStateBase) {
        return;
    }
    const uint64_t begin = extent.start.value, behind = std::min(extent.end(), kVmStateBase).value;
    const auto first_chunk = static_cast<uint32_t>(begin / kChunkSectors);
    const auto last_chunk = static_cast<uint32_t>((behind - 1) / kChunkSectors);
    changed.append(first_chunk, last_chunk);
    if (extent.is_data()) {
        data.append(first_chunk, last_chunk);
    }
    first = sectors == 0 ? extent.start : first;
    end = Sector(behind);
    sectors += behind - begin;
    for (uint64_t at = begin; at < behind;) {
        const auto chunk = static_cast<uint32_t>(at / kChunkSectors);
        if (at % kChunkSectors == 0 && behind - at >= kChunkSectors) {
            const uint64_t whole_chunks = (behind - at) / kChunkSectors;
            whole.append(chunk, static_cast<uint32_t>(chunk + whole_chunks - 1));
            at += whole_chunks * kChunkSectors;
            continue;
        }
        const uint64_t part = std::min(behind, (chunk + uint64_t{1}) * kChunkSectors) - at;
        partial_sectors_ = partial_ == chunk ? partial_sectors_ + part : part;
        partial_ = chunk;
        if (partial_sectors_ == kChunkSectors) {
            whole.append(chunk, chunk);
        }
        at += part;
    }
}

ExtentChunks chunks_of(std::span<const format::PackedExtent> extents) {
    ExtentChunks chunks;
    for (const format::PackedExtent& extent : extents) {
        chunks.add(format::unpack(extent));
    }
    return chunks;
}

IntervalChange::Mask IntervalChange::Mask::of(uint64_t first, uint64_t end) {
    const auto below = [](uint64_t bit) { return bit >= 64 ? UINT64_MAX : (uint64_t{1} << bit) - 1; };
    const auto above = [&](uint64_t bit) { return bit > 64 ? below(bit - 64) : 0; };
    return {below(end) & ~below(first), above(end) & ~above(first)};
}

// The map has a boundary before the chunk. Returns the first chunks from there on.
IntervalChange::Map::iterator IntervalChange::split(uint64_t chunk) {
    auto after = map_.lower_bound(chunk);
    if (after == map_.begin()) {
        return after;
    }
    const auto before = std::prev(after);
    if (before->second.last < chunk) {
        return after;
    }
    const Chunks upper = before->second;
    before->second.last = chunk - 1;
    return map_.emplace_hint(after, chunk, upper);
}

template <typename Change>
void IntervalChange::change_range(uint64_t first, uint64_t last, const Change& change) {
    auto at = split(first);
    split(last + 1);
    for (uint64_t next = first; next <= last;) {
        if (at == map_.end() || at->first > next) {
            const uint64_t end = at == map_.end() ? last : std::min(last, at->first - 1);
            at = map_.emplace_hint(at, next, Chunks{end, {}, {}, {}});
        }
        change(at->second);
        next = at->second.last + 1;
        ++at;
    }
}

// A part of the first chunk, whole ones, and a part of the last one.
template <typename Change>
void IntervalChange::for_parts(Sector start, uint64_t count, const Change& change) {
    const uint64_t end = start.value + count;
    for (uint64_t at = start.value; at < end;) {
        const uint64_t chunk = at / kChunkSectors, within = at % kChunkSectors;
        const uint64_t part = std::min(end - at, kChunkSectors - within);
        const uint64_t chunks = part < kChunkSectors ? 1 : (end - at) / kChunkSectors;
        const Mask mask = Mask::of(within, within + part);
        change_range(chunk, chunk + chunks - 1, [&](Chunks& some) { change(some, mask); });
        at += part < kChunkSectors ? part : chunks * kChunkSectors;
    }
}

void IntervalChange::had_data(Sector start, uint64_t count) {
    for_parts(start, count, [](Chunks& chunks, const Mask& mask) { chunks.had = chunks.had | (mask & ~chunks.touched); });
}

void IntervalChange::changed(Sector start, uint64_t count, bool data) {
    sectors_ += count;
    for_parts(start, count, [&](Chunks& chunks, const Mask& mask) {
        chunks.touched = chunks.touched | mask;
        chunks.has = data ? chunks.has | mask : chunks.has & ~mask;
    });
}

void IntervalChange::changed_before(Sector start, uint64_t count, bool data) {
    sectors_ += count;
    for_parts(start, count, [&](Chunks& chunks, const Mask& mask) {
        chunks.has = data ? chunks.has | (mask & ~chunks.touched) : chunks.has;
        chunks.touched = chunks.touched | mask;
    });
}

ChunkSet IntervalChange::data_after() const {
    ChunkSet result;
    for (const auto& [first, chunks] : map_) {
        if (chunks.has.any()) {
            result.append(static_cast<uint32_t>(first), static_cast<uint32_t>(chunks.last));
        }
    }
    return result;
}

// Which of three, of chunks that were touched.
template <typename Three>
auto& IntervalChange::Chunks::became(Three& three) const {
    return !has.any() ? three.discarded : had.any() ? three.modified : three.added;
}

ChangeVector IntervalChange::vector() const {
    ChangeVector result;
    for (const auto& [first, chunks] : map_) {
        if (chunks.touched.any()) {
            chunks.became(result).append(static_cast<uint32_t>(first), static_cast<uint32_t>(chunks.last));
        }
    }
    return result;
}

ChangeCounts IntervalChange::counts() const {
    ChangeCounts result;
    for (const auto& [first, chunks] : map_) {
        if (chunks.touched.any()) {
            chunks.became(result) += chunks.last - first + 1;
        }
    }
    return result;
}

ChunkSet IntervalChange::whole() const {
    ChunkSet result;
    for (const auto& [first, chunks] : map_) {
        if (chunks.touched.all()) {
            result.append(static_cast<uint32_t>(first), static_cast<uint32_t>(chunks.last));
        }
    }
    return result;
}

void IntervalChange::clear() {
    map_.clear();
    sectors_ = 0;
}

}  // namespace predsnap
