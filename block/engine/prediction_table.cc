// SPDX-License-Identifier: GPL-2.0-or-later
#include "prediction_table.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "text.h"

namespace predsnap {
namespace {

constexpr uint8_t kVersion = 1, kUnsaid = 255, kWhole = 100;
constexpr int kNumberBits = 49;  // 7 bytes: more chunks than any disk has
constexpr uint64_t kChunkNumberMax = UINT64_MAX / kChunkBytes / 2;

void put(std::vector<uint8_t>& bytes, uint64_t number) {
    for (; number >= 0x80; number >>= 7) {
        bytes.push_back(static_cast<uint8_t>(number | 0x80));
    }
    bytes.push_back(static_cast<uint8_t>(number));
}

uint8_t hundredths(double share) { return static_cast<uint8_t>(std::lround(std::clamp(share, 0.0, 1.0) * kWhole)); }

class Unpacker {
  public:
    Unpacker(std::span<const uint8_t> bytes, uint64_t disk_size) : bytes_(bytes), disk_size_(disk_size) {}
    Result<std::vector<Prediction>> run();

  private:
    Error wrong(const char* what) const {
        return {EINVAL, text("the packed predictions %s at byte %zu of %zu", what, at_, bytes_.size())};
    }
    Result<uint8_t> byte();
    Result<uint64_t> number();
    Result<double> share();
    Result<void> range();

    const std::span<const uint8_t> bytes_;
    const uint64_t disk_size_;
    size_t at_ = 0;
    uint64_t chunk_ = 0;  // after the last range
    std::vector<Prediction> predictions_;
};

Result<uint8_t> Unpacker::byte() {
    if (at_ == bytes_.size()) {
        return wrong("are cut off");
    }
    return bytes_[at_++];
}

Result<uint64_t> Unpacker::number() {
    uint64_t value = 0;
    for (int shift = 0; shift < kNumberBits; shift += 7) {
        TRY_ASSIGN(const uint8_t next, byte());
        value |= uint64_t{next & 0x7fu} << shift;
        if (next < 0x80) {
            return value;
        }
    }
    return wrong("have a number of more than 7 bytes");
}

Result<double> Unpacker::share() {
    TRY_ASSIGN(const uint8_t value, byte());
    if (value > kWhole) {
        return wrong("say more than 100 hundredths");
    }
    return static_cast<double>(value) / kWhole;
}

Result<void> Unpacker::range() {
    TRY_ASSIGN(const uint64_t skipped, number());
    TRY_ASSIGN(const uint64_t count, number());
    Prediction prediction;
    TRY_ASSIGN(prediction.write, share());
    TRY_ASSIGN(prediction.read, share());
    if (at_ < bytes_.size() && bytes_[at_] == kUnsaid) {
        ++at_;
    } else {
        TRY_ASSIGN(prediction.change, share());
    }
    const uint64_t first = chunk_ + skipped;
    chunk_ = first + count + 1;
    if (chunk_ > kChunkNumberMax) {
        return wrong("go beyond what a disk can be");
    }
    if (first * kChunkBytes >= disk_size_) {
        return {};
    }
    if (predictions_.size() == kMaxPredictions) {
        return Error{E2BIG, text("too many predictions are packed: at most %zu are taken", kMaxPredictions)};
    }
    prediction.offset = first * kChunkBytes;
    prediction.length = std::min((count + 1) * kChunkBytes, disk_size_ - prediction.offset);
    predictions_.push_back(prediction);
    return {};
}

Result<std::vector<Prediction>> Unpacker::run() {
    TRY_ASSIGN(const uint8_t version, byte());
    if (version != kVersion) {
        return wrong("are of a version that is not known");
    }
    while (at_ < bytes_.size()) {
        TRY(range());
    }
    return std::move(predictions_);
}

}  // namespace

std::vector<uint8_t> pack_predictions(std::span<const Prediction> predictions) {
    std::vector<uint8_t> bytes = {kVersion};
    uint64_t chunk = 0;
    for (const Prediction& prediction : predictions) {
        const uint64_t first = prediction.offset / kChunkBytes;
        const uint64_t count = (prediction.length + kChunkBytes - 1) / kChunkBytes;
        assert(first >= chunk && count > 0);
        put(bytes, first - chunk);
        put(bytes, count - 1);
        bytes.push_back(hundredths(prediction.write));
        bytes.push_back(hundredths(prediction.read));
        bytes.push_back(prediction.change ? hundredths(*prediction.change) : kUnsaid);
        chunk = first + count;
    }
    return bytes;
}

Result<std::vector<Prediction>> unpack_predictions(std::span<const uint8_t> packed, uint64_t disk_size) {
    return Unpacker(packed, disk_size).run();
}

}  // namespace predsnap
