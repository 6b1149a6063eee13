// SPDX-License-Identifier: GPL-2.0-or-later
#include "ext_journal.h"

#include <map>
#include <vector>

#include "ext_device.h"

namespace predsnap {
namespace {

// On disk, big-endian.
constexpr uint32_t kMagic = 0xc03b3998;
constexpr uint32_t kDescriptor = 1, kCommit = 2, kSuperblock2 = 4, kRevoke = 5;
constexpr uint32_t k64Bit = 0x2, kChecksum2 = 0x8, kChecksum3 = 0x10;  // incompatible features
constexpr uint32_t kEscaped = 1, kSameUuid = 2, kLastTag = 8;         // flags of a tag

using Block = std::vector<uint8_t>;

uint32_t be16(const Block& block, size_t at) { return static_cast<uint32_t>(block[at] << 8 | block[at + 1]); }
uint32_t be32(const Block& block, size_t at) { return be16(block, at) << 16 | be16(block, at + 2); }
uint64_t be64(const Block& block, size_t at) { return uint64_t{be32(block, at)} << 32 | be32(block, at + 4); }

class Journal {
  public:
    explicit Journal(ExtDevice& device) : device_(device), fs_(device.fs()) {}

    Result<void> replay() {
        TRY_ASSIGN(const Block super, block(0));
        if (be32(super, 0) != kMagic) {
            return {};
        }
        features_ = be32(super, 4) == kSuperblock2 ? be32(super, 0x28) : 0;
        length_ = be32(super, 0x10);
        first_ = be32(super, 0x14);
        uint32_t sequence = be32(super, 0x18);
        at_ = be32(super, 0x1c);
        if (at_ == 0 || first_ == 0 || first_ >= length_ || at_ < first_ || at_ >= length_) {
            return {};  // nothing in it
        }
        // Once around at most.
        for (uint32_t left = length_ - first_; left > 0 && at_ != 0;) {
            TRY_ASSIGN(const bool whole, transaction(sequence++, &left));
            if (!whole) {
                break;
            }
        }
        for (auto& [number, copy] : newest_) {
            const auto revoked = revoked_.find(number);
            if (revoked == revoked_.end() || revoked->second < copy.transaction) {
                device_.replace(number, std::move(copy.content));
            }
        }
        return {};
    }

  private:
    struct Copy {
        uint32_t transaction;  // counted from the oldest
        Block content;
    };

    Result<Block> block(uint32_t number) {
        blk64_t place = 0;
        const errcode_t code = ext2fs_bmap2(fs_, fs_->super->s_journal_inum, nullptr, nullptr, 0, number, nullptr, &place);
        if (code != 0) {
            return ext_error(code, "its journal");
        }
        Block content(fs_->blocksize);
        TRY(device_.read(place * fs_->blocksize, content));
        return content;
    }
    Result<Block> next(uint32_t* left) {
        TRY_ASSIGN(Block content, block(at_));
        at_ = at_ + 1 < length_ ? at_ + 1 : first_;
        *left -= *left > 0 ? 1 : 0;
        return content;
    }

    // False: it is not whole, so neither is anything after it.
    Result<bool> transaction(uint32_t sequence, uint32_t* left) {
        std::map<blk64_t, Block> blocks;
        std::vector<blk64_t> revoked;
        while (*left > 0) {
            TRY_ASSIGN(const Block head, next(left));
            if (be32(head, 0) != kMagic || be32(head, 8) != sequence) {
                return false;
            }
            const uint32_t type = be32(head, 4);
            if (type == kDescriptor) {
                TRY(take_blocks(head, left, &blocks));
            } else if (type == kRevoke) {
                take_revoked(head, &revoked);
            } else if (type == kCommit) {
                commit(blocks, revoked);
                return true;
            } else {
                return false;
            }
        }
        return false;
    }

    void commit(std::map<blk64_t, Block>& blocks, const std::vector<blk64_t>& revoked) {
        ++transactions_;
        for (auto& [number, content] : blocks) {
            newest_[number] = {transactions_, std::move(content)};
        }
        for (const blk64_t number : revoked) {
            revoked_[number] = transactions_;
        }
    }

    // A descriptor lists where the blocks after it belong.
    Result<void> take_blocks(const Block& head, uint32_t* left, std::map<blk64_t, Block>* blocks) {
        const bool checksum3 = (features_ & kChecksum3) != 0;
        const size_t tail = (features_ & (kChecksum2 | kChecksum3)) != 0 ? 4 : 0;
        const size_t tag_size = checksum3 ? 16 : (features_ & k64Bit) != 0 ? 12 : 8;
        for (size_t at = 12; at + tag_size + tail <= head.size() && *left > 0;) {
            const uint32_t flags = checksum3 ? be32(head, at + 4) : be16(head, at + 6);
            const uint64_t high = (features_ & k64Bit) != 0 ? be32(head, at + 8) : 0;
            const blk64_t number = high << 32 | be32(head, at);
            TRY_ASSIGN(Block content, next(left));
            if ((flags & kEscaped) != 0) {
                content[0] = kMagic >> 24, content[1] = kMagic >> 16 & 0xff, content[2] = kMagic >> 8 & 0xff, content[3] = kMagic & 0xff;
            }
            (*blocks)[number] = std::move(content);
            at += tag_size + ((flags & kSameUuid) != 0 ? 0 : 16);
            if ((flags & kLastTag) != 0) {
                break;
            }
        }
        return {};
    }

    void take_revoked(const Block& head, std::vector<blk64_t>* revoked) {
        const size_t size = (features_ & k64Bit) != 0 ? 8 : 4, end = std::min<size_t>(be32(head, 12), head.size());
        for (size_t at = 16; at + size <= end; at += size) {
            revoked->push_back(size == 8 ? be64(head, at) : be32(head, at));
        }
    }

    ExtDevice& device_;
    const ext2_filsys fs_;
    uint32_t features_ = 0, length_ = 0, first_ = 0, at_ = 0, transactions_ = 0;
    std::map<blk64_t, Copy> newest_;
    std::map<blk64_t, uint32_t> revoked_;  // the newest transaction that did
};

}  // namespace

Result<void> read_journal(ExtDevice& device) {
    return device.fs()->super->s_journal_inum == 0 ? Result<void>() : Journal(device).replay();
}

}  // namespace predsnap
