// SPDX-License-Identifier: GPL-2.0-or-later
//
// What caches of whole blocks that take in everything, read or written, would find of a trace: the least recently used one,
// and the best that there can be, which knows the future of each block (Belady's rule, which need not take a block in). Exact, and
// with no engine: what a policy in the engine is to be compared with.
#pragma once

#include "source.h"

namespace predsnap::replay {

struct CacheHits {
    uint64_t reads = 0, read_blocks = 0;       // blocks that were read and there, and that were read
    uint64_t writes = 0, written_blocks = 0;   // the same of those whose content before a write was there
    double read_share() const { return share(reads, read_blocks); }
    double write_share() const { return share(writes, written_blocks); }
    double both_share() const { return share(reads + writes, read_blocks + written_blocks); }

  private:
    static double share(uint64_t part, uint64_t whole) {
        return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
    }
};

struct IdealCaches {
    CacheHits least_recent, best;  // `best` has the most hits of reads and writes together
};
Result<IdealCaches> ideal_caches(const SourceOptions& trace, uint64_t bytes);

}  // namespace predsnap::replay
