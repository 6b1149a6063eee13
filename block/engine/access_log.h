// SPDX-License-Identifier: GPL-2.0-or-later
//
// The access log: what a guest read and wrote, for programs that learn from it. A file of its own beside
// the image, of blocks of packed records; docs/format.md has it byte by byte. This is the one definition
// of that format, for who writes it (the driver) and who reads it (tools).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace predsnap {

namespace format {

constexpr uint8_t kAccessLogMagic[8] = {'P', 'D', 'S', 'a', 'c', 'l', 'o', 'g'};
constexpr uint8_t kAccessBlockMagic[4] = {'P', 'D', 'S', 'a'};
constexpr uint32_t kAccessLogVersion = 1;
constexpr uint32_t kAccessBlockBytesMax = 1 << 20;  // of records in a block

struct AccessLogHeader {
    uint8_t magic[8];   // "PDSaclog"
    uint32_t version;
    uint32_t reserved0;
    uint8_t uuid[16];   // of the image
    int64_t create_time;
    uint64_t disk_size;  // bytes, when the file was begun
    uint64_t reserved1;
    uint64_t checksum;
};
static_assert(sizeof(AccessLogHeader) == 64);

struct AccessBlock {
    uint8_t magic[4];   // 'P' 'D' 'S' 'a'
    uint32_t bytes;     // of records, which follow
    uint32_t count;     // of records
    uint32_t dropped;   // requests that were not recorded, since the block before
    uint64_t number;    // from 0 with each opening of the image, one more with each block
    uint64_t session;   // of that opening
    int64_t time;       // of the first record
    uint64_t sequence;  // of the disk when the block was finished
    uint64_t checksum;  // and what follows
};
static_assert(sizeof(AccessBlock) == 56);

// The first byte of a record: what was done, and what follows.
constexpr uint8_t kAccessOperationMask = 0x03;
constexpr uint8_t kAccessHasChanged = 0x04;
constexpr uint8_t kAccessAtEnd = 0x08;
constexpr uint8_t kAccessSameLength = 0x10;

}  // namespace format

enum class AccessOp : uint8_t { kRead = 0, kWrite = 1, kWriteZeroes = 2, kDiscard = 3 };

struct AccessRecord {
    int64_t time_us = 0;
    AccessOp op = AccessOp::kRead;
    uint64_t offset = 0;  // bytes, multiples of 512
    uint64_t length = 0;
    std::optional<uint8_t> changed;  // of what was written: 255ths of the bytes that differ from before
    bool operator==(const AccessRecord&) const = default;
};

// What each record is packed against.
struct AccessContext {
    int64_t time_us = 0;
    uint64_t end = 0, length = 0;  // of the record before
};

// Packs records into one block. Not thread-safe.
class AccessBlockWriter {
  public:
    static constexpr size_t kRecordMax = 32;  // bytes

    AccessBlockWriter(uint64_t seed, uint64_t session) : seed_(seed), session_(session) {}
    // Times that go back count as the time of the record before.
    void add(const AccessRecord& record);
    size_t bytes() const { return bytes_.size(); }
    bool empty() const { return count_ == 0; }
    uint32_t count() const { return count_; }
    // The block, header and records; the next one is begun. Valid until the next add().
    std::span<const uint8_t> finish(uint64_t sequence, uint32_t dropped);

  private:
    const uint64_t seed_, session_;
    std::vector<uint8_t> bytes_, finished_;
    uint32_t count_ = 0;
    uint64_t number_ = 0;
    int64_t first_time_us_ = 0;
    AccessContext context_;
};

format::AccessLogHeader make_access_log_header(const uint8_t (&uuid)[16], int64_t time_us, uint64_t disk_size);

// Whether it is a header, of this version and undamaged.
bool access_log_header_is_valid(const format::AccessLogHeader& header);
// Whether the bytes begin with a whole, undamaged block. `bytes` may hold more than it.
bool access_block_is_valid(std::span<const uint8_t> bytes, uint64_t seed);
// The records of a valid block, appended to `records`; false if they are not what the header says.
bool unpack_access_block(std::span<const uint8_t> block, std::vector<AccessRecord>& records);

}  // namespace predsnap
