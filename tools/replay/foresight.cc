// SPDX-License-Identifier: GPL-2.0-or-later
#include "foresight.h"

#include <deque>
#include <map>

#include "arguments.h"

namespace predsnap::replay {
namespace {

// All is as likely to be read and written, so that all is staged, and what was used least recently goes. A disk on which so
// much cannot be predicted is said to be read only, by a hint.
class EvenTeller final : public Teller {
  public:
    Result<void> tell(Engine& engine, int64_t) override {
        if (engine.size() > kMaxPredictedChunks * kChunkBytes) {
            return engine.hint({0, engine.size(), HintKind::will_read, {}});
        }
        PredictionSet set;
        set.model = "lru";
        set.base = engine.info().sequence;
        set.horizon_us = kHorizonUs;
        set.predictions = {{0, engine.size(), 1, 1, std::nullopt}};
        return engine.set_predictions(std::move(set));
    }
};

class Oracle final : public Teller {
  public:
    Oracle(Source ahead, int64_t horizon_us) : ahead_(std::move(ahead)), horizon_us_(horizon_us) {}
    Result<void> tell(Engine& engine, int64_t now_us) override;

  private:
    Result<void> look_ahead(int64_t now_us);

    Source ahead_;
    const int64_t horizon_us_;
    std::deque<Request> window_;  // the requests from now to the horizon
};

Result<void> Oracle::look_ahead(int64_t now_us) {
    while (!window_.empty() && window_.front().time_us < now_us) {
        window_.pop_front();
    }
    while (ahead_.peek() && ahead_.peek()->time_us < now_us + horizon_us_) {
        if (ahead_.peek()->time_us >= now_us) {
            window_.push_back(*ahead_.peek());
        }
        TRY(ahead_.advance());
    }
    return {};
}

Result<void> Oracle::tell(Engine& engine, int64_t now_us) {
    TRY(look_ahead(now_us));
    std::map<uint64_t, Prediction> chunks;
    for (const Request& request : window_) {
        const uint64_t last = (request.offset + request.length - 1) / kChunkBytes;
        for (uint64_t chunk = request.offset / kChunkBytes; chunk <= last; ++chunk) {
            Prediction& prediction = chunks[chunk];
            prediction.offset = chunk * kChunkBytes;
            prediction.length = std::min(kChunkBytes, engine.size() - prediction.offset);
            (request.write ? prediction.write : prediction.read) = 1;
        }
    }
    PredictionSet set;
    set.model = "oracle";
    set.base = engine.info().sequence;
    set.horizon_us = horizon_us_;
    for (const auto& [chunk, prediction] : chunks) {
        if (set.predictions.size() < kMaxPredictions) {
            set.predictions.push_back(prediction);
        }
    }
    return engine.set_predictions(std::move(set));
}

}  // namespace

std::optional<Foresight> parse_foresight(std::string_view name) {
    return name == "rules"    ? std::optional(Foresight::rules)
           : name == "lru"    ? std::optional(Foresight::lru)
           : name == "oracle" ? std::optional(Foresight::oracle)
                              : std::nullopt;
}

std::unique_ptr<Teller> make_teller(Foresight foresight, const SourceOptions& trace, int64_t horizon_us) {
    switch (foresight) {
        case Foresight::rules:
            return nullptr;
        case Foresight::lru:
            return std::make_unique<EvenTeller>();
        case Foresight::oracle:
            return std::make_unique<Oracle>(must(Source::open(trace)), horizon_us);
    }
    return nullptr;
}

}  // namespace predsnap::replay
