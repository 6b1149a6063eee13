// SPDX-License-Identifier: GPL-2.0-or-later
#include "ideal_cache.h"

#include <list>
#include <set>
#include <unordered_map>
#include <vector>

#include "block/engine/types.h"

namespace predsnap::replay {
namespace {

constexpr uint64_t kNeverAgain = UINT64_MAX;

struct Touch {  // of a block
    uint64_t block;
    bool write;
    uint64_t next = kNeverAgain;  // which touch is the next one of the block
};

void count(CacheHits& hits, bool write, bool found) {
    ++(write ? hits.written_blocks : hits.read_blocks);
    (write ? hits.writes : hits.reads) += found ? 1 : 0;
}

class LeastRecent {
  public:
    explicit LeastRecent(uint64_t room) : room_(room) {}
    bool touch(uint64_t block) {
        const auto found = places_.find(block);
        if (found != places_.end()) {
            recent_.splice(recent_.begin(), recent_, found->second);
            return true;
        }
        if (room_ == 0) {
            return false;
        }
        if (places_.size() == room_) {
            places_.erase(recent_.back());
            recent_.pop_back();
        }
        recent_.push_front(block);
        places_[block] = recent_.begin();
        return false;
    }

  private:
    const uint64_t room_;
    std::list<uint64_t> recent_;
    std::unordered_map<uint64_t, std::list<uint64_t>::iterator> places_;
};

// Keeps those that come next.
class Best {
  public:
    explicit Best(uint64_t room) : room_(room) {}
    // `at`: which touch this is.
    bool touch(uint64_t at, uint64_t next) {
        const bool found = coming_.erase(at) > 0;
        if (next != kNeverAgain) {
            coming_.insert(next);
        }
        if (coming_.size() > room_) {
            coming_.erase(std::prev(coming_.end()));
        }
        return found;
    }

  private:
    const uint64_t room_;
    std::set<uint64_t> coming_;  // when each block that is there comes next
};

Result<std::vector<Touch>> touches_of(const SourceOptions& options) {
    std::vector<Touch> touches;
    std::unordered_map<uint64_t, uint64_t> last;
    TRY_ASSIGN(Source trace, Source::open(options));
    while (trace.peek()) {
        const Request& request = *trace.peek();
        const uint64_t end = (request.offset + request.length - 1) / kBlockSize;
        for (uint64_t block = request.offset / kBlockSize; block <= end; ++block) {
            if (const auto [place, first] = last.try_emplace(block, touches.size()); !first) {
                touches[place->second].next = touches.size();
                place->second = touches.size();
            }
            touches.push_back({block, request.write});
        }
        TRY(trace.advance());
    }
    return touches;
}

}  // namespace

Result<IdealCaches> ideal_caches(const SourceOptions& trace, uint64_t bytes) {
    TRY_ASSIGN(const std::vector<Touch> touches, touches_of(trace));
    IdealCaches result;
    LeastRecent least_recent(bytes / kBlockSize);
    Best best(bytes / kBlockSize);
    for (uint64_t i = 0; i < touches.size(); ++i) {
        const Touch& touch = touches[i];
        count(result.least_recent, touch.write, least_recent.touch(touch.block));
        count(result.best, touch.write, best.touch(i, touch.next));
    }
    return result;
}

}  // namespace predsnap::replay
