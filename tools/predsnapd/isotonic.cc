// SPDX-License-Identifier: GPL-2.0-or-later
#include "isotonic.h"

#include <algorithm>

namespace predsnap::predict {
namespace {

struct Block {
    double scores = 0, came = 0, count = 0;
    double mean() const { return came / count; }
};

// Equal scores are one block; then neighbours that do not rise are joined.
std::vector<Block> pool(std::span<const Outcome> sorted) {
    std::vector<Block> blocks;
    for (size_t i = 0; i < sorted.size();) {
        Block block;
        const float score = sorted[i].score;
        for (; i < sorted.size() && sorted[i].score == score; ++i) {
            const double weight = sorted[i].weight;
            block.scores += score * weight;
            block.came += sorted[i].came ? weight : 0;
            block.count += weight;
        }
        blocks.push_back(block);
        while (blocks.size() > 1 && blocks[blocks.size() - 2].mean() >= blocks.back().mean()) {
            Block& below = blocks[blocks.size() - 2];
            below.scores += blocks.back().scores;
            below.came += blocks.back().came;
            below.count += blocks.back().count;
            blocks.pop_back();
        }
    }
    return blocks;
}

}  // namespace

Isotonic::Isotonic(std::vector<Outcome> outcomes) {
    const auto came = std::count_if(outcomes.begin(), outcomes.end(), [](const Outcome& o) { return o.came; });
    if (came == 0 || came == static_cast<ptrdiff_t>(outcomes.size())) {
        return;
    }
    std::sort(outcomes.begin(), outcomes.end(),
              [](const Outcome& a, const Outcome& b) { return a.score < b.score; });
    for (const Block& block : pool(outcomes)) {
        // As if one more had come and one more had not: never quite 0 or 1.
        const double probability = (block.came + 0.5) / (block.count + 1);
        knots_.push_back({static_cast<float>(block.scores / block.count), static_cast<float>(probability)});
    }
    for (size_t i = 1; i < knots_.size(); ++i) {
        knots_[i].probability = std::max(knots_[i].probability, knots_[i - 1].probability);
    }
}

float Isotonic::operator()(float score) const {
    if (knots_.empty()) {
        return std::clamp(score, 0.f, 1.f);
    }
    const auto above = std::lower_bound(knots_.begin(), knots_.end(), score,
                                        [](const Knot& knot, float s) { return knot.score < s; });
    if (above == knots_.begin()) {
        return above->probability;
    }
    if (above == knots_.end()) {
        return knots_.back().probability;
    }
    const Knot &low = *(above - 1), &high = *above;
    const float part = (score - low.score) / (high.score - low.score);
    return low.probability + part * (high.probability - low.probability);
}

}  // namespace predsnap::predict
