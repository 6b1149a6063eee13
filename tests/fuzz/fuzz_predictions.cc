// SPDX-License-Identifier: GPL-2.0-or-later
//
// Predictions as a client packs them. Input: the packed bytes.
#include <cstdlib>

#include "block/engine/prediction_table.h"
#include "target.h"

namespace predsnap::fuzz {
namespace {

constexpr uint64_t kDisk = (uint64_t{40} << 30) + 512;

Input sample(uint64_t count, uint64_t apart) {
    std::vector<Prediction> predictions;
    for (uint64_t i = 0; i < count; ++i) {
        predictions.push_back({i * apart * kChunkBytes, (1 + i % 3) * kChunkBytes, 0.5, 0.01 * static_cast<double>(i % 100),
                               i % 2 == 0 ? std::optional(0.25) : std::nullopt});
    }
    return pack_predictions(predictions);
}

}  // namespace

std::vector<Input> seeds() { return {{}, sample(0, 3), sample(1, 3), sample(40, 3), sample(20, 500), sample(9, 100'000)}; }

}  // namespace predsnap::fuzz

// What is taken is on the disk, in order, and comes back when it is packed again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace predsnap;
    const auto found = unpack_predictions({data, size}, fuzz::kDisk);
    if (!found.ok()) {
        return 0;
    }
    uint64_t end = 0;
    for (const Prediction& one : found.value()) {
        if (one.offset < end || one.length == 0 || one.length > fuzz::kDisk - one.offset || one.write > 1 || one.read > 1) {
            std::abort();
        }
        end = one.offset + one.length;
    }
    const auto again = unpack_predictions(pack_predictions(found.value()), fuzz::kDisk);
    if (!again.ok() || again.value().size() != found.value().size()) {
        std::abort();
    }
    return 0;
}
