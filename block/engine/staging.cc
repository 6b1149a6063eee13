// SPDX-License-Identifier: GPL-2.0-or-later
#include "staging.h"

namespace predsnap {

namespace {

// Entries that may be spared for their scores before what is to come in is refused.
constexpr int kMaxSpared = 2;

}  // namespace

void Staging::set_limit(uint64_t bytes) {
    if (bytes / kBlockSize == limit_) {
        return;
    }
    while (!recent_.empty()) {
        drop(recent_.back());
    }
    limit_ = bytes / kBlockSize;
    if (free_.size() == entries_.size()) {  // nobody is at it
        arena_.clear();
        entries_.clear();
        free_.clear();
    }
}

// Out of the cache; whoever has it pinned keeps its content.
void Staging::drop(Slot slot) {
    Entry& entry = entries_[slot];
    by_block_.erase(entry.block.value);
    recent_.erase(entry.used);
    entry.listed = false;
    if (entry.pins == 0) {
        release(slot);
    }
}

void Staging::release(Slot slot) { free_.push_back(slot); }

bool Staging::make_room(float score) {
    auto at = recent_.end();
    for (int spared = 0; at != recent_.begin() && spared <= kMaxSpared;) {
        Entry& entry = entries_[*--at];
        if (entry.pins > 0) {
            continue;
        }
        if (entry.score > score) {
            entry.score /= 2;
            ++spared;
            continue;
        }
        drop(*at);
        ++stats_.evictions;
        return true;
    }
    ++stats_.refused;
    return false;
}

std::optional<Staging::Slot> Staging::take(float score) {
    const uint64_t used = entries_.size() - free_.size();
    if (used >= limit_ && !make_room(score)) {
        return {};
    }
    if (free_.empty()) {
        const auto first = static_cast<Slot>(entries_.size());
        arena_.emplace_back(uint64_t{kSlotsPerPiece} * kBlockSize);
        entries_.resize(first + kSlotsPerPiece);
        for (Slot slot = first + kSlotsPerPiece; slot-- > first;) {
            free_.push_back(slot);
        }
    }
    const Slot slot = free_.back();
    free_.pop_back();
    entries_[slot] = Entry{};
    entries_[slot].pins = 1;
    return slot;
}

void Staging::put(Slot slot, Sector block, const Source& source, float score) {
    if (entries_.size() - free_.size() > limit_) {
        unpin(slot);  // it was made smaller meanwhile
        return;
    }
    if (const auto old = by_block_.find(block.value); old != by_block_.end()) {
        drop(old->second);
        ++stats_.invalidations;
    }
    Entry& entry = entries_[slot];
    entry.block = block;
    entry.source = source;
    entry.score = score;
    entry.listed = true;
    recent_.push_front(slot);
    entry.used = recent_.begin();
    by_block_[block.value] = slot;
    unpin(slot);
}

void Staging::unpin(Slot slot) {
    Entry& entry = entries_[slot];
    if (--entry.pins == 0 && !entry.listed) {
        release(slot);
    }
}

std::optional<Staging::Slot> Staging::find(Sector block, const Source& source) {
    const auto found = by_block_.find(block.value);
    if (found == by_block_.end()) {
        ++stats_.misses;
        return {};
    }
    const Slot slot = found->second;
    Entry& entry = entries_[slot];
    if (!(entry.source == source)) {
        drop(slot);
        ++stats_.invalidations;
        ++stats_.misses;
        return {};
    }
    recent_.splice(recent_.begin(), recent_, entry.used);
    ++entry.pins;
    ++stats_.hits;
    return slot;
}

std::optional<Staging::Slot> Staging::peek(Sector block, const Source& source) {
    const auto found = by_block_.find(block.value);
    if (found != by_block_.end() && !(entries_[found->second].source == source)) {
        ++stats_.misses;
        return {};
    }
    return find(block, source);
}

void Staging::invalidate(Sector block) {
    if (const auto found = by_block_.find(block.value); found != by_block_.end()) {
        drop(found->second);
        ++stats_.invalidations;
    }
}

void Staging::moved(Sector block, Place from, uint64_t ordinal, const Source& source) {
    if (const auto found = by_block_.find(block.value); found != by_block_.end()) {
        Source& own = entries_[found->second].source;
        own = own.extent.place == from && own.ordinal == ordinal ? source : own;
    }
}

StagingStats Staging::stats() const {
    StagingStats stats = stats_;
    stats.entries = by_block_.size();
    stats.bytes = stats.entries * kBlockSize;
    stats.limit = limit_ * kBlockSize;
    stats.memory_bytes = arena_.size() * uint64_t{kSlotsPerPiece} * kBlockSize;
    return stats;
}

}  // namespace predsnap
