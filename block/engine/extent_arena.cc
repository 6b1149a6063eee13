// SPDX-License-Identifier: GPL-2.0-or-later
#include "extent_arena.h"

#include <cassert>
#include <new>

#include "chunk_supply.h"

namespace predsnap {

namespace {

// Aligned to its size, so that a slot's address leads to its chunk's header.
constexpr size_t kChunkSize = ChunkSupply::kChunkSize;
// The first slot of a chunk holds its header.
constexpr uint32_t kSlotsPerChunk = kChunkSize / NodeArena::kSlotSize - 1;

struct FreeSlot {
    FreeSlot* next;
};

}  // namespace

struct NodeArena::Chunk {
    Chunk* next = nullptr;  // in chunks_
    Chunk* prev = nullptr;
    Chunk* next_open = nullptr;  // in open_
    Chunk* prev_open = nullptr;
    FreeSlot* free = nullptr;  // released slots
    uint32_t fresh = 0;        // slots from this one on were never used
    uint32_t live = 0;
    bool whole = false;  // resident, or asked to be one huge page: counted whole

    bool full() const { return live == kSlotsPerChunk; }
    char* slot(uint32_t i) { return reinterpret_cast<char*>(this) + (i + 1) * kSlotSize; }
    static Chunk* of(void* slot) {
        return reinterpret_cast<Chunk*>(reinterpret_cast<uintptr_t>(slot) & ~(kChunkSize - 1));
    }
};

NodeArena::~NodeArena() {
    release_all();
}

void* NodeArena::allocate() {
    static_assert(sizeof(Chunk) <= kSlotSize);
    Chunk* chunk = open_ != nullptr ? open_ : add_chunk();
    void* slot = chunk->free;
    if (slot != nullptr) {
        chunk->free = chunk->free->next;
    } else {
        assert(chunk->fresh < kSlotsPerChunk);
        slot = chunk->slot(chunk->fresh++);
        bytes_ += chunk->whole ? 0 : kSlotSize;
    }
    ++live_;
    ++chunk->live;
    if (chunk->full()) {
        unlink(chunk);
    }
    return slot;
}

void NodeArena::release(void* slot) {
    Chunk* chunk = Chunk::of(slot);
    if (chunk->full()) {
        link(chunk);
    }
    chunk->free = new (slot) FreeSlot{chunk->free};
    assert(live_ > 0 && chunk->live > 0);
    --live_;
    --chunk->live;
    // One chunk in reserve, lest a map at the border map and unmap in turn.
    const bool spare = chunk->next_open != nullptr || chunk->prev_open != nullptr;
    if (live_ == 0) {
        release_all();
    } else if (chunk->live == 0 && spare) {
        unlink(chunk);
        drop_chunk(chunk);
    }
}

void NodeArena::release_all() {
    while (chunks_ != nullptr) {
        drop_chunk(chunks_);
    }
    open_ = nullptr;
    live_ = 0;
    assert(bytes_ == 0);
}

// Only from the second chunk on are huge pages asked for: a small map should stay small.
NodeArena::Chunk* NodeArena::add_chunk() {
    void* memory = chunks_ != nullptr && supply_ != nullptr ? supply_->take() : nullptr;
    bool whole = memory != nullptr;
    if (!whole) {
        memory = ChunkSupply::map();
        whole = chunks_ != nullptr && ChunkSupply::make_huge(memory);
    }
    Chunk* chunk = new (memory) Chunk;
    chunk->whole = whole;
    chunk->next = chunks_;
    if (chunks_ != nullptr) {
        chunks_->prev = chunk;
    }
    chunks_ = chunk;
    bytes_ += whole ? kChunkSize : kSlotSize;
    link(chunk);
    return chunk;
}

// The chunk is no longer in open_.
void NodeArena::drop_chunk(Chunk* chunk) {
    bytes_ -= chunk->whole ? kChunkSize : (1 + chunk->fresh) * kSlotSize;
    (chunk->prev != nullptr ? chunk->prev->next : chunks_) = chunk->next;
    if (chunk->next != nullptr) {
        chunk->next->prev = chunk->prev;
    }
    ChunkSupply::unmap(chunk);
}

void NodeArena::link(Chunk* chunk) {
    chunk->prev_open = nullptr;
    chunk->next_open = open_;
    if (open_ != nullptr) {
        open_->prev_open = chunk;
    }
    open_ = chunk;
}

void NodeArena::unlink(Chunk* chunk) {
    (chunk->prev_open != nullptr ? chunk->prev_open->next_open : open_) = chunk->next_open;
    if (chunk->next_open != nullptr) {
        chunk->next_open->prev_open = chunk->prev_open;
    }
}

}  // namespace predsnap
