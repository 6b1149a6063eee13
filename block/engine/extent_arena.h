// SPDX-License-Identifier: GPL-2.0-or-later
//
// Memory for the nodes of an extent map: slots of one size in chunks of 2 MiB, so that a node costs
// no allocator's overhead and a large map lies in huge pages. A chunk with no live slot is given
// back.
#pragma once

#include <cstddef>
#include <cstdint>

namespace predsnap {

class ChunkSupply;

class NodeArena {
  public:
    static constexpr size_t kSlotSize = 1024;

    NodeArena() = default;
    ~NodeArena();
    NodeArena(const NodeArena&) = delete;
    NodeArena& operator=(const NodeArena&) = delete;

    // A slot of kSlotSize bytes, aligned to its size, content undefined. Never null: like the rest
    // of the process, the arena ends it when memory is exhausted.
    void* allocate();
    void release(void* slot);
    void release_all();

    // Chunks come from there if any are ready; null: from nowhere else again.
    void use(ChunkSupply* supply) { supply_ = supply; }

    size_t live_slots() const { return live_; }
    // What the arena can occupy in RAM, free slots and its own records included.
    size_t memory_bytes() const { return bytes_; }

  private:
    struct Chunk;

    Chunk* add_chunk();
    void drop_chunk(Chunk* chunk);
    void link(Chunk* chunk);
    void unlink(Chunk* chunk);

    ChunkSupply* supply_ = nullptr;
    Chunk* chunks_ = nullptr;  // all
    Chunk* open_ = nullptr;    // those with a free slot
    size_t live_ = 0;
    size_t bytes_ = 0;
};

}  // namespace predsnap
