// SPDX-License-Identifier: GPL-2.0-or-later
#include "prediction.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "block/engine/prediction_table.h"

namespace predsnap::predict {
namespace {

// What is less likely is not worth telling.
constexpr float kTellMin = 0.02f;
// How far apart, in powers of two, chunks of one range are at most; where there are too many ranges, at the very most.
constexpr float kAlike = 0.5f, kAlikeMax = 2;
// What was told and what would be now: further apart than chunks of one range.
constexpr float kOtherwise = 1;
// The driver takes no more chunks at once: 16 GiB of the disk.
constexpr size_t kChunksMax = 262144;

float hundredths(float probability) { return std::round(std::clamp(probability, 0.f, 1.f) * 100) / 100; }

// Probabilities on a scale on which what is as far apart matters as much: there is little between 0 and 0.02.
float level(float probability) { return std::log2(probability + kTellMin); }

// On which side of the driver's own bounds (block/engine/forecast.cc, judge.cc) it is.
int side(const Prediction& p) {
    const int write = p.write < 0.25f ? 0 : p.write < 0.5f ? 1 : 2;
    const int change = p.change < 0 ? 0 : p.change <= 0.25f ? 1 : p.change <= 0.4f ? 2 : 3;
    return (write * 2 + (p.read < 0.5f ? 0 : 1)) * 4 + change;
}

// Neighbouring chunks that go into one range, as long as none is too far from another.
class RangeMaker {
  public:
    explicit RangeMaker(float distance_max) : distance_max_(distance_max) {}
    void add(const Prediction& chunk);
    std::vector<Prediction> take();

  private:
    struct Span {
        float low = 0, high = 0;
        bool fits(float value, float distance) const {
            return std::max(high, value) - std::min(low, value) <= distance;
        }
        void add(float value) {
            low = std::min(low, value);
            high = std::max(high, value);
        }
    };
    bool fits(const Prediction& chunk) const;
    void close();

