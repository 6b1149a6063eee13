// SPDX-License-Identifier: GPL-2.0-or-later
//
// A trace for a test, which goes away with it.
#pragma once

#include <unistd.h>
#include <zstd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace predsnap::replay::test {

inline const std::string kHeaderLine = "time_us,op,offset_bytes,length_bytes\n";

class TraceFile {
  public:
    explicit TraceFile(const std::string& content) {
        const int fd = mkstemp(path_);
        if (fd < 0 ||
            ::write(fd, content.data(), content.size()) != static_cast<ssize_t>(content.size())) {
            std::perror(path_);
            std::abort();
        }
        ::close(fd);
    }
    ~TraceFile() { ::unlink(path_); }
    TraceFile(const TraceFile&) = delete;
    TraceFile& operator=(const TraceFile&) = delete;

    std::string path() const { return path_; }

  private:
    char path_[32] = "/tmp/predsnap-trace-XXXXXX";
};

inline std::string compressed(const std::string& text) {
    std::string result(ZSTD_compressBound(text.size()), '\0');
    result.resize(ZSTD_compress(result.data(), result.size(), text.data(), text.size(), 3));
    return result;
}

}  // namespace predsnap::replay::test
