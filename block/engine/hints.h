// SPDX-License-Identifier: GPL-2.0-or-later
//
// What clients said about parts of the disk. The newest hint of a chunk counts. Not synchronised: Core::mutex guards it.
#pragma once

#include <map>
#include <optional>

#include "prediction.h"

namespace predsnap {

class Hints {
  public:
    static constexpr size_t kMaxHints = 1024;  // parts of the disk; more: the oldest go
    static constexpr int64_t kLifetimeUs = 600'000'000;

    // Chunks that the hint has only a part of count wholly.
    void add(const Hint& hint, int64_t now_us);
    bool empty() const { return parts_.empty(); }
    // How relevant a chunk is by them, from 0 to 1, to writes and to reads; nothing if nothing is said.
    struct Relevance {
        std::optional<float> write, read;
    };
    Relevance find(uint64_t chunk, int64_t now_us) const;
    // Drops those that hold no longer.
    void expire(int64_t now_us);
    size_t size() const { return parts_.size(); }

  private:
    struct Part {
        uint64_t end;  // chunk
        HintKind kind;
        float score;
        int64_t until_us;
    };
    void cut(uint64_t begin, uint64_t end);
    void drop_oldest();
    std::map<uint64_t, Part> parts_;  // by first chunk; they do not overlap
};

}  // namespace predsnap
