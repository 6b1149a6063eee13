// SPDX-License-Identifier: GPL-2.0-or-later
//
// A superblock. Input: a bit that asks for right checksums, then the bytes of both slots, by turns of
// 8 bytes, laid over those of a valid image.
#include <cstring>

#include "block/engine/checksum.h"
#include "block/engine/format.h"
#include "hostile_image.h"

namespace predsnap::fuzz {

std::vector<Input> seeds() {
    std::vector<Input> list{{0}, {1}};
    for (size_t field = 0; field < 152; field += 8) {
        Input input{0};
        const Image& image = valid_image(3);
        for (size_t at = 0; at < field; at += 8) {
            for (size_t slot = 0; slot < format::kSuperblockSlots; ++slot) {
                input.insert(input.end(), &image[slot * kBlockSize + at], &image[slot * kBlockSize + at + 8]);
            }
        }
        for (int i = 0; i < 16; ++i) {
            input.push_back(0xff);
        }
        list.push_back(std::move(input));
    }
    return list;
}

}  // namespace predsnap::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace predsnap;
    fuzz::InputReader input(data, size);
    const bool unmended = (input.byte() & 1) != 0;
    fuzz::Image image = fuzz::valid_image(3);
    for (size_t at = 0; at < kBlockSize && !input.empty(); at += 8) {
        for (size_t slot = 0; slot < format::kSuperblockSlots; ++slot) {
            const fuzz::Input bytes = input.bytes(8);
            std::copy(bytes.begin(), bytes.end(), image.begin() + static_cast<ptrdiff_t>(slot * kBlockSize + at));
        }
    }
    for (size_t slot = 0; !unmended && slot < format::kSuperblockSlots; ++slot) {
        auto* block = reinterpret_cast<format::Superblock*>(&image[slot * kBlockSize]);
        block->checksum = self_hash(0, *block);
    }
    fuzz::use_image(std::move(image), {true, false});
    return 0;
}
