// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is told to the driver: ranges of the disk with probabilities.
#pragma once

#include <json-glib/json-glib.h>

#include <string>
#include <vector>

#include "forecaster.h"

namespace predsnap::predict {

struct Prediction {
    uint64_t offset = 0, length = 0;  // bytes
    float write = 0, read = 0;        // probabilities, in hundredths
    float change = -1;                // share of bytes that a write changes; below 0: not known
    bool operator==(const Prediction&) const = default;
};

struct PredictionSet {
    std::string model;  // who says so
    uint64_t base_sequence = 0;
    int64_t horizon_us = 0;
    double write_rate = 0;  // bytes a second
    std::vector<Prediction> predictions;
};

// Puts the forecasts of writes and of reads at one moment together: at most so many ranges, in order, the likeliest.
// Neighbours that are alike are one range, with their mean: the more alike, the fewer ranges it takes to say all.
std::vector<Prediction> make_predictions(const Forecast& writes, const Forecast& reads, size_t ranges_max);

// The share of all chunks told before or now of which the driver would think otherwise.
double changed_share(const std::vector<Prediction>& before, const std::vector<Prediction>& now);

// The arguments of predsnap-set-predictions. The caller owns the node. Packed, it takes QEMU a tenth of the time, as QEMU's
// monitor reads a byte at a time; a list is for people, and for a QEMU that does not know the other form.
enum class Form : uint8_t { list, packed };
JsonNode* to_arguments(const PredictionSet& set, const std::string& node_name, Form form);

}  // namespace predsnap::predict
