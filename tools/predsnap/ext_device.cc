// SPDX-License-Identifier: GPL-2.0-or-later
#include "ext_device.h"

#include <et/com_err.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "ext_journal.h"

namespace predsnap {
namespace {

constexpr uint64_t kMagicAt = 1024 + 56;

// libext2fs opens by a name; there is only this one that can be meant.
thread_local const ExtDevice* being_opened = nullptr;

const ExtDevice& device_of(io_channel channel) { return *static_cast<const ExtDevice*>(channel->private_data); }

errcode_t set_block_size(io_channel channel, int size) {
    channel->block_size = size;
    return 0;
}

errcode_t read_blocks(io_channel channel, unsigned long long block, int count, void* data) {
    const auto size = static_cast<uint64_t>(channel->block_size);
    const uint64_t length = count < 0 ? static_cast<uint64_t>(-int64_t{count}) : static_cast<uint64_t>(count) * size;
    const Result<void> done = device_of(channel).read(block * size, {static_cast<uint8_t*>(data), length});
    return done.ok() ? 0 : done.error().code;
}

errcode_t read_blocks_short(io_channel channel, unsigned long block, int count, void* data) { return read_blocks(channel, block, count, data); }

errcode_t refuse_to_write(io_channel, unsigned long, int, const void*) { return EROFS; }

errcode_t flush_nothing(io_channel) { return 0; }

errcode_t close_channel(io_channel channel) {
    if (--channel->refcount == 0) {
        std::free(channel->name);
        std::free(channel);
    }
    return 0;
}

errcode_t open_channel(const char* name, int, io_channel* made);

struct_io_manager make_manager() {
    struct_io_manager manager{};
    manager.magic = EXT2_ET_MAGIC_IO_MANAGER;
    manager.name = "a moment of a disk";
    manager.open = open_channel;
    manager.close = close_channel;
    manager.set_blksize = set_block_size;
    manager.read_blk = read_blocks_short;
    manager.read_blk64 = read_blocks;
    manager.write_blk = refuse_to_write;
    manager.flush = flush_nothing;
    return manager;
}

struct_io_manager the_manager = make_manager();

// As libext2fs frees and copies channels itself, they are malloc's.
errcode_t open_channel(const char* name, int, io_channel* made) {
    auto* channel = static_cast<io_channel>(std::calloc(1, sizeof(struct_io_channel)));
    if (channel == nullptr) {
        return ENOMEM;
    }
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = &the_manager;
    channel->name = ::strdup(name);
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = const_cast<ExtDevice*>(being_opened);
    *made = channel;
    return 0;
}

}  // namespace

Error ext_error(errcode_t code, const std::string& what) { return Error{code < 1000 ? static_cast<int>(code) : EIO, what + ": " + error_message(code)}; }

Result<bool> ExtDevice::is_at(MomentView& disk, uint64_t offset) {
    uint8_t magic[2] = {};
    TRY(disk.read(offset + kMagicAt, magic));
    return (magic[0] | magic[1] << 8) == EXT2_SUPER_MAGIC;
}

Result<std::unique_ptr<ExtDevice>> ExtDevice::open(MomentView& disk, uint64_t offset) {
    initialize_ext2_error_table();
    std::unique_ptr<ExtDevice> device(new ExtDevice(disk, offset));
    TRY(device->open_again());
    if (ext2fs_has_feature_journal_needs_recovery(device->fs_->super) != 0) {
        TRY(read_journal(*device));
        device->replaced_size_ = device->block_size();
        TRY(device->open_again());
    }
    return device;
}

Result<void> ExtDevice::open_again() {
    if (fs_ != nullptr) {
        ext2fs_close_free(&fs_);
    }
    being_opened = this;
    // What was not yet written when the moment was may not fit its checksum; what is read is only shown.
    const int flags = EXT2_FLAG_64BITS | EXT2_FLAG_SOFTSUPP_FEATURES | EXT2_FLAG_IGNORE_CSUM_ERRORS;
    const errcode_t code = ext2fs_open("moment", flags, 0, 0, &the_manager, &fs_);
    if (code != 0) {
        fs_ = nullptr;
        return ext_error(code, "the file system at offset " + std::to_string(offset_));
    }
    return {};
}

ExtDevice::~ExtDevice() {
    if (fs_ != nullptr) {
        ext2fs_close_free(&fs_);
    }
}

Result<void> ExtDevice::read(uint64_t offset, std::span<uint8_t> into) const {
    TRY(disk_.read(offset_ + offset, into));
    if (replaced_size_ == 0) {
        return {};
    }
    const uint64_t end = offset + into.size();
    for (auto block = replaced_.lower_bound(offset / replaced_size_); block != replaced_.end() && block->first * replaced_size_ < end; ++block) {
        const uint64_t begins = block->first * replaced_size_;
        const uint64_t from = std::max(begins, offset), until = std::min(begins + replaced_size_, end);
        std::copy_n(block->second.begin() + static_cast<ptrdiff_t>(from - begins), until - from, into.begin() + static_cast<ptrdiff_t>(from - offset));
    }
    return {};
}

}  // namespace predsnap
