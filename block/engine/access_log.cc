// SPDX-License-Identifier: GPL-2.0-or-later
#include "access_log.h"

#include <algorithm>
#include <cstring>

#include "checksum.h"
#include "types.h"

namespace predsnap {
namespace {

using format::AccessBlock;
using format::AccessLogHeader;

// Small distances to either side become small numbers.
uint64_t zigzag(int64_t n) { return (static_cast<uint64_t>(n) << 1) ^ static_cast<uint64_t>(n >> 63); }
int64_t unzigzag(uint64_t n) { return static_cast<int64_t>(n >> 1) ^ -static_cast<int64_t>(n & 1); }

uint64_t block_hash(const AccessBlock& block, std::span<const uint8_t> records, uint64_t seed) {
    AccessBlock copy = block;
    copy.checksum = 0;
    const uint64_t head = xxh3(&copy, sizeof(copy), seed);
    return records.empty() ? head : xxh3(records.data(), records.size(), head);
}

class Cursor {
  public:
    explicit Cursor(std::span<const uint8_t> bytes) : bytes_(bytes) {}
    bool done() const { return at_ == bytes_.size(); }
    bool failed() const { return failed_; }
    uint8_t byte() {
        if (done()) {
            failed_ = true;
            return 0;
        }
        return bytes_[at_++];
    }
    // Seven bits a byte, the lowest first; the highest bit says that more follow.
    uint64_t number() {
        uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            const uint8_t part = byte();
            value |= static_cast<uint64_t>(part & 0x7f) << shift;
            if ((part & 0x80) == 0) {
                return value;
            }
        }
        failed_ = true;
        return 0;
    }

  private:
    std::span<const uint8_t> bytes_;
    size_t at_ = 0;
    bool failed_ = false;
};

// The other way round. Returns where the next byte goes.
uint8_t* put_number(uint8_t* to, uint64_t number) {
    for (; number >= 0x80; number >>= 7) {
        *to++ = static_cast<uint8_t>(number | 0x80);
    }
    *to++ = static_cast<uint8_t>(number);
    return to;
}

AccessRecord unpack_record(Cursor& cursor, AccessContext& context) {
    const uint8_t flags = cursor.byte();
    AccessRecord record;
    record.op = static_cast<AccessOp>(flags & format::kAccessOperationMask);
    record.time_us = static_cast<int64_t>(static_cast<uint64_t>(context.time_us) + cursor.number());
    record.offset = context.end;
    if ((flags & format::kAccessAtEnd) == 0) {
        record.offset += static_cast<uint64_t>(unzigzag(cursor.number())) * kSectorSize;
    }
    record.length = (flags & format::kAccessSameLength) != 0 ? context.length : cursor.number() * kSectorSize;
    if ((flags & format::kAccessHasChanged) != 0) {
        record.changed = cursor.byte();
    }
    context = {record.time_us, record.offset + record.length, record.length};
    return record;
}

}  // namespace

void AccessBlockWriter::add(const AccessRecord& record) {
    if (count_ == 0) {
        first_time_us_ = std::max(record.time_us, context_.time_us);
        context_ = {first_time_us_, 0, 0};
    }
    const bool at_end = record.offset == context_.end, same_length = record.length == context_.length;
    uint8_t packed[kRecordMax];
    uint8_t* end = packed;
    *end++ = static_cast<uint8_t>(static_cast<uint8_t>(record.op) | (record.changed ? format::kAccessHasChanged : 0) |
                                  (at_end ? format::kAccessAtEnd : 0) | (same_length ? format::kAccessSameLength : 0));
    const int64_t time_us = std::max(record.time_us, context_.time_us);
    end = put_number(end, static_cast<uint64_t>(time_us - context_.time_us));
    if (!at_end) {
        end = put_number(end, zigzag(static_cast<int64_t>(record.offset / kSectorSize) -
                                     static_cast<int64_t>(context_.end / kSectorSize)));
    }
    if (!same_length) {
        end = put_number(end, record.length / kSectorSize);
    }
    if (record.changed) {
        *end++ = *record.changed;
    }
    bytes_.insert(bytes_.end(), packed, end);
    context_ = {time_us, record.offset + record.length, record.length};
    ++count_;
}

std::span<const uint8_t> AccessBlockWriter::finish(uint64_t sequence, uint32_t dropped) {
    AccessBlock block{};
    std::copy(std::begin(format::kAccessBlockMagic), std::end(format::kAccessBlockMagic), block.magic);
    block.bytes = static_cast<uint32_t>(bytes_.size());
    block.count = count_;
    block.dropped = dropped;
    block.number = number_++;
    block.session = session_;
    block.time = count_ == 0 ? context_.time_us : first_time_us_;
    block.sequence = sequence;
    block.checksum = block_hash(block, bytes_, seed_);
    finished_.resize(sizeof(block) + bytes_.size());
    std::memcpy(finished_.data(), &block, sizeof(block));
    std::copy(bytes_.begin(), bytes_.end(), finished_.begin() + sizeof(block));
    bytes_.clear();
    count_ = 0;
    return finished_;
}

AccessLogHeader make_access_log_header(const uint8_t (&uuid)[16], int64_t time_us, uint64_t disk_size) {
    AccessLogHeader header{};
    std::copy(std::begin(format::kAccessLogMagic), std::end(format::kAccessLogMagic), header.magic);
    header.version = format::kAccessLogVersion;
    std::copy(std::begin(uuid), std::end(uuid), header.uuid);
    header.create_time = time_us;
    header.disk_size = disk_size;
    header.checksum = self_hash(0, header);
    return header;
}

bool access_log_header_is_valid(const AccessLogHeader& header) {
    return std::equal(std::begin(header.magic), std::end(header.magic), format::kAccessLogMagic) &&
           header.version == format::kAccessLogVersion && header.checksum == self_hash(0, header);
}

bool access_block_is_valid(std::span<const uint8_t> bytes, uint64_t seed) {
    AccessBlock block;
    if (bytes.size() < sizeof(block)) {
        return false;
    }
    std::memcpy(&block, bytes.data(), sizeof(block));
    return std::equal(std::begin(block.magic), std::end(block.magic), format::kAccessBlockMagic) &&
           block.bytes <= format::kAccessBlockBytesMax && bytes.size() - sizeof(block) >= block.bytes &&
           block.checksum == block_hash(block, bytes.subspan(sizeof(block), block.bytes), seed);
}

bool unpack_access_block(std::span<const uint8_t> bytes, std::vector<AccessRecord>& records) {
    AccessBlock block;
    std::memcpy(&block, bytes.data(), sizeof(block));
    Cursor cursor(bytes.subspan(sizeof(block), block.bytes));
    AccessContext context{block.time, 0, 0};
    const size_t before = records.size();
    for (uint32_t i = 0; i < block.count && !cursor.failed(); ++i) {
        records.push_back(unpack_record(cursor, context));
    }
    if (cursor.failed() || !cursor.done()) {
        records.resize(before);
        return false;
    }
    return true;
}

}  // namespace predsnap
