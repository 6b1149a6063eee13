// SPDX-License-Identifier: GPL-2.0-or-later
#include "chunk_table.h"

#include <bit>

namespace predsnap {

ChunkTable::ChunkTable(size_t chunks) : capacity_(chunks) {
    if (chunks > 0) {
        slots_.resize(std::bit_ceil(2 * chunks));
    }
}

ChunkTable::Entry* ChunkTable::find(uint64_t chunk) {
    if (size_ == 0 || chunk >= UINT32_MAX) {
        return nullptr;
    }
    for (size_t at = slot_of(chunk);; at = (at + 1) & (slots_.size() - 1)) {
        if (slots_[at].chunk == chunk) {
            return &slots_[at];
        }
        if (slots_[at].chunk == UINT32_MAX) {
            return nullptr;
        }
    }
}

ChunkTable::Entry* ChunkTable::claim(uint64_t chunk) {
    if (Entry* const known = find(chunk)) {
        return known;
    }
    if (size_ == capacity_ || chunk >= UINT32_MAX) {
        return nullptr;
    }
    size_t at = slot_of(chunk);
    while (slots_[at].chunk != UINT32_MAX) {
        at = (at + 1) & (slots_.size() - 1);
    }
    slots_[at].chunk = static_cast<uint32_t>(chunk);
    ++size_;
    return &slots_[at];
}

}  // namespace predsnap
