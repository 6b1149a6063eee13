// SPDX-License-Identifier: GPL-2.0-or-later
#include "prediction.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace predsnap::predict {
namespace {

// What is less likely is not worth telling.
constexpr float kTellMin = 0.02f;
// The driver takes no more chunks at once: 16 GiB of the disk.
constexpr size_t kChunksMax = 262144;

float hundredths(float probability) { return std::round(std::clamp(probability, 0.f, 1.f) * 100) / 100; }

bool goes_on(const Prediction& last, const Prediction& next) {
    return last.offset + last.length == next.offset && last.write == next.write && last.read == next.read &&
           last.change == next.change;
}

void add(std::vector<Prediction>& ranges, const Prediction& next) {
    if (!ranges.empty() && goes_on(ranges.back(), next)) {
        ranges.back().length += next.length;
    } else {
        ranges.push_back(next);
    }
}

void add_number(JsonObject* object, const char* name, float value) {
    json_object_set_double_member(object, name, std::round(static_cast<double>(value) * 100) / 100);
}

}  // namespace

std::vector<Prediction> make_predictions(const Forecast& writes, const Forecast& reads, const Activity& activity,
                                         size_t ranges_max) {
    assert(writes.chunks == reads.chunks);
    std::vector<Prediction> chunks;
    for (size_t i = 0; i < writes.chunks.size(); ++i) {
        Prediction next{writes.chunks[i] << kChunkShift, kChunkSize, hundredths(writes.served[i]),
                        hundredths(reads.served[i]), -1};
        if (std::max(next.write, next.read) < kTellMin) {
            continue;
        }
        const Chunk* chunk = activity.find(writes.chunks[i]);
        next.change = chunk == nullptr || chunk->changed < 0 ? -1 : hundredths(chunk->changed);
        chunks.push_back(next);
    }
    // The likeliest, as many as fit even if none of them are neighbours.
    const size_t most = std::min(ranges_max, kChunksMax);
    if (chunks.size() > most) {
        std::nth_element(chunks.begin(), chunks.begin() + static_cast<ptrdiff_t>(most), chunks.end(),
                         [](const Prediction& a, const Prediction& b) {
                             return std::max(a.write, a.read) > std::max(b.write, b.read);
                         });
        chunks.resize(most);
        std::sort(chunks.begin(), chunks.end(),
                  [](const Prediction& a, const Prediction& b) { return a.offset < b.offset; });
    }
    std::vector<Prediction> ranges;
    for (const Prediction& next : chunks) {
        add(ranges, next);
    }
    return ranges;
}

JsonNode* to_arguments(const PredictionSet& set, const std::string& node_name) {
    JsonArray* list = json_array_new();
    for (const Prediction& prediction : set.predictions) {
        JsonObject* object = json_object_new();
        json_object_set_int_member(object, "offset", static_cast<gint64>(prediction.offset));
        json_object_set_int_member(object, "length", static_cast<gint64>(prediction.length));
        add_number(object, "write", prediction.write);
        add_number(object, "read", prediction.read);
        if (prediction.change >= 0) {
            add_number(object, "change", prediction.change);
        }
        json_array_add_object_element(list, object);
    }
    JsonObject* arguments = json_object_new();
    json_object_set_string_member(arguments, "node-name", node_name.c_str());
    json_object_set_string_member(arguments, "model", set.model.c_str());
    json_object_set_int_member(arguments, "base-sequence", static_cast<gint64>(set.base_sequence));
    json_object_set_int_member(arguments, "horizon", set.horizon_us / kSecond);
    json_object_set_array_member(arguments, "predictions", list);
    json_object_set_int_member(arguments, "write-rate", static_cast<gint64>(set.write_rate));
    JsonNode* node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, arguments);
    return node;
}

}  // namespace predsnap::predict
