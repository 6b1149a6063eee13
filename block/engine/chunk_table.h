// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is said of chunks, and what came of it: a hash table without pointers, of a size that is fixed when it is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace predsnap {

class ChunkTable {
  public:
    static constexpr uint8_t kWritten = 1, kRead = 2;  // seen
    static constexpr uint8_t kUnlisted = 4;            // only noted because it was used
    static constexpr uint8_t kNoChange = 255;          // nothing is said of the share of bytes changed
    struct Entry {
        uint32_t chunk = UINT32_MAX;
        uint8_t write = 0, read = 0;     // probabilities, in 255ths
        uint8_t change = kNoChange;      // in 254ths
        uint8_t seen = 0;
    };

    // Room for so many chunks.
    explicit ChunkTable(size_t chunks = 0);

    // Null if it is not there.
    Entry* find(uint64_t chunk);
    const Entry* find(uint64_t chunk) const { return const_cast<ChunkTable*>(this)->find(chunk); }
    // The chunk's, or a new one; null if there is no room, or the chunk is none.
    Entry* claim(uint64_t chunk);
    size_t size() const { return size_; }
    uint64_t memory_bytes() const { return slots_.size() * sizeof(Entry); }

    // In no order.
    template <typename Visit>
    void for_each(Visit visit) const {
        for (const Entry& entry : slots_) {
            if (entry.chunk != UINT32_MAX) {
                visit(entry);
            }
        }
    }

  private:
    size_t slot_of(uint64_t chunk) const {
        return static_cast<size_t>(chunk * 0x9e3779b97f4a7c15ull >> 32) & (slots_.size() - 1);
    }
    size_t capacity_;
    size_t size_ = 0;
    std::vector<Entry> slots_;  // a power of two, at least twice the capacity; empty if there is none
};

}  // namespace predsnap
