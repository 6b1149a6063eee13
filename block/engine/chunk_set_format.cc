// SPDX-License-Identifier: GPL-2.0-or-later
//
// Chunk sets as roaring bitmaps (github.com/RoaringBitmap/RoaringFormatSpec). Of each 65536 numbers that any is in the
// set of there is a container: up to 4096 of them as an array, more as bits, or either as runs.
#include <algorithm>
#include <bit>
#include <cstring>

#include "chunk_set.h"

namespace predsnap {

namespace {

constexpr uint32_t kCookieWithoutRuns = 12346;  // then how many containers there are, 4 bytes
constexpr uint32_t kCookie = 12347;             // with that less one in the upper half; then a bit for each that has runs
constexpr size_t kMostInArray = 4096;
constexpr size_t kBitsetBytes = 8192;
constexpr size_t kOffsetsFrom = 4;  // with runs, fewer containers have no offsets

using Run = ChunkSet::Run;

template <typename T>
void put(std::vector<uint8_t>& out, T value) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    out.insert(out.end(), bytes, bytes + sizeof(value));
}

// Runs within one container, their numbers in it.
struct Container {
    uint16_t key = 0;
    std::vector<Run> runs;
    size_t count = 0;

    bool as_runs() const { return 2 + 4 * runs.size() < other_bytes(); }
    size_t bytes() const { return as_runs() ? 2 + 4 * runs.size() : other_bytes(); }
    void encode(std::vector<uint8_t>& out) const;

  private:
    size_t other_bytes() const { return count <= kMostInArray ? 2 * count : kBitsetBytes; }
};

void Container::encode(std::vector<uint8_t>& out) const {
    if (as_runs()) {
        put(out, static_cast<uint16_t>(runs.size()));
        for (const Run& run : runs) {
            put(out, static_cast<uint16_t>(run.first));
            put(out, static_cast<uint16_t>(run.last - run.first));
        }
        return;
    }
    const size_t begin = out.size();
    out.resize(begin + (count > kMostInArray ? kBitsetBytes : 0));
    for (const Run& run : runs) {
        for (uint32_t i = run.first; i <= run.last; ++i) {
            if (count > kMostInArray) {
                out[begin + i / 8] = static_cast<uint8_t>(out[begin + i / 8] | 1u << i % 8);
            } else {
                put(out, static_cast<uint16_t>(i));
            }
        }
    }
}

std::vector<Container> cut(const std::vector<Run>& runs) {
    std::vector<Container> containers;
    for (const Run& run : runs) {
        for (uint64_t first = run.first; first <= run.last;) {
            const uint64_t last = std::min<uint64_t>(run.last, first | 0xffff);
            const auto key = static_cast<uint16_t>(first >> 16);
            if (containers.empty() || containers.back().key != key) {
                containers.push_back({key, {}, 0});
            }
            containers.back().runs.push_back({static_cast<uint32_t>(first & 0xffff), static_cast<uint32_t>(last & 0xffff)});
            containers.back().count += last - first + 1;
            first = last + 1;
        }
    }
    return containers;
}

class Decoder {
  public:
    Decoder(std::span<const uint8_t> bytes, size_t max_runs) : bytes_(bytes), max_runs_(max_runs) {}

    bool decode(ChunkSet* set);

  private:
    template <typename T>
    T number() {
        T value{};
        if (bytes_.size() - at_ < sizeof(value)) {
            short_ = true;
            return value;
        }
        std::memcpy(&value, bytes_.data() + at_, sizeof(value));
        at_ += sizeof(value);
        return value;
    }
    bool add(uint32_t base, uint32_t first, uint32_t last);
    bool decode_array(uint32_t base, size_t count);
    bool decode_bits(uint32_t base, size_t count);
    bool decode_runs(uint32_t base, size_t count);