    const float distance_max_;
    std::vector<Prediction> ranges_;
    Prediction sum_;  // of the range that is being made; its offset and length are those of the range
    size_t chunks_ = 0;
    int side_ = 0;
    Span write_, read_;
};

bool RangeMaker::fits(const Prediction& chunk) const {
    return chunks_ > 0 && sum_.offset + sum_.length == chunk.offset && side_ == side(chunk) &&
           write_.fits(level(chunk.write), distance_max_) && read_.fits(level(chunk.read), distance_max_);
}

void RangeMaker::add(const Prediction& chunk) {
    const float write = level(chunk.write), read = level(chunk.read);
    if (!fits(chunk)) {
        close();
        sum_ = {chunk.offset, 0, 0, 0, 0};
        side_ = side(chunk);
        write_ = {write, write};
        read_ = {read, read};
    }
    write_.add(write);
    read_.add(read);
    sum_.length += chunk.length;
    sum_.write += chunk.write;
    sum_.read += chunk.read;
    sum_.change += chunk.change;
    ++chunks_;
}

void RangeMaker::close() {
    if (chunks_ == 0) {
        return;
    }
    const auto count = static_cast<float>(chunks_);
    const float change = sum_.change / count;
    ranges_.push_back({sum_.offset, sum_.length, hundredths(sum_.write / count), hundredths(sum_.read / count),
                       change < 0 ? -1 : hundredths(change)});
    chunks_ = 0;
}

std::vector<Prediction> RangeMaker::take() {
    close();
    return std::move(ranges_);
}

void add_number(JsonObject* object, const char* name, float value) {
    json_object_set_double_member(object, name, std::round(static_cast<double>(value) * 100) / 100);
}

std::string packed(const std::vector<Prediction>& predictions) {
    std::vector<predsnap::Prediction> table;
    for (const Prediction& p : predictions) {
        table.push_back({p.offset, p.length, static_cast<double>(p.write), static_cast<double>(p.read),
                         p.change < 0 ? std::nullopt : std::optional(static_cast<double>(p.change))});
    }
    const std::vector<uint8_t> bytes = pack_predictions(table);
    gchar* encoded = g_base64_encode(bytes.data(), bytes.size());
    std::string result = encoded;
    g_free(encoded);
    return result;
}

JsonArray* list_of(const std::vector<Prediction>& predictions) {
    JsonArray* list = json_array_new();
    for (const Prediction& prediction : predictions) {
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
    return list;
}

}  // namespace

std::vector<Prediction> make_predictions(const Forecast& writes, const Forecast& reads, size_t ranges_max) {
    assert(writes.chunks == reads.chunks);
    std::vector<Prediction> chunks;
    for (size_t i = 0; i < writes.chunks.size(); ++i) {
        Prediction next{writes.chunks[i] << kChunkShift, kChunkSize, hundredths(writes.served[i]),
                        hundredths(reads.served[i]), -1};
        if (std::max(next.write, next.read) < kTellMin) {
            continue;
        }
        next.change = writes.changed.empty() || writes.changed[i] < 0 ? -1 : hundredths(writes.changed[i]);
        chunks.push_back(next);
    }
    const auto likelier = [](const Prediction& a, const Prediction& b) {
        return std::max(a.write, a.read) > std::max(b.write, b.read);
    };
    const auto before = [](const Prediction& a, const Prediction& b) { return a.offset < b.offset; };
    if (chunks.size() > kChunksMax) {
        std::nth_element(chunks.begin(), chunks.begin() + kChunksMax, chunks.end(), likelier);
        chunks.resize(kChunksMax);
        std::sort(chunks.begin(), chunks.end(), before);
    }
    std::vector<Prediction> ranges;
    for (float distance = kAlike; distance <= kAlikeMax; distance *= 2) {
        RangeMaker maker(distance);
        for (const Prediction& chunk : chunks) {
            maker.add(chunk);
        }
        ranges = maker.take();
        if (ranges.size() <= ranges_max) {
            return ranges;
        }
    }
    std::nth_element(ranges.begin(), ranges.begin() + static_cast<ptrdiff_t>(ranges_max), ranges.end(), likelier);
    ranges.resize(ranges_max);
    std::sort(ranges.begin(), ranges.end(), before);
    return ranges;
}

double changed_share(const std::vector<Prediction>& before, const std::vector<Prediction>& now) {
    const auto differ = [](const Prediction& a, const Prediction& b) {
        return side(a) != side(b) || std::abs(level(a.write) - level(b.write)) > kOtherwise ||
               std::abs(level(a.read) - level(b.read)) > kOtherwise;
    };
    uint64_t told = 0, changed = 0;
    size_t i = 0, k = 0;
    uint64_t at = 0;
    while (i < before.size() || k < now.size()) {
        // The next piece within which nothing begins or ends.
        const Prediction* a = i < before.size() ? &before[i] : nullptr;
        const Prediction* b = k < now.size() ? &now[k] : nullptr;
        at = std::max(at, std::min(a ? a->offset : UINT64_MAX, b ? b->offset : UINT64_MAX));
        const bool in_a = a && a->offset <= at, in_b = b && b->offset <= at;
        const uint64_t end = std::min({in_a ? a->offset + a->length : UINT64_MAX, in_b ? b->offset + b->length : UINT64_MAX,
                                       a && !in_a ? a->offset : UINT64_MAX, b && !in_b ? b->offset : UINT64_MAX});
        told += end - at;
        changed += in_a && in_b && !differ(*a, *b) ? 0 : end - at;
        at = end;
        i += a && a->offset + a->length <= at ? 1 : 0;
        k += b && b->offset + b->length <= at ? 1 : 0;
    }
    return told == 0 ? 0 : static_cast<double>(changed) / static_cast<double>(told);
}

JsonNode* to_arguments(const PredictionSet& set, const std::string& node_name, Form form) {
    JsonObject* arguments = json_object_new();
    json_object_set_string_member(arguments, "node-name", node_name.c_str());
    json_object_set_string_member(arguments, "model", set.model.c_str());
    json_object_set_int_member(arguments, "base-sequence", static_cast<gint64>(set.base_sequence));
    json_object_set_int_member(arguments, "horizon", set.horizon_us / kSecond);
    json_object_set_array_member(arguments, "predictions",
                                 form == Form::list ? list_of(set.predictions) : json_array_new());
    if (form == Form::packed) {
        json_object_set_string_member(arguments, "packed", packed(set.predictions).c_str());
    }
    json_object_set_int_member(arguments, "write-rate", static_cast<gint64>(set.write_rate));
    JsonNode* node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, arguments);
    return node;
}

}  // namespace predsnap::predict
