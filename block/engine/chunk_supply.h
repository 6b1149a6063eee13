// SPDX-License-Identifier: GPL-2.0-or-later
//
// Memory for node arenas, made ready on the host's executor while a task computes. Before new memory can be used the
// kernel finds and clears it (and a hypervisor below it perhaps, too), which can take longer than all that is done
// with it.
#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

#include "wait.h"

namespace predsnap {

class ChunkSupply {
  public:
    static constexpr size_t kChunkSize = 2u << 20;

    explicit ChunkSupply(Host& host) : host_(host), filling_(host, 1) {}
    // Suspends; no arena may use it any more.
    ~ChunkSupply();

    // A chunk, aligned to its size and resident, that is the caller's; null if none is ready. Those who ask once will
    // ask again: only from then on is any made ready.
    void* take();

    // An aligned chunk, in which nothing is resident. Never null: without memory the process ends.
    static void* map();
    // Asks that the chunk be one huge page.
    static bool make_huge(void* chunk);
    static void unmap(void* chunk);

  private:
    // As many as are used while a task computes without suspending.
    static constexpr size_t kReadyMax = 4;

    void fill();
    size_t missing() const { return std::min(asked_, kReadyMax) - ready_.size(); }

    Host& host_;
    std::mutex mutex_;  // guards what follows
    std::vector<void*> ready_;
    size_t asked_ = 0;
    bool stopping_ = false;
    WaitList change_;
    TaskGroup filling_;
};

}  // namespace predsnap
