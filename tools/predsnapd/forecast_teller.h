// SPDX-License-Identifier: GPL-2.0-or-later
//
// Tells an engine on which a trace is replayed what the forecaster expects, as the daemon would: it has seen the trace
// up to that moment, and learns on the way.
#pragma once

#include "forecaster.h"
#include "tools/replay/foresight.h"

namespace predsnap::predict {

class ForecastTeller final : public replay::Teller {
  public:
    // Without learning, the best of the heuristics serves.
    ForecastTeller(replay::Source trace, bool learns, int64_t horizon_us);
    Result<void> tell(Engine& engine, int64_t now_us) override;

    const Forecaster& forecaster() const { return forecaster_; }
    uint64_t ranges_told() const { return ranges_told_; }
    double seconds() const { return seconds_; }  // that observing, training and predicting took

  private:
    Result<void> observe_until(int64_t now_us);

    replay::Source trace_;
    const bool learns_;
    Forecaster forecaster_;
    int64_t next_judge_us_, next_train_us_;
    uint64_t ranges_told_ = 0;
    double seconds_ = 0;
};

}  // namespace predsnap::predict
