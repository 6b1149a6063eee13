// SPDX-License-Identifier: GPL-2.0-or-later
#include "streams.h"

#include <algorithm>

namespace predsnap::predict {

uint64_t Streams::observe(const Access& access) {
    auto& streams = streams_[index_of(access.op)];
    auto found = std::find_if(streams.begin(), streams.end(), [&](const Stream& stream) {
        return stream.last_us != kNever && stream.head == access.offset;
    });
    if (found == streams.end()) {
        found = std::min_element(streams.begin(), streams.end(), [](const Stream& a, const Stream& b) {
            return a.last_us < b.last_us;
        });
        *found = Stream{};
    }
    const uint64_t before = found->run;
    *found = {access.offset + access.length, before + access.length, access.time_us};
    return before;
}

}  // namespace predsnap::predict
