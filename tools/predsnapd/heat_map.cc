// SPDX-License-Identifier: GPL-2.0-or-later
#include "heat_map.h"

#include <algorithm>
#include <numeric>

namespace predsnap::predict {

void HeatMapMaker::add(const Settled& settled) {
    const std::vector<float>& served = settled.forecast.served;
    std::vector<uint32_t> order(served.size());
    std::iota(order.begin(), order.end(), 0);
    const auto count = std::count(settled.came.begin(), settled.came.end(), true);
    std::partial_sort(order.begin(), order.begin() + count, order.end(),
                      [&](uint32_t a, uint32_t b) { return served[a] > served[b]; });
    std::vector<bool> predicted(served.size());
    for (ptrdiff_t i = 0; i < count; ++i) {
        predicted[order[static_cast<size_t>(i)]] = true;
    }
    for (size_t i = 0; i < served.size(); ++i) {
        if (predicted[i] || settled.came[i]) {
            marks_.push_back({settled.forecast.time_us, settled.forecast.chunks[i], settled.came[i], predicted[i]});
        }
    }
}

HeatMap HeatMapMaker::make() const {
    HeatMap map;
    if (marks_.empty()) {
        return map;
    }
    std::vector<ChunkId> ids;
    for (const Mark& mark : marks_) {
        ids.push_back(mark.id);
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    const int64_t end_us = marks_.back().time_us + 1;
    map.span_s = static_cast<double>(end_us) * 1e-6;
    for (const Mark& mark : marks_) {
        const auto column = static_cast<size_t>(static_cast<double>(mark.time_us) / static_cast<double>(end_us) *
                                                static_cast<double>(kMapColumns));
        const auto rank = static_cast<size_t>(std::lower_bound(ids.begin(), ids.end(), mark.id) - ids.begin());
        HeatMap::Cell& cell = map.cells[std::min(column, kMapColumns - 1) * kMapRows + rank * kMapRows / ids.size()];
        cell.came |= mark.came;
        cell.predicted |= mark.predicted;
    }
    return map;
}

}  // namespace predsnap::predict
