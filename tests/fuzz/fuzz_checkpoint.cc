// SPDX-License-Identifier: GPL-2.0-or-later
//
// The pages of a checkpoint. Input: pages, each of a kind (1), a length (2) and that many bytes of
// content. They get right headers and take the place of those in a valid image.
#include <algorithm>
#include <cstring>

#include "block/engine/format.h"
#include "hostile_image.h"

namespace predsnap::fuzz {

namespace {

constexpr uint32_t kSegment = 64 << 10;
constexpr uint32_t kPageContent = format::kPageSize - sizeof(format::PageHeader);

size_t first_page(const Image& image) {
    const auto* block = reinterpret_cast<const format::Superblock*>(image.data());
    const auto* other = reinterpret_cast<const format::Superblock*>(image.data() + kBlockSize);
    const uint32_t segment = std::min(block->checkpoint_segment, other->checkpoint_segment);
    return format::kSuperblockArea + size_t{segment} * kSegment + kBlockSize;
}

void append_page(Input& input, const uint8_t* page) {
    format::PageHeader header;
    std::memcpy(&header, page, sizeof(header));
    input.push_back(header.kind);
    input.push_back(static_cast<uint8_t>(header.bytes));
    input.push_back(static_cast<uint8_t>(header.bytes >> 8));
    input.insert(input.end(), page + sizeof(header), page + sizeof(header) + header.bytes);
}

}  // namespace

std::vector<Input> seeds() {
    const Image& image = valid_image(3);
    Input whole;
    for (size_t page = first_page(image); page < first_page(image) + kSegment - kBlockSize;
         page += format::kPageSize) {
        if (page + format::kPageSize <= image.size() &&
            std::memcmp(&image[page], format::kPageMagic, 4) == 0) {
            append_page(whole, &image[page]);
        }
    }
    return {{}, {5, 0, 0}, {3, 0, 0, 5, 0, 0}, whole};
}

}  // namespace predsnap::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace predsnap;
    fuzz::InputReader input(data, size);
    fuzz::Image image = fuzz::valid_image(3);
    const size_t first = fuzz::first_page(image);
    format::PageHeader header;
    std::memcpy(&header, &image[first], sizeof(header));
    // Three pages fit in a segment of 64 KiB behind its header.
    image.resize(std::max<size_t>(image.size(), first + 3 * format::kPageSize));
    for (uint32_t number = 0; number < 3; ++number) {
        header.number = number;
        header.kind = input.empty() ? static_cast<uint8_t>(format::PageKind::last) : input.byte();
        const size_t length = std::min<size_t>(input.number(2), fuzz::kPageContent);
        fuzz::Input content = input.bytes(length);
        header.bytes = static_cast<uint32_t>(content.size());
        uint8_t* page = &image[first + size_t{number} * format::kPageSize];
        std::memcpy(page, &header, sizeof(header));
        std::copy(content.begin(), content.end(), page + sizeof(header));
    }
    fuzz::mend(image);
    fuzz::use_image(std::move(image), {true, false});
    return 0;
}