    std::span<const uint8_t> bytes_;
    size_t at_ = 0;
    bool short_ = false;
    const size_t max_runs_;
    ChunkSet* set_ = nullptr;
};

// False if there are too many.
bool Decoder::add(uint32_t base, uint32_t first, uint32_t last) {
    set_->append(base + first, base + last);
    return set_->runs().size() <= max_runs_;
}

bool Decoder::decode_array(uint32_t base, size_t count) {
    int64_t before = -1;
    for (size_t i = 0; i < count; ++i) {
        const auto value = number<uint16_t>();
        if (short_ || value <= before || !add(base, value, value)) {
            return false;
        }
        before = value;
    }
    return true;
}

bool Decoder::decode_bits(uint32_t base, size_t count) {
    size_t found = 0;
    for (uint32_t word = 0; word < kBitsetBytes / 8; ++word) {
        auto bits = number<uint64_t>();
        if (short_) {
            return false;
        }
        found += static_cast<size_t>(std::popcount(bits));
        while (bits != 0) {
            const auto first = static_cast<uint32_t>(std::countr_zero(bits));
            const auto length = static_cast<uint32_t>(std::countr_one(bits >> first));
            if (!add(base, word * 64 + first, word * 64 + first + length - 1)) {
                return false;
            }
            bits &= length == 64 ? 0 : ~(((uint64_t{1} << length) - 1) << first);
        }
    }
    return found == count;
}

bool Decoder::decode_runs(uint32_t base, size_t count) {
    const auto runs = number<uint16_t>();
    int64_t end = -1;  // behind the run before
    size_t found = 0;
    for (uint32_t i = 0; i < runs; ++i) {
        const uint32_t first = number<uint16_t>();
        const uint32_t last = first + number<uint16_t>();
        if (short_ || last > 0xffff || (end >= 0 && first <= end) || !add(base, first, last)) {
            return false;
        }
        found += last - first + 1;
        end = last + 1;
    }
    return found == count;
}

bool Decoder::decode(ChunkSet* set) {
    set_ = set;
    const auto cookie = number<uint32_t>();
    const bool has_runs = (cookie & 0xffff) == kCookie;
    if (!has_runs && cookie != kCookieWithoutRuns) {
        return false;
    }
    const size_t containers = has_runs ? (cookie >> 16) + 1 : number<uint32_t>();
    const size_t flag_bytes = has_runs ? (containers + 7) / 8 : 0;
    const bool has_offsets = !has_runs || containers >= kOffsetsFrom;
    if (short_ || containers > 65536 || bytes_.size() - at_ < flag_bytes + containers * (has_offsets ? 8 : 4)) {
        return false;
    }
    const uint8_t* const flags = bytes_.data() + at_;
    at_ += flag_bytes;
    const uint8_t* const keys = bytes_.data() + at_;
    at_ += containers * 4;
    const uint8_t* const offsets = bytes_.data() + at_;
    at_ += has_offsets ? containers * 4 : 0;
    int64_t before = -1;
    for (size_t i = 0; i < containers; ++i) {
        uint16_t head[2];  // key, and how many it holds less one
        uint32_t offset = static_cast<uint32_t>(at_);
        std::memcpy(head, keys + 4 * i, sizeof(head));
        if (has_offsets) {
            std::memcpy(&offset, offsets + 4 * i, sizeof(offset));
        }
        if (head[0] <= before || offset != at_) {
            return false;
        }
        before = head[0];
        const uint32_t base = uint32_t{head[0]} << 16;
        const size_t count = head[1] + size_t{1};
        const bool runs = has_runs && (flags[i / 8] >> i % 8 & 1) != 0;
        const bool good = runs                    ? decode_runs(base, count)
                          : count > kMostInArray ? decode_bits(base, count)
                                                  : decode_array(base, count);
        if (!good) {
            return false;
        }
    }
    return at_ == bytes_.size();
}

}  // namespace

std::vector<uint8_t> ChunkSet::encode() const {
    const std::vector<Container> containers = cut(runs_);
    const bool has_runs = std::any_of(containers.begin(), containers.end(), [](const Container& c) { return c.as_runs(); });
    const bool has_offsets = !has_runs || containers.size() >= kOffsetsFrom;
    std::vector<uint8_t> out;
    if (has_runs) {
        put(out, static_cast<uint32_t>(kCookie | (containers.size() - 1) << 16));
        const size_t flags = out.size();
        out.resize(flags + (containers.size() + 7) / 8);
        for (size_t i = 0; i < containers.size(); ++i) {
            out[flags + i / 8] = static_cast<uint8_t>(out[flags + i / 8] | (containers[i].as_runs() ? 1u << i % 8 : 0));
        }
    } else {
        put(out, kCookieWithoutRuns);
        put(out, static_cast<uint32_t>(containers.size()));
    }
    for (const Container& container : containers) {
        put(out, container.key);
        put(out, static_cast<uint16_t>(container.count - 1));
    }
    size_t offset = out.size() + (has_offsets ? 4 * containers.size() : 0);
    for (const Container& container : containers) {
        if (has_offsets) {
            put(out, static_cast<uint32_t>(offset));
        }
        offset += container.bytes();
    }
    for (const Container& container : containers) {
        container.encode(out);
    }
    return out;
}

std::optional<ChunkSet> ChunkSet::decode(std::span<const uint8_t> bytes, size_t max_runs) {
    ChunkSet set;
    Decoder decoder(bytes, max_runs);
    if (!decoder.decode(&set)) {
        return std::nullopt;
    }
    return set;
}

}  // namespace predsnap
