// SPDX-License-Identifier: GPL-2.0-or-later
#include "superblock.h"

#include <cstring>
#include <span>

#include "buffer.h"
#include "checksum.h"
#include "text.h"

namespace predsnap {

namespace {

using format::Superblock;

uint64_t slot_offset(uint64_t generation) { return generation % format::kSuperblockSlots * kBlockSize; }

bool has_magic(const Superblock& block) {
    return std::memcmp(block.magic, format::kMagic, sizeof(block.magic)) == 0;
}

// What the checksum cannot vouch for: an image made to look valid.
Result<void> validate(const Superblock& block) {
    if (block.version != format::kVersion) {
        return Error{ENOTSUP, text("image format version %u is not supported (this program reads %u)",
                                   block.version, format::kVersion)};
    }
    if (const uint64_t unknown = block.incompatible & ~format::kKnownIncompatible; unknown != 0) {
        return Error{ENOTSUP, text("image uses unknown incompatible features 0x%llx; "
                                   "open it with a newer program",
                                   static_cast<unsigned long long>(unknown))};
    }
    if (!std::has_single_bit(block.segment_size) || block.segment_size < format::kMinSegmentSize ||
        block.segment_size > format::kMaxSegmentSize) {
        return Error{EINVAL, text("superblock: segment size %u is not a power of two from %u to %u",
                                  block.segment_size, format::kMinSegmentSize,
                                  format::kMaxSegmentSize)};
    }
    if (block.initial_size % kSectorSize != 0 || block.initial_size > to_bytes(kVmStateBase)) {
        return Error{EINVAL, text("superblock: disk size %llu is out of range",
                                  static_cast<unsigned long long>(block.initial_size))};
    }
    if (block.backing_file_length >= sizeof(block.backing_file) ||
        block.backing_format_length >= sizeof(block.backing_format)) {
        return Error{EINVAL, "superblock: backing file name is too long"};
    }
    const std::span rules(block.rules, std::min<size_t>(block.rule_count, std::size(block.rules)));
    if (rules.size() != block.rule_count || std::any_of(rules.begin(), rules.end(), [](const auto& rule) {
            return rule.every_us <= 0 || rule.for_us <= 0;
        })) {
        return Error{EINVAL, "superblock: a rule for old history is out of range"};
    }
    return {};
}

}  // namespace

bool intact(const Superblock& slot) { return has_magic(slot) && slot.checksum == self_hash(0, slot); }

Result<std::vector<uint32_t>> damaged_slots(Device& file) {
    AlignedBuffer buffer(format::kSuperblockSlots * kBlockSize);
    TRY(file.pread(0, buffer.data(), buffer.size()));
    std::vector<uint32_t> damaged;
    for (uint32_t slot = 0; slot < format::kSuperblockSlots; ++slot) {
        if (!intact(*reinterpret_cast<const Superblock*>(buffer.data() + slot * kBlockSize))) {
            damaged.push_back(slot);
        }
    }
    return damaged;
}

Result<void> write_superblock(Device& file, Superblock& superblock) {
    superblock.checksum = self_hash(0, superblock);
    AlignedBuffer buffer(sizeof(superblock));
    std::memcpy(buffer.data(), &superblock, sizeof(superblock));
    return file.pwrite(slot_offset(superblock.generation), buffer.data(), buffer.size());
}

Result<Superblock> read_superblock(Device& file) {
    TRY_ASSIGN(const uint64_t length, file.length());
    if (length < format::kSuperblockSlots * kBlockSize) {
        return Error{EINVAL, text("image is truncated: %llu bytes, too short for a superblock",
                                  static_cast<unsigned long long>(length))};
    }
    const Superblock* newest = nullptr;
    bool any_magic = false;
    AlignedBuffer buffer(format::kSuperblockSlots * kBlockSize);
    TRY(file.pread(0, buffer.data(), buffer.size()));
    for (uint32_t slot = 0; slot < format::kSuperblockSlots; ++slot) {
        const auto* block = reinterpret_cast<const Superblock*>(buffer.data() + slot * kBlockSize);
        any_magic |= has_magic(*block);
        if (intact(*block) && (newest == nullptr || block->generation > newest->generation)) {
            newest = block;
        }
    }
    if (newest == nullptr) {
        return any_magic ? Error{EIO, "both superblock slots (offsets 0 and 4096) are damaged"}
                         : Error{EINVAL, "not a predsnap image"};
    }
    TRY(validate(*newest));
    return *newest;
}

}  // namespace predsnap
