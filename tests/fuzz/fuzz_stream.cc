// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reading a stream, edited: its index with the change vectors, its dictionary, its frames. Input: how (bits); then edits,
// each of a place (2) from the beginning of one of the parts, a width (1), and that many bytes of new content.
#include <cstdlib>
#include <cstring>
#include <string>

#include "block/engine/checksum.h"
#include "block/engine/stream.h"
#include "target.h"
#include "tests/engine/fiber_host.h"
#include "tests/engine/memory_device.h"

namespace predsnap::fuzz {

namespace {

using format::FrameRow;
using format::kFrameSectors;
using format::StreamIndexHeader;

enum : uint8_t { kUnmended = 1, kHeader = 2, kVectors = 4, kDictionary = 8, kNoDictionary = 16, kFrames = 32 };
constexpr uint32_t kSegment = 1 << 20;
constexpr uint64_t kFrameCount = 6;
constexpr uint64_t kReferring = 2;  // of them: the first ones are stored after what a pack has
constexpr uint64_t kGap = 40;  // between extents
constexpr size_t kFrameBytes = kFrameSectors * kSectorSize;
constexpr int kMaxEdits = 64;

// Rows of a table, of which the dictionary knows some.
std::vector<uint8_t> frame_of(uint64_t number) {
    uint64_t random = number * 0x9e3779b97f4a7c15 + 1;
    std::vector<uint8_t> frame;
    while (frame.size() < kFrameBytes) {
        random = random * 6364136223846793005 + 1442695040888963407;
        const uint64_t row = random >> 33;
        const std::string text = "row " + std::to_string(row % 97) + " of a table, its value " +
                                 std::to_string(row % 97 * 7919) + ";" + std::to_string(row);
        frame.insert(frame.end(), text.begin(), text.end());
    }
    frame.resize(kFrameBytes);
    return frame;
}

// Much like a frame.
std::vector<uint8_t> changed_frame_of(uint64_t number) {
    std::vector<uint8_t> frame = frame_of(number);
    for (size_t at = 100; at < frame.size(); at += 1000) {
        frame[at] ^= 1;
    }
    return frame;
}

struct Sample {
    StreamInfo pack, stream;
    std::vector<uint8_t> content, image;
};

Result<void> write_pack(StreamWriter& writer, StreamInfo* pack) {
    TRY(writer.begin_stream(kStreamPlaces, nullptr));
    for (uint64_t i = 0; i < kReferring; ++i) {
        Extent extent;
        extent.start = Sector(i * (kFrameSectors + kGap));
        extent.count = kFrameSectors;
        extent.kind = ExtentKind::run;
        writer.put_extent(extent);
        TRY(writer.put_data(changed_frame_of(i).data(), kFrameSectors));
    }
    pack->id = 3;
    return writer.end_stream(pack, Time(), ChunkSet());
}

Result<void> write_sample(Core& core, bool with_dictionary, Sample* sample) {
    SegmentTable segments;
    segments.adopt_image(core.geometry, core.geometry.image_bytes(2));
    FastTier tier(core, segments);
    StreamWriter writer(core, tier, 1, {});
    TRY(write_pack(writer, &sample->pack));
    std::shared_ptr<const Dictionary> dictionary;
    if (with_dictionary) {
        std::vector<std::vector<uint8_t>> frames;
        for (uint64_t i = 0; i < 64; ++i) {
            frames.push_back(frame_of(100 + i));
        }
        dictionary = choose_dictionary(frames, 100'000, 1, nullptr, true).dictionary;
        if (dictionary == nullptr) {
            std::abort();
        }
    }
    References references;
    references.packs = {sample->pack};
    references.read = [](const StreamInfo& pack, Place place, uint64_t sectors, uint8_t* to) -> Result<void> {
        const std::vector<uint8_t> frame = changed_frame_of((place - pack.base) / kFrameSectors);
        std::memcpy(to, frame.data(), sectors * kSectorSize);
        return {};
    };
    for (uint64_t i = 0; i < kReferring; ++i) {
        references.frames.push_back({kStreamPlaces + i * kFrameSectors, kFrameSectors, 0});
    }
    TRY(writer.begin_stream(sample->pack.places_end(), dictionary, references));
    for (uint64_t i = 0; i < kFrameCount; ++i) {
        const std::vector<uint8_t> frame = frame_of(i);
        Extent extent;
        extent.start = Sector(i * (kFrameSectors + kGap));
        extent.count = kFrameSectors;
        extent.kind = ExtentKind::run;
        writer.put_extent(extent);
        TRY(writer.put_data(frame.data(), kFrameSectors));
        sample->content.insert(sample->content.end(), frame.begin(), frame.end());
        extent.start = extent.start + kFrameSectors;
        extent.count = kGap;
        extent.kind = i % 2 == 0 ? ExtentKind::hole : ExtentKind::zero;
        writer.put_extent(extent);
    }
    sample->stream.id = 7;
    sample->stream.lower = Sequence(10);
    sample->stream.upper = Sequence(20);
    ChunkSet after;
    after.append(0, 1);
    TRY(writer.end_stream(&sample->stream, Time(5), after));
    writer.keep();
    return writer.finish();
}

void set_up(Core& core) {
    core.geometry = {kSegment, 64};
    core.seed = 0x1234;
}

const Sample& sample(bool with_dictionary) {
    static const auto make = [](bool with) {
        Sample made;
        test::FiberHost host;
        test::MemoryDevice file;
        file.bytes.resize(format::kSuperblockArea + 2 * kSegment);
        Core core(host, file);
        set_up(core);
        write_sample(core, with, &made).take();
        made.image = file.bytes;
        if (made.stream.segments.size() != 1 || made.stream.references != std::vector<uint64_t>{made.pack.id}) {
            std::abort();
        }
        return made;
    };
    static const Sample with = make(true), without = make(false);
    return with_dictionary ? with : without;
}

// Where a byte of the stream's content is in the image.
size_t at(const Sample& base, uint64_t offset) {
    return format::kSuperblockArea + uint64_t{base.stream.segments[0].value} * kSegment + kBlockSize + offset;
}

StreamIndexHeader header_of(const Sample& base, const std::vector<uint8_t>& image) {
    StreamIndexHeader header;
    std::memcpy(&header, &image[at(base, base.stream.index_offset)], sizeof(header));
    return header;
}

// All checksums, as far as what they are of is in the image.
void mend(const Sample& base, std::vector<uint8_t>& image, StreamInfo* stream, uint64_t seed) {
    const auto holds = [&](uint64_t offset, uint64_t length) {
        return offset < kSegment - kBlockSize && length <= kSegment - kBlockSize - offset;
    };
    const uint64_t begin = base.stream.index_offset;
    StreamIndexHeader header = header_of(base, image);
    const uint64_t rows = begin + base.stream.index_bytes - kReferring * sizeof(format::ReferenceRow) -
                          kFrameCount * sizeof(FrameRow);
    for (uint64_t i = 0; i < kFrameCount; ++i) {
        FrameRow row;
        std::memcpy(&row, &image[at(base, rows + i * sizeof(row))], sizeof(row));
        if (holds(row.offset, row.stored)) {
            row.hash = xxh3(&image[at(base, row.offset)], row.stored, seed);
            std::memcpy(&image[at(base, rows + i * sizeof(row))], &row, sizeof(row));
        }
    }
    if (holds(header.dictionary_offset, header.dictionary_bytes)) {
        header.dictionary_hash = xxh3(&image[at(base, header.dictionary_offset)], header.dictionary_bytes, seed);
    }
    const uint64_t vectors = uint64_t{header.added_bytes} + header.modified_bytes + header.discarded_bytes;
    header.checksum = 0;
    const uint64_t head = xxh3(&header, sizeof(header), seed);
    header.checksum = head;
    if (vectors > 0 && holds(begin + sizeof(header), vectors)) {
        header.checksum = xxh3(&image[at(base, begin + sizeof(header))], vectors, head);
    }
    std::memcpy(&image[at(base, begin)], &header, sizeof(header));
    stream->index_hash = xxh3(&image[at(base, begin)], stream->index_bytes, seed);
}

uint64_t part_of(const Sample& base, uint8_t how) {
    const StreamIndexHeader header = header_of(base, base.image);
    return (how & kHeader) != 0       ? base.stream.index_offset
           : (how & kVectors) != 0    ? base.stream.index_offset + sizeof(header)
           : (how & kDictionary) != 0 ? header.dictionary_offset
           : (how & kFrames) != 0     ? header.dictionary_offset + header.dictionary_bytes
                                      : base.stream.index_offset + sizeof(header) + header.added_bytes +
                                        header.modified_bytes + header.discarded_bytes;
}

void edit(const Sample& base, std::vector<uint8_t>& image, uint8_t how, InputReader& input) {
    const uint64_t place = part_of(base, how) + input.number(2);
    const unsigned width = 1u << (input.byte() % 4);
    for (unsigned i = 0; i < width; ++i) {
        const uint8_t byte = input.byte();
        if (const size_t offset = at(base, place + i); offset < image.size()) {
            image[offset] = byte;
        }
    }
}

// Reads all of it. Returns how much could be read.
uint64_t use(StreamStore& store, const StreamInfo& stream, const Sample& base, bool intact) {
    const auto summary = store.summary(stream);
    const auto index = store.load(stream);
    if (!index.ok()) {
        return 0;
    }
    if (!summary.ok() || summary.value()->extents != index.value()->extents.size()) {
        std::abort();  // the whole is good, and its beginning is not
    }
    (void)store.dictionary(stream, *summary.value());
    uint64_t sectors = 0;
    AlignedBuffer data(kFrameBytes);
    for (uint64_t from = 0; from < stream.sectors; from += kFrameSectors) {
        const bool read = store.read_data(stream, from, kFrameSectors, data.data()).ok();
        sectors += read ? kFrameSectors : 0;
        if (intact && (!read || std::memcmp(data.data(), &base.content[from * kSectorSize], kFrameBytes) != 0)) {
            std::abort();
        }
    }
    return sectors;
}

}  // namespace

std::vector<Input> seeds() {
    std::vector<Input> list = {{0}, {kNoDictionary}, {kUnmended}};
    for (const int part : {int{kHeader}, int{kVectors}, int{kDictionary}, int{kFrames}, 0}) {
        for (const int more : {0, int{kNoDictionary}, int{kUnmended}}) {
            for (uint8_t place = 0; place < 136; place = static_cast<uint8_t>(place + 9)) {
                list.push_back({static_cast<uint8_t>(part | more), place, 0, 2, 0xff, 0xff, 0x01, 0x00});
            }
        }
    }
    return list;
}

}  // namespace predsnap::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace predsnap;
    using namespace predsnap::fuzz;
    InputReader input(data, size);
    const uint8_t how = input.byte();
    const Sample& base = sample((how & kNoDictionary) == 0);
    test::FiberHost host;
    test::MemoryDevice file;
    file.bytes = base.image;
    Core core(host, file);
    set_up(core);
    StreamInfo stream = base.stream;
    for (int n = 0; n < kMaxEdits && !input.empty(); ++n) {
        edit(base, file.bytes, how, input);
    }
    if ((how & kUnmended) == 0) {
        mend(base, file.bytes, &stream, core.seed);
    }
    History history;
    history.streams = {stream, base.pack};
    Capacity capacity(core);
    StreamStore store(core, history, capacity);
    use(store, stream, base, file.bytes == base.image);
    return 0;
}
