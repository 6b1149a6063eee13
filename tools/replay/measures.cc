// SPDX-License-Identifier: GPL-2.0-or-later
#include "measures.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace predsnap::replay {

int64_t Latencies::percentile(double share) const {
    if (us_.empty()) {
        return 0;
    }
    std::vector<int64_t> sorted = us_;
    const auto at = sorted.begin() + static_cast<ptrdiff_t>(share * static_cast<double>(sorted.size() - 1));
    std::nth_element(sorted.begin(), at, sorted.end());
    return *at;
}

std::string Latencies::json() const {
    JsonObject object;
    object.add("requests", requests_).add("bytes", bytes_);
    if (!us_.empty()) {
        std::vector<int64_t> sorted = us_;
        std::sort(sorted.begin(), sorted.end());
        const auto at = [&](double share) {
            return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
        };
        const int64_t sum = std::accumulate(sorted.begin(), sorted.end(), int64_t{0});
        object.add("mean_us", sum / static_cast<int64_t>(sorted.size()));
        object.add("p50_us", at(0.5)).add("p99_us", at(0.99)).add("max_us", sorted.back());
    }
    return object.text();
}

std::string Measures::json() const {
    JsonObject object;
    object.add_raw("read", reads.json()).add_raw("write", writes.json());
    return object.add_raw("flush", flushes.json()).add("late", late).text();
}

JsonObject& JsonObject::add_raw(const char* name, const std::string& json) {
    members_ += (members_.empty() ? "\"" : ", \"") + std::string(name) + "\": " + json;
    return *this;
}

}  // namespace predsnap::replay
