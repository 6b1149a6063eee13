// SPDX-License-Identifier: GPL-2.0-or-later
#include "dictionary.h"

#include <zdict.h>
#include <zstd.h>

#include <algorithm>

#include "format.h"
#include "frame.h"

namespace predsnap {

namespace {

// Of what it is trained on, a dictionary holds this part.
constexpr size_t kPartKept = 32;
constexpr size_t kLeastBytes = 4 << 10;
constexpr size_t kMostBytes = 64 << 10;
static_assert(kMostBytes <= format::kMaxDictionaryBytes);
// Random data is not worth a training. In sixteenths of what it takes unpacked.
constexpr uint64_t kWorthTraining = 15;

uint64_t packed_bytes(FramePacker& packer, std::span<const std::vector<uint8_t>> sample, size_t first, int level,
                      const Dictionary* dictionary) {
    std::vector<uint8_t> packed;
    uint64_t bytes = 0;
    for (size_t i = first; i < sample.size(); i += 2) {
        packer.pack(sample[i], level, dictionary, &packed);
        bytes += packed.empty() ? sample[i].size() : packed.size();
    }
    return bytes;
}

// On every other frame: the rest tells what it is worth.
std::shared_ptr<const Dictionary> train_dictionary(std::span<const std::vector<uint8_t>> sample, int level) {
    std::vector<uint8_t> data;
    std::vector<size_t> sizes;
    for (size_t i = 0; i < sample.size(); i += 2) {
        data.insert(data.end(), sample[i].begin(), sample[i].end());
        sizes.push_back(sample[i].size());
    }
    std::vector<uint8_t> bytes(std::clamp(data.size() / kPartKept, kLeastBytes, kMostBytes));
    const size_t length = ZDICT_trainFromBuffer(bytes.data(), bytes.size(), data.data(), sizes.data(),
                                                static_cast<unsigned>(sizes.size()));
    if (ZDICT_isError(length) != 0) {
        return nullptr;  // there is too little in common
    }
    bytes.resize(length);
    return Dictionary::make(std::move(bytes), level);
}

}  // namespace

Dictionary::~Dictionary() {
    ZSTD_freeCDict(packing_);
    ZSTD_freeDDict(unpacking_);
}

Result<std::shared_ptr<const Dictionary>> Dictionary::load(std::vector<uint8_t> bytes, uint32_t id) {
    const auto dictionary = std::shared_ptr<Dictionary>(new Dictionary());
    dictionary->id_ = id;
    dictionary->bytes_ = std::move(bytes);
    if (id != 0 && ZDICT_getDictID(dictionary->bytes_.data(), dictionary->bytes_.size()) == id) {
        dictionary->unpacking_ = ZSTD_createDDict(dictionary->bytes_.data(), dictionary->bytes_.size());
    }
    if (dictionary->unpacking_ == nullptr) {
        return Error{EIO, "what should be a dictionary is none"};
    }
    return std::shared_ptr<const Dictionary>(dictionary);
}

std::shared_ptr<const Dictionary> Dictionary::make(std::vector<uint8_t> bytes, int level) {
    const auto dictionary = std::shared_ptr<Dictionary>(new Dictionary());
    dictionary->id_ = ZDICT_getDictID(bytes.data(), bytes.size());
    dictionary->level_ = level;
    dictionary->bytes_ = std::move(bytes);
    dictionary->packing_ = ZSTD_createCDict(dictionary->bytes_.data(), dictionary->bytes_.size(), level);
    const bool good = dictionary->id_ != 0 && dictionary->packing_ != nullptr;
    return good ? dictionary : nullptr;
}

DictionaryChoice choose_dictionary(std::span<const std::vector<uint8_t>> sample, uint64_t frames, int level,
                                   std::shared_ptr<const Dictionary> last, bool train) {
    DictionaryChoice choice;
    if (sample.size() < 2) {
        return choice;
    }
    FramePacker packer;
    const uint64_t tested = sample.size() / 2;
    const uint64_t plain = packed_bytes(packer, sample, 1, level, nullptr);
    const auto consider = [&](std::shared_ptr<const Dictionary> dictionary) {
        const uint64_t with = packed_bytes(packer, sample, 1, level, dictionary.get());
        const uint64_t saved = with < plain ? (plain - with) * frames / tested : 0;
        if (saved > dictionary->bytes().size() + choice.expected_saving) {
            choice.expected_saving = saved - dictionary->bytes().size();
            choice.dictionary = std::move(dictionary);
        }
    };
    if (last != nullptr && last->level() != level) {
        last = Dictionary::make(last->bytes(), level);
    }
    if (last != nullptr) {
        consider(std::move(last));
    }
    const uint64_t unpacked = tested * sample.front().size();
    if (choice.dictionary == nullptr && train && plain < unpacked / 16 * kWorthTraining) {
        choice.trained = true;
        if (auto made = train_dictionary(sample, level); made != nullptr) {
            consider(std::move(made));
        }
    }
    return choice;
}

}  // namespace predsnap
