// SPDX-License-Identifier: GPL-2.0-or-later
//
// Traces of block I/O: CSV, as it is or compressed with zstd, one request a line under the header
// `time_us,op,offset_bytes,length_bytes`. Times start at 0 and never decrease; op is R or W;
// offsets and lengths are multiples of 512. Whatever breaks that is an error that names file and
// line.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "block/engine/result.h"

namespace predsnap::replay {

struct Request {
    int64_t time_us = 0;
    bool write = false;
    uint64_t offset = 0;  // bytes
    uint64_t length = 0;  // bytes, at least a sector
    bool operator==(const Request&) const = default;
};

// Reads one trace from front to back, in memory that does not depend on its length.
class TraceReader {
  public:
    static Result<TraceReader> open(const std::string& path);
    TraceReader(TraceReader&&) noexcept;
    TraceReader& operator=(TraceReader&&) noexcept;
    ~TraceReader();

    // Nothing at the end.
    Result<std::optional<Request>> next();

  private:
    class Lines;
    explicit TraceReader(std::unique_ptr<Lines> lines);
    Error bad_line(const std::string& what) const;

    std::unique_ptr<Lines> lines_;
    int64_t last_us_ = 0;
};

}  // namespace predsnap::replay
