// SPDX-License-Identifier: GPL-2.0-or-later
//
// A whole image, edited. Input: which image; how to use it (bits); then edits, each of a place among the
// bytes of its structures (2), a width (1), and that many bytes of new content.
#include "hostile_image.h"

namespace predsnap::fuzz {

namespace {

enum : uint8_t { kUnmended = 1, kWritable = 2, kRepair = 4, kTruncate = 8 };
constexpr int kMaxEdits = 64;

void edit(Image& image, const std::vector<uint32_t>& places, InputReader& input) {
    const uint64_t first = input.number(2);
    const unsigned width = 1u << (input.byte() % 4);
    for (unsigned i = 0; i < width; ++i) {
        image[places[(first + i) % places.size()]] = input.byte();
    }
}

}  // namespace

// Edits that mean something: each field of each structure is hit by one seed or its mutations.
std::vector<Input> seeds() {
    std::vector<Input> list;
    for (uint8_t kind = 0; kind < kImageKinds; ++kind) {
        for (const uint8_t how : {0, 1, 2, 6, 10}) {
            list.push_back({kind, how});
        }
        const size_t places = structure_bytes(kind).size();
        for (size_t place = 0; place < places; place += 97) {
            const auto low = static_cast<uint8_t>(place), high = static_cast<uint8_t>(place >> 8);
            list.push_back({kind, static_cast<uint8_t>(place % 2 * kWritable), low, high, 2, 0xff, 0xff,
                            0xff, 0x7f});
        }
    }
    return list;
}

}  // namespace predsnap::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace predsnap::fuzz;
    InputReader input(data, size);
    const uint32_t kind = input.byte() % kImageKinds;
    const uint8_t how = input.byte();
    Image image = valid_image(kind);
    for (int n = 0; n < kMaxEdits && !input.empty(); ++n) {
        edit(image, structure_bytes(kind), input);
    }
    if ((how & kTruncate) != 0) {
        image.resize(image.size() / 256 * (how >> 4) * 16);
    }
    if ((how & kUnmended) == 0) {
        mend(image);
    }
    use_image(std::move(image), {(how & kWritable) != 0, (how & kRepair) != 0});
    return 0;
}
