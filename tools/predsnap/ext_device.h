// SPDX-License-Identifier: GPL-2.0-or-later
//
// An ext2, ext3 or ext4 file system of a moment, opened read-only by libext2fs. What its journal holds counts as written, without
// anything being written: a running guest's metadata are often there only. One thread at a time.
#pragma once

#include <ext2fs/ext2fs.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "moment_view.h"

namespace predsnap {

// What libext2fs says of an error of its.
Error ext_error(errcode_t code, const std::string& what);

class ExtDevice {
  public:
    // Whether something that looks like one begins there (bytes).
    static Result<bool> is_at(MomentView& disk, uint64_t offset);
    // `disk` must outlive it. Errors: EINVAL for what libext2fs cannot open.
    static Result<std::unique_ptr<ExtDevice>> open(MomentView& disk, uint64_t offset);
    ~ExtDevice();
    ExtDevice(const ExtDevice&) = delete;
    ExtDevice& operator=(const ExtDevice&) = delete;

    ext2_filsys fs() const { return fs_; }
    uint32_t block_size() const { return fs_->blocksize; }

    // For the I/O manager below: bytes from where the file system begins.
    Result<void> read(uint64_t offset, std::span<uint8_t> into) const;
    // From the next open_again() on, block `number` reads as this.
    void replace(blk64_t number, std::vector<uint8_t> content) { replaced_[number] = std::move(content); }

  private:
    ExtDevice(MomentView& disk, uint64_t offset) : disk_(disk), offset_(offset) {}
    Result<void> open_again();

    MomentView& disk_;
    const uint64_t offset_;
    ext2_filsys fs_ = nullptr;
    uint32_t replaced_size_ = 0;  // of a block of these
    std::map<blk64_t, std::vector<uint8_t>> replaced_;
};

}  // namespace predsnap
