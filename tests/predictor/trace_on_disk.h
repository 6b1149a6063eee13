// SPDX-License-Identifier: GPL-2.0-or-later
//
// Accesses as a trace that programs can read. The file goes with it.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tools/predsnapd/access.h"

namespace predsnap::predict::test {

class TraceOnDisk {
  public:
    explicit TraceOnDisk(const std::vector<Access>& accesses) {
        const int fd = mkstemp(path_);
        std::FILE* file = fdopen(fd, "w");
        std::fputs("time_us,op,offset_bytes,length_bytes\n", file);
        for (const Access& access : accesses) {
            std::fprintf(file, "%lld,%c,%llu,%llu\n", static_cast<long long>(access.time_us),
                         access.op == Op::kWrite ? 'W' : 'R', static_cast<unsigned long long>(access.offset),
                         static_cast<unsigned long long>(access.length));
        }
        std::fclose(file);
    }
    ~TraceOnDisk() { ::unlink(path_); }
    std::string path() const { return path_; }

  private:
    char path_[32] = "/tmp/predsnap-load-XXXXXX";
};

}  // namespace predsnap::predict::test
