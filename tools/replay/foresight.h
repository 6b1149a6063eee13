// SPDX-License-Identifier: GPL-2.0-or-later
//
// What an engine is told of the future while a trace is replayed on it, to see what that is worth to the staging cache:
// nothing; that all reads are equally relevant, so that the least recently used block goes; or the truth.
#pragma once

#include <deque>
#include <optional>
#include <string_view>

#include "block/engine/engine.h"
#include "source.h"

namespace predsnap::replay {

enum class Foresight : uint8_t { rules, lru, oracle };
std::optional<Foresight> parse_foresight(std::string_view name);

class Teller {
  public:
    static constexpr int64_t kTickUs = 10'000'000;     // predictions come so often
    static constexpr int64_t kHorizonUs = 60'000'000;  // and reach so far

    Teller(Foresight foresight, Source ahead) : foresight_(foresight), ahead_(std::move(ahead)) {}

    // Before the requests from that time on.
    Result<void> tell(Engine& engine, int64_t now_us);

  private:
    Result<void> look_ahead(int64_t now_us);

    Foresight foresight_;
    Source ahead_;
    std::deque<Request> window_;  // the requests from now to the horizon
};

}  // namespace predsnap::replay
