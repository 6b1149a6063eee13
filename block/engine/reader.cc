// SPDX-License-Identifier: GPL-2.0-or-later
#include "reader.h"

#include <algorithm>

#include "buffer.h"
#include "checksum.h"
#include "text.h"
#include "wait.h"

namespace predsnap {

namespace {

constexpr size_t kLookupLimit = 512;
// Reads of one request that run at once.
constexpr size_t kMaxParallel = 16;
// Sectors that are read from streams at once, through memory of the reader's.
constexpr uint64_t kMostOfStreams = (1 << 20) / kSectorSize;

size_t bytes_between(Sector from, Sector to) { return (to - from) * kSectorSize; }

bool follows(const Extent& before, const Extent& after) {
    return before.is_data() && after.is_data() && !before.is_delta() && before.end() == after.start &&
           before.place + before.count == after.place && before.tail == 0 && after.head == 0;
}

}  // namespace

std::vector<iovec> slice(std::span<const iovec> buffers, size_t skip, size_t length) {
    std::vector<iovec> parts;
    for_each_part(buffers, skip, length,
                  [&](uint8_t* part, size_t n) { parts.push_back({part, n}); });
    return parts;
}

Result<void> Reader::read(const FrozenState* view, Sector from, uint64_t sectors,
                          std::span<const iovec> buffers, size_t skip) {
    const Sector begin = from, end = from + sectors;
    Lock lock(core_.mutex);
    const ReadPins::Pin pin = core_.readers.pin();
    // The usual case: one extent, and no list of them.
    Extent extent;
    const bool whole = view == nullptr && disk_.map.find_whole(from, end, &extent);
    lock.unlock();
    if (whole && extent.is_data()) {
        return read_extents({&extent, 1}, buffers, skip);
    }
    std::vector<Extent> extents;
    TaskGroup group(core_.host, kMaxParallel);
    while (from < end) {
        extents.clear();
        lock.lock();
        const Sector reached = disk_.lookup(view, from, end, kLookupLimit, &extents);
        lock.unlock();
        const auto position = [&](Sector s) { return skip + bytes_between(begin, s); };
        Result<void> holes;
        for_each_gap(extents, from, reached, [&](Sector a, Sector b) {
            if (holes.ok()) {
                holes = read_backing(a, b, buffers, position(a));
            }
        });
        TRY(holes);
        for (size_t i = 0; i < extents.size();) {
            const Extent& first = extents[i];
            if (first.kind == ExtentKind::zero) {
                fill_zero(buffers, position(first.start), first.count * kSectorSize);
                ++i;
                continue;
            }
            Piece piece{{first}, position(first.start)};
            for (++i; i < extents.size() && follows(extents[i - 1], extents[i]); ++i) {
                piece.extents.push_back(extents[i]);
            }
            if (piece.extents.back().end() - piece.extents.front().start == sectors) {
                return read_extents(piece.extents, buffers, skip);  // one place: no other task
            }
            group.run([this, piece = std::move(piece), buffers] {
                return read_extents(piece.extents, buffers, piece.skip);
            });
        }
        from = reached;
    }
    return group.wait();
}

Result<void> Reader::read_packed(std::span<const Extent> extents, uint8_t* to) {
    TaskGroup group(core_.host, kMaxParallel);
    for (const Extent& extent : extents) {
        if (extent.is_data()) {
            group.run([this, &extent, to] { return read_extent(extent, to); });
            to += extent.count * kSectorSize;
        }
    }
    return group.wait();
}

Result<void> Reader::read_found(std::span<const Extent> extents, std::span<const iovec> buffers) {
    TaskGroup group(core_.host, kMaxParallel);
    for (size_t i = 0; i < extents.size();) {
        size_t count = 1;
        while (i + count < extents.size() && follows(extents[i + count - 1], extents[i + count])) {
            ++count;
        }
        const std::span<const Extent> piece = extents.subspan(i, count);
        if (count == extents.size()) {
            return read_extents(piece, buffers, 0);
        }
        const size_t skip = bytes_between(extents.front().start, piece.front().start);
        group.run([this, piece, buffers, skip] { return read_extents(piece, buffers, skip); });
        i += count;
    }
    return group.wait();
}

Result<void> Reader::read_backing(Sector from, Sector to, std::span<const iovec> buffers, size_t skip) {
    const size_t length = bytes_between(from, to);
    uint64_t available = 0;
    if (backing_ != nullptr && from < kVmStateBase) {
        TRY_ASSIGN(const uint64_t backing_length, backing_->length());
        if (backing_length > to_bytes(from)) {
            available = std::min<uint64_t>(length, align_down(backing_length - to_bytes(from), kSectorSize));
        }
    }
    if (available > 0) {
        const std::vector<iovec> parts = slice(buffers, skip, available);
        TRY(backing_->preadv(to_bytes(from), parts));
    }
    fill_zero(buffers, skip + available, length - available);
    return {};
}

// Reads extents that follow each other in the image, too, to byte `skip` of the buffers.
Result<void> Reader::read_extents(std::span<const Extent> extents, std::span<const iovec> buffers,
                                  size_t skip) {
    const Extent& first = extents.front();
    const Extent& last = extents.back();
    if (first.is_delta()) {
        return read_delta(first, buffers, skip);
    }
    if (first.in_stream()) {
        return read_streams(extents, buffers, skip);
    }
    const uint64_t lead = first.head * kSectorSize;
    const uint64_t wanted = bytes_between(first.start, last.end());
    const uint64_t whole = lead + wanted + last.tail * kSectorSize;
    const uint64_t offset = to_bytes(first.place) - lead;

    AlignedBuffer bounce;
    std::vector<iovec> part;
    iovec bounced;
    std::span<const iovec> target = buffers;
    if (whole != wanted) {
        bounce = AlignedBuffer(whole);
        bounced = {bounce.data(), whole};
        target = {&bounced, 1};
    } else if (skip > 0 || total_length(buffers) != wanted) {
        part = slice(buffers, skip, wanted);
        target = part;
    }
    TRY(core_.file.preadv(offset, target));
    size_t position = 0;
    for (const Extent& extent : extents) {
        TRY(verify(extent, target, position));
        position += (extent.head + extent.count + extent.tail) * kSectorSize;
    }
    if (whole != wanted) {
        copy_to(buffers, skip, bounce.data() + lead, wanted);
    }
    return {};
}

// Extents whose places follow each other.
Result<void> Reader::read_streams(std::span<const Extent> extents, std::span<const iovec> buffers, size_t skip) {
    const Place end = extents.back().place + extents.back().count;
    uint64_t part;
    for (Place at = extents.front().place; at < end; at = at + part) {
        part = std::min(end - at, kMostOfStreams);
        AlignedBuffer data(part * kSectorSize);
        TRY(streams_.read(at, part, data.data()));
        copy_to(buffers, skip, data.data(), data.size());
        skip += data.size();
    }
    return {};
}

// Verifies the units of an extent, which lie in `data` from `skip` on.
Result<void> Reader::verify(const Extent& extent, std::span<const iovec> data, size_t skip) {
    const Place first = extent.place - extent.head;
    const uint64_t total = extent.head + extent.count + extent.tail;
    if (extent.kind == ExtentKind::unit) {
        return verify_unit(extent, first, total, extent.checksum, data, skip);
    }
    // Units of a run end at guest blocks; the first and last may be short.
    const uint64_t start = extent.start.value - extent.head;
    const uint64_t units = (start + total - 1) / kSectorsPerBlock - start / kSectorsPerBlock + 1;
    std::vector<uint32_t> sums(units);
    TRY(indexes_.run_sums(first, units, sums.data()));
    uint64_t done = 0;
    for (const uint32_t sum : sums) {
        const uint64_t end = std::min(align_up(start + done + 1, kSectorsPerBlock) - start, total);
        TRY(verify_unit(extent, first + done, end - done, sum, data, skip + done * kSectorSize));
        done = end;
    }
    return {};
}

Result<void> Reader::verify_unit(const Extent& extent, Place place, uint64_t sectors, uint32_t sum,
                                 std::span<const iovec> data, size_t skip) {
    const size_t length = sectors * kSectorSize;
    uint8_t gathered[kBlockSize];
    const uint8_t* bytes = nullptr;
    for_each_part(data, skip, length, [&](uint8_t* part, size_t n) {
        bytes = n == length ? part : bytes;
    });
    if (bytes == nullptr) {
        copy_from(data, skip, gathered, length);
        bytes = gathered;
    }
    if (unit_checksum(bytes, length) == sum) {
        return {};
    }
    // Once more, into memory nobody else can write to: the reader's buffer may be shared with a guest.
    AlignedBuffer again(kBlockSize);
    TRY(core_.file.pread(to_bytes(place), again.data(), length));
    if (unit_checksum(again.data(), length) == sum) {
        copy_to(data, skip, again.data(), length);
        return {};
    }
    const uint64_t guest = to_bytes(extent.start) + to_bytes(place) - to_bytes(extent.place);
    return corruption(core_, guest, length,
                      text("data of guest offset %llu is corrupt: checksum mismatch at image offset %llu",
                           static_cast<ull>(guest), static_cast<ull>(to_bytes(place))));
}

}  // namespace predsnap
