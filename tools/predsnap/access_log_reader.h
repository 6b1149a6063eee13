// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reads an access log (docs/format.md), also one that is still being written: what is not whole yet is
// given when it is. What a crash has torn, or what was damaged, is skipped.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "block/engine/access_log.h"
#include "block/engine/result.h"

namespace predsnap {

class AccessLogReader {
  public:
    static Result<AccessLogReader> open(const std::string& path);
    AccessLogReader(AccessLogReader&& other) noexcept;
    AccessLogReader& operator=(AccessLogReader&& other) noexcept;
    ~AccessLogReader();

    // Appends the records of the next block. False: there is no other whole block for now.
    Result<bool> next(std::vector<AccessRecord>& records);
    // Whether the path leads to another file by now, or the file got shorter: it was rotated. What is left
    // of this one can still be read.
    bool rotated() const;

    const format::AccessLogHeader& header() const { return header_; }
    // Of the blocks read so far.
    struct Facts {
        uint64_t blocks = 0, records = 0;
        uint64_t dropped = 0;    // requests that were not recorded
        uint64_t skipped = 0;    // bytes of torn or damaged blocks, so far as others follow
        uint64_t sequence = 0;   // of the disk, by the last block
        uint64_t session = 0;
    };
    const Facts& facts() const { return facts_; }
    // Bytes of the file that were read, or skipped.
    uint64_t position() const { return position_; }

  private:
    AccessLogReader(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
    Result<void> read_header();
    // Reads on from position_, as much as the largest block may take; fewer bytes at the end of the file.
    Result<void> fill();
    // The first whole block in buffer_; its size if there is none.
    size_t find_block() const;

    std::string path_;
    int fd_;
    format::AccessLogHeader header_{};
    uint64_t seed_ = 0;
    uint64_t position_ = 0;
    std::vector<uint8_t> buffer_;  // what lies at position_
    Facts facts_;
};

}  // namespace predsnap
