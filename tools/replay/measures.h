// SPDX-License-Identifier: GPL-2.0-or-later
//
// What replaying measured, and JSON of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace predsnap::replay {

// Requests of one kind: how many, how many bytes, and, where time is real, how long each took.
class Latencies {
  public:
    void add(int64_t us, uint64_t bytes) {
        us_.push_back(us);
        count(bytes);
    }
    void count(uint64_t bytes) {
        ++requests_;
        bytes_ += bytes;
    }
    // {"requests": n, "bytes": n, "mean_us": n, "p50_us": n, "p99_us": n, "max_us": n}
    std::string json() const;
    // Of those whose time is known, the share `share` took no longer; 0 without any.
    int64_t percentile(double share) const;
    uint64_t bytes() const { return bytes_; }

  private:
    std::vector<int64_t> us_;
    uint64_t requests_ = 0, bytes_ = 0;
};

struct Measures {
    Latencies reads, writes, flushes;
    uint64_t late = 0;  // requests that began more than a millisecond after their time
    std::string json() const;
};

class JsonObject {
  public:
    JsonObject& add(const char* name, uint64_t value) {
        return add_raw(name, std::to_string(value));
    }
    JsonObject& add(const char* name, int64_t value) {
        return add_raw(name, std::to_string(value));
    }
    JsonObject& add(const char* name, bool value) {
        return add_raw(name, value ? "true" : "false");
    }
    JsonObject& add_raw(const char* name, const std::string& json);
    std::string text() const { return "{" + members_ + "}"; }

  private:
    std::string members_;
};

}  // namespace predsnap::replay
