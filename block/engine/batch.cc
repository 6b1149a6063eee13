// SPDX-License-Identifier: GPL-2.0-or-later
#include "batch.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "checksum.h"

namespace predsnap {

namespace {

constexpr uint32_t kMaxTotal = (512 << 10) + (16 << 10);
constexpr uint32_t kMaxRequest = 512 << 10;
constexpr uint32_t kMaxEntries = 1024;
constexpr uint32_t kHeaderReserve = 8 << 10;  // room for the header beside the largest payload
// Records of points that seal() may still add.
constexpr uint32_t kRecordReserve = 512;

// Blocks begin at block boundaries; what is smaller is packed, but not across one.
uint32_t aligned_begin(uint32_t used, uint32_t bytes) {
    const uint32_t in_block = used % kBlockSize;
    const bool whole = bytes >= kBlockSize || in_block + bytes > kBlockSize;
    return whole ? static_cast<uint32_t>(align_up(used, kBlockSize)) : used;
}

}  // namespace

Batch::Limits::Limits(uint32_t segment_size)
    : total_bytes(std::min(kMaxTotal, segment_size / 2)),
      payload_bytes(std::min(kMaxRequest, segment_size / 2 - kHeaderReserve)) {}

void Batch::reuse() {
    entries_.clear();
    sums_.clear();
    records_.clear();
    points.clear();
    chains.clear();
    deltas_.clear();
    payload_used_ = 0;
    joined = filling = 0;
    closed = sent = written = finished = opens_segment = made_point = false;
    error = 0;
}

uint32_t Batch::header_bytes() const {
    return static_cast<uint32_t>(sizeof(format::BatchHeader) + entries_.size() * sizeof(format::Entry) +
                                 sums_.size() * sizeof(uint32_t) + records_.size());
}

uint32_t Batch::total_bytes() const {
    return static_cast<uint32_t>(head_size(header_bytes(), deltas_.size()) +
                                 align_up(payload_used_, kBlockSize));
}

bool Batch::fits(const Size& size) const {
    if (closed || entries_.size() + size.entries > kMaxEntries) {
        return false;
    }
    const uint64_t header = header_bytes() + size.entries * (sizeof(format::Entry) + sizeof(uint32_t)) +
                            size.record_bytes + (size.sectors / kSectorsPerBlock + 2) * sizeof(uint32_t) +
                            kRecordReserve;
    const uint64_t bytes = size.sectors * kSectorSize;
    const uint64_t payload =
        bytes == 0 ? payload_used_ : aligned_begin(payload_used_, static_cast<uint32_t>(bytes)) + bytes;
    return head_size(header, deltas_.size() + size.delta_bytes) + align_up(payload, kBlockSize) <=
           limits_.total_bytes;
}

Batch::Slot Batch::add_data(Sector start, uint64_t sectors) {
    if (payload_.data() == nullptr) {
        payload_ = AlignedBuffer(limits_.total_bytes);
    }
    const auto bytes = static_cast<uint32_t>(sectors * kSectorSize);
    const uint32_t begin = aligned_begin(payload_used_, bytes);
    const Slot slot{entries_.size(), payload_used_, begin, begin + bytes};
    format::Entry entry{};
    entry.start = start.value;
    entry.count = sectors;
    entry.place = begin / kSectorSize;  // from the payload's start until sealed
    entry.first_sum = static_cast<uint32_t>(sums_.size());
    entry.kind = static_cast<uint8_t>(sectors <= kSectorsPerBlock ? ExtentKind::unit : ExtentKind::run);
    entries_.push_back(entry);
    sums_.resize(sums_.size() + unit_count(start, sectors));
    payload_used_ = slot.end;
    return slot;
}

Batch::Slot Batch::add_move(Sector start, uint64_t sectors, Place from) {
    const Slot slot = add_data(start, sectors);
    entries_.back().flags = format::kEntryMoved;
    set_from(entries_.back(), from);
    return slot;
}

void Batch::add_packed(Sector start, uint64_t sectors, Place from, Place to) {
    add_mapping(ExtentKind::run, start, sectors);
    format::Entry& entry = entries_.back();
    entry.flags = format::kEntryMoved | format::kEntryPacked;
    set_from(entry, from);
    set_packed(entry, to);
}

void Batch::add_delta(const DeltaChain& chain, std::span<const uint8_t> delta, uint32_t sum) {
    add_mapping(ExtentKind::unit, chain.block, kSectorsPerBlock);
    format::Entry& entry = entries_.back();
    entry.flags = format::kEntryDelta;
    entry.units = static_cast<uint8_t>(delta.size() / kDeltaUnit);
    set_from(entry, Place(deltas_.size()));  // bytes from the first delta, until sealed
    deltas_.insert(deltas_.end(), delta.begin(), delta.end());
    sums_.push_back(sum);
    chains.push_back(chain);
}

void Batch::set_sums(const Slot& slot, const uint32_t* sums, size_t count) {
    std::copy_n(sums, count, sums_.begin() + entries_[slot.entry].first_sum);
}

void Batch::add_mapping(ExtentKind kind, Sector start, uint64_t sectors) {
    format::Entry entry{};
    entry.start = start.value;
    entry.count = sectors;
    entry.place = payload_used_ / kSectorSize;
    entry.first_sum = static_cast<uint32_t>(sums_.size());
    entry.kind = static_cast<uint8_t>(kind);
    entries_.push_back(entry);
}

void Batch::add_records(std::span<const uint8_t> records) {
    records_.insert(records_.end(), records.begin(), records.end());
}

void Batch::seal(const Seal& seal) {
    assert(filling == 0);
    seal_ = seal;
    const uint32_t used = header_bytes();
    const auto deltas_begin = static_cast<uint32_t>(align_up(used, kDeltaUnit));
    header_size_ = static_cast<uint32_t>(head_size(used, deltas_.size()));
    if (header_.size() < header_size_) {
        header_ = AlignedBuffer(header_size_);
    }
    const uint32_t payload_place = (seal.offset + header_size_) / kSectorSize;
    for (format::Entry& entry : entries_) {
        entry.place += payload_place;
        if (entry.has(format::kEntryDelta)) {
            const uint64_t offset = seal.segment_offset + seal.offset + deltas_begin + get_from(entry).value;
            set_from(entry, Geometry::delta_place(offset));
        }
    }

    format::BatchHeader header{};
    std::memcpy(header.magic, format::kBatchMagic, sizeof(header.magic));
    header.header_bytes = used;
    header.sequence = seal.sequence.value;
    header.time = seal.time.value;
    header.previous_hash = seal.previous_hash;
    header.durable_sequence = seal.durable.value;
    header.session = seal.session;
    header.total_bytes = total_bytes();
    header.entry_count = static_cast<uint32_t>(entries_.size());
    header.sum_count = static_cast<uint32_t>(sums_.size());
    header.record_bytes = static_cast<uint32_t>(records_.size());

    uint8_t* out = header_.data() + sizeof(header);
    const auto put = [&](const void* from, size_t length) {
        if (length > 0) {
            std::memcpy(out, from, length);
        }
        out += length;
    };
    put(entries_.data(), entries_.size() * sizeof(format::Entry));
    put(sums_.data(), sums_.size() * sizeof(uint32_t));
    put(records_.data(), records_.size());
    std::memset(out, 0, header_size_ - used);
    if (!deltas_.empty()) {
        std::memcpy(header_.data() + deltas_begin, deltas_.data(), deltas_.size());
    }
    std::memcpy(header_.data(), &header, sizeof(header));
    auto* placed = reinterpret_cast<format::BatchHeader*>(header_.data());
    hash_ = self_hash(seal.seed, *placed, used - sizeof(header));
    placed->checksum = hash_;

    if (payload_used_ > 0) {
        std::memset(payload_.data() + payload_used_, 0,
                    align_up(payload_used_, kBlockSize) - payload_used_);
    }
}

std::vector<iovec> Batch::buffers() {
    std::vector<iovec> list;
    if (opens_segment) {
        list.push_back({segment_header.data(), segment_header.size()});
    }
    list.push_back({header_.data(), header_size_});
    if (payload_used_ > 0) {
        list.push_back({payload_.data(), align_up(payload_used_, kBlockSize)});
    }
    return list;
}

}  // namespace predsnap
