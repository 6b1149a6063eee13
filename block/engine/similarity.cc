// SPDX-License-Identifier: GPL-2.0-or-later
#include "similarity.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace predsnap {

namespace {

// From this chunk on, this stream's changes begin (or end): the share of a chunk that they leave as it was is multiplied
// in (or out again), as a logarithm.
struct Step {
    uint64_t chunk;
    double untouched_log;
};

}  // namespace

uint64_t expected_union(std::span<const Changed> streams) {
    std::vector<Step> steps;
    uint64_t most = 0, sum = 0;
    for (const Changed& stream : streams) {
        const uint64_t chunks = stream.chunks.count();
        most = std::max(most, stream.sectors);
        sum += stream.sectors;
        if (chunks == 0) {
            continue;
        }
        const double density = static_cast<double>(stream.sectors) / static_cast<double>(chunks * kChunkSectors);
        const double untouched_log = std::log1p(-std::min(density, 0.9999));
        for (const ChunkSet::Run& run : stream.chunks.runs()) {
            steps.push_back({run.first, untouched_log});
            steps.push_back({uint64_t{run.last} + 1, -untouched_log});
        }
    }
    std::sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.chunk < b.chunk; });
    double expected = 0, untouched_log = 0;
    for (size_t i = 0; i < steps.size(); ++i) {
        untouched_log += steps[i].untouched_log;
        const uint64_t next = i + 1 < steps.size() ? steps[i + 1].chunk : steps[i].chunk;
        expected -= std::expm1(std::min(untouched_log, 0.0)) * static_cast<double>((next - steps[i].chunk) * kChunkSectors);
    }
    return std::clamp(static_cast<uint64_t>(expected), most, sum);
}

}  // namespace predsnap
