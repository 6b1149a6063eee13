// SPDX-License-Identifier: GPL-2.0-or-later
//
// What an engine is told of the future while a trace is replayed on it, to see what that is worth to the staging cache:
// nothing; that all reads are equally relevant, so that the least recently used block goes; or the truth. Or what
// somebody predicts: see tools/predsnapd.
#pragma once

#include <memory>
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
    static constexpr int64_t kHorizonUs = 60'000'000;  // and reach so far, if nobody says otherwise

    virtual ~Teller() = default;
    // Before the requests from that time on.
    virtual Result<void> tell(Engine& engine, int64_t now_us) = 0;
};

// Null for the rules: these need nobody to tell them anything. Ends the program if the trace cannot be read.
std::unique_ptr<Teller> make_teller(Foresight foresight, const SourceOptions& trace,
                                    int64_t horizon_us = Teller::kHorizonUs);

}  // namespace predsnap::replay
