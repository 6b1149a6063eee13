// SPDX-License-Identifier: GPL-2.0-or-later
#include "hints.h"

#include <algorithm>

namespace predsnap {

namespace {

// An access that may take longer than that is as relevant as one that may take so long.
constexpr double kPatientUs = 100'000;
constexpr float kPatientScore = 0.5f;

float score_of(const Hint& hint) {
    if (hint.kind == HintKind::cold) {
        return 0;
    }
    const double latency = hint.latency_us ? static_cast<double>(std::max<int64_t>(*hint.latency_us, 0)) : 0;
    return 1 - (1 - kPatientScore) * static_cast<float>(std::min(latency, kPatientUs) / kPatientUs);
}

}  // namespace

// Makes room for another one.
void Hints::cut(uint64_t begin, uint64_t end) {
    auto at = parts_.upper_bound(begin);
    if (at != parts_.begin()) {
        --at;
    }
    while (at != parts_.end() && at->first < end) {
        const uint64_t first = at->first;
        const Part part = at->second;
        if (part.end <= begin) {
            ++at;
            continue;
        }
        at = parts_.erase(at);
        if (first < begin) {
            Part& before = parts_[first] = part;
            before.end = begin;
        }
        if (part.end > end) {
            parts_[end] = part;
        }
    }
}

void Hints::drop_oldest() {
    parts_.erase(std::min_element(parts_.begin(), parts_.end(), [](const auto& a, const auto& b) {
        return a.second.until_us < b.second.until_us;
    }));
}

void Hints::add(const Hint& hint, int64_t now_us) {
    const uint64_t begin = hint.offset / kChunkBytes;
    const uint64_t end = (hint.offset + hint.length + kChunkBytes - 1) / kChunkBytes;
    expire(now_us);
    cut(begin, end);
    parts_[begin] = {end, hint.kind, score_of(hint), now_us + kLifetimeUs};
    while (parts_.size() > kMaxHints) {
        drop_oldest();
    }
}

Hints::Relevance Hints::find(uint64_t chunk, int64_t now_us) const {
    auto at = parts_.upper_bound(chunk);
    if (at == parts_.begin()) {
        return {};
    }
    const Part& part = (--at)->second;
    if (part.end <= chunk || part.until_us <= now_us) {
        return {};
    }
    switch (part.kind) {
        case HintKind::will_read:
            return {{}, part.score};
        case HintKind::will_write:
            return {part.score, {}};
        case HintKind::cold:
            break;
    }
    return {0.0f, 0.0f};
}

void Hints::expire(int64_t now_us) {
    std::erase_if(parts_, [&](const auto& part) { return part.second.until_us <= now_us; });
}

}  // namespace predsnap
