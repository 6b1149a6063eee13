// SPDX-License-Identifier: GPL-2.0-or-later
//
// An NBD export as libnbd gives it, with errors as Results.
#pragma once

#include <libnbd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::replay {

class NbdDisk {
  public:
    static Result<NbdDisk> connect(const std::string& uri);

    uint64_t size() const { return size_; }

    // Starts a request; `done` is called from poll() with 0 or an errno. The buffer must live until
    // then.
    using Done = std::function<void(int error)>;
    Result<void> start_read(uint64_t offset, std::vector<uint8_t>& buffer, Done done);
    Result<void> start_write(uint64_t offset, const std::vector<uint8_t>& buffer, Done done);
    Result<void> start_flush(Done done);
    // Lets requests go on; returns when some have, or after so many milliseconds (-1: no limit).
    Result<void> poll(int timeout_ms);

    // Ranges whose content the export does not say to be zeros.
    struct Range {
        uint64_t offset, length;
    };
    Result<std::vector<Range>> not_zero();

  private:
    struct Close {
        void operator()(nbd_handle* handle) const { nbd_close(handle); }
    };
    using Handle = std::unique_ptr<nbd_handle, Close>;

    NbdDisk(Handle handle, std::string uri) : handle_(std::move(handle)), uri_(std::move(uri)) {}
    Error failed(const std::string& what) const;

    Handle handle_;
    std::string uri_;
    uint64_t size_ = 0;
};

}  // namespace predsnap::replay
