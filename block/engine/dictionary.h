// SPDX-License-Identifier: GPL-2.0-or-later
//
// Dictionaries: what the frames of a stream have in common, so that each needs not say it again. A frame is only 16 KiB,
// so that one can be read alone; of that, half is over before a compressor has seen anything twice. A dictionary is
// trained on a sample of the stream's data and kept in the stream where what it saves on the rest of the sample makes
// more, for the whole stream, than it takes itself.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "result.h"

struct ZSTD_CDict_s;
struct ZSTD_DDict_s;

namespace predsnap {

class Dictionary {
  public:
    // To read with. Errors: EIO for what is no dictionary, or has another id.
    static Result<std::shared_ptr<const Dictionary>> load(std::vector<uint8_t> bytes, uint32_t id);
    // To write with. Null if it cannot be made.
    static std::shared_ptr<const Dictionary> make(std::vector<uint8_t> bytes, int level);
    ~Dictionary();
    Dictionary(const Dictionary&) = delete;

    uint32_t id() const { return id_; }  // never 0
    const std::vector<uint8_t>& bytes() const { return bytes_; }
    int level() const { return level_; }

    // One of them is null: what it was not made for.
    const ZSTD_CDict_s* packing() const { return packing_; }
    const ZSTD_DDict_s* unpacking() const { return unpacking_; }

  private:
    Dictionary() = default;

    uint32_t id_ = 0;
    int level_ = 0;
    std::vector<uint8_t> bytes_;
    ZSTD_CDict_s* packing_ = nullptr;
    ZSTD_DDict_s* unpacking_ = nullptr;
};

// Chooses the dictionary for a stream of so many frames. `sample`: frames of it, each of the size of the first but for the
// last. `last`: one that paid before, or null. `train`: whether another may be made, if that does not pay. CPU-heavy.
struct DictionaryChoice {
    std::shared_ptr<const Dictionary> dictionary;  // null: none pays
    uint64_t expected_saving = 0;                  // bytes, of the stream, less what the dictionary takes
    bool trained = false;
};
DictionaryChoice choose_dictionary(std::span<const std::vector<uint8_t>> sample, uint64_t frames, int level,
                                   std::shared_ptr<const Dictionary> last, bool train);

}  // namespace predsnap
