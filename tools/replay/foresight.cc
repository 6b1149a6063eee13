// SPDX-License-Identifier: GPL-2.0-or-later
#include "foresight.h"

#include <map>

namespace predsnap::replay {

std::optional<Foresight> parse_foresight(std::string_view name) {
    return name == "rules"    ? std::optional(Foresight::rules)
           : name == "lru"    ? std::optional(Foresight::lru)
           : name == "oracle" ? std::optional(Foresight::oracle)
                              : std::nullopt;
}

Result<void> Teller::look_ahead(int64_t now_us) {
    while (!window_.empty() && window_.front().time_us < now_us) {
        window_.pop_front();
    }
    while (ahead_.peek() && ahead_.peek()->time_us < now_us + kHorizonUs) {
        if (ahead_.peek()->time_us >= now_us) {
            window_.push_back(*ahead_.peek());
        }
        TRY(ahead_.advance());
    }
    return {};
}

Result<void> Teller::tell(Engine& engine, int64_t now_us) {
    if (foresight_ == Foresight::lru) {
        return engine.hint({0, engine.size(), HintKind::will_read, {}});
    }
    if (foresight_ == Foresight::rules) {
        return {};
    }
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
    set.horizon_us = kHorizonUs;
    for (const auto& [chunk, prediction] : chunks) {
        if (set.predictions.size() < kMaxPredictions) {
            set.predictions.push_back(prediction);
        }
    }
    return engine.set_predictions(std::move(set));
}

}  // namespace predsnap::replay
