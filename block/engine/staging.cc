// SPDX-License-Identifier: GPL-2.0-or-later
#include "staging.h"

namespace predsnap {

namespace {

// The least recently used entries of which one makes room.
constexpr int kCandidates = 8;
// What is spared counts as so much less relevant the next time.
constexpr float kPatience = 7.0f / 8;
constexpr float kServed = 1.0f / 4;

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
    --use(entry.purpose).entries;
    use(entry.purpose).unused -= !entry.used;
    by_block_.erase(entry.block.value);
    recent_.erase(entry.used_at);
    entry.listed = false;
    if (entry.pins == 0) {
        release(slot);
    }
}

void Staging::release(Slot slot) { free_.push_back(slot); }

float Staging::score_now(const Entry& entry) const {
    const std::optional<float> said = scorer_ ? scorer_(entry.block, entry.purpose, entry.used) : std::nullopt;
    return said.value_or(entry.score) * entry.patience;
}

bool Staging::make_room(float score) {
    Entry* candidates[kCandidates];
    int count = 0;
    Entry* lowest = nullptr;
    float lowest_score = 0;
    for (auto at = recent_.end(); at != recent_.begin() && count < kCandidates;) {
        Entry& entry = entries_[*--at];
        if (entry.pins > 0) {
            continue;
        }
        candidates[count++] = &entry;
        const float own = score_now(entry);
        if (lowest == nullptr || own < lowest_score) {
            lowest = &entry;
            lowest_score = own;
        }
    }
    if (lowest == nullptr || lowest_score > score) {
        for (int i = 0; i < count; ++i) {
            candidates[i]->patience *= kPatience;
        }
        return false;
    }
    ++use(lowest->purpose).evictions;
    drop(*lowest->used_at);
    return true;
}

std::optional<Staging::Slot> Staging::take(float score, Staged purpose) {
    const uint64_t used = entries_.size() - free_.size();
    if (used >= limit_ && !make_room(score)) {
        ++use(purpose).refused;
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

void Staging::put(Slot slot, Sector block, const Source& source, float score, Staged purpose) {
    if (entries_.size() - free_.size() > limit_) {
        unpin(slot);  // it was made smaller meanwhile
        return;
    }
    if (const auto old = by_block_.find(block.value); old != by_block_.end()) {
        invalidated(old->second);
    }
    Entry& entry = entries_[slot];
    entry.block = block;
    entry.source = source;
    entry.score = score;
    entry.purpose = purpose;
    entry.listed = true;
    recent_.push_front(slot);
    entry.used_at = recent_.begin();
    ++use(purpose).admitted;
    ++use(purpose).entries;
    ++use(purpose).unused;
    by_block_[block.value] = slot;
    unpin(slot);
}

void Staging::unpin(Slot slot) {
    Entry& entry = entries_[slot];
    if (--entry.pins == 0 && !entry.listed) {
        release(slot);
    }
}

void Staging::invalidated(Slot slot) {
    ++use(entries_[slot].purpose).invalidations;
    drop(slot);
}

std::optional<Staging::Slot> Staging::find(Sector block, const Source& source, Staged asked) {
    const auto found = by_block_.find(block.value);
    if (found == by_block_.end()) {
        missed(asked);
        return {};
    }
    const Slot slot = found->second;
    Entry& entry = entries_[slot];
    if (!(entry.source == source)) {
        invalidated(slot);
        missed(asked);
        return {};
    }
    // What was fetched ahead of time has done its service, unless it is used again and again.
    const bool served = entry.purpose == Staged::prefetch && !entry.used;
    recent_.splice(served ? recent_.end() : recent_.begin(), recent_, entry.used_at);
    entry.patience = served ? kServed : 1;
    use(entry.purpose).used += !entry.used;
    use(entry.purpose).unused -= !entry.used;
    entry.used = true;
    ++entry.pins;
    ++use(asked).hits;
    return slot;
}

std::optional<Staging::Slot> Staging::peek(Sector block, const Source& source) {
    const auto found = by_block_.find(block.value);
    if (found != by_block_.end() && !(entries_[found->second].source == source)) {
        missed(Staged::read);
        return {};
    }
    return find(block, source, Staged::read);
}

void Staging::invalidate(Sector block) {
    if (const auto found = by_block_.find(block.value); found != by_block_.end()) {
        invalidated(found->second);
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
    for (const StagingUse& use : stats.by_purpose) {
        stats.hits += use.hits;
        stats.misses += use.misses;
        stats.evictions += use.evictions;
        stats.invalidations += use.invalidations;
        stats.refused += use.refused;
    }
    stats.entries = by_block_.size();
    stats.bytes = stats.entries * kBlockSize;
    stats.limit = limit_ * kBlockSize;
    stats.memory_bytes = arena_.size() * uint64_t{kSlotsPerPiece} * kBlockSize;
    return stats;
}

}  // namespace predsnap
