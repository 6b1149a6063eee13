// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much is fetched at once: as much as makes a slow tier no slower. What a tier does beside each other (a network's delay)
// is used; where its rate is the limit, more at once would only make the guest's own reads wait behind what is fetched.
//
// As in TCP Vegas (Brakmo, O'Malley, Peterson: "TCP Vegas: new techniques for congestion detection and avoidance", 1994): of
// n requests at once, each of which takes t in place of the shortest time t0, n (1 - t0 / t) wait in a queue. One may.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace predsnap {

class FetchWindow {
  public:
    static constexpr size_t kMost = 8;  // requests at once
    static constexpr size_t kSizes = 4;  // of requests, each with a shortest time of its own
    enum class Tier : uint8_t { backing, capacity };
    // One that has begun.
    struct Request {
        int64_t begun_us;
        uint64_t round;
        size_t beside;  // requests at once, with this one
    };
    // What it was, when it has been answered: parts after each other, and how large they were, from 1 to kSizes.
    struct Answer {
        Tier tier;
        size_t size, parts;
    };

    // Where the rate is what limits, reads of the guest have an equal share each; one request is always let through.
    size_t limit(size_t guest_reads) const {
        return doubling_ || limit_ == kMost ? limit_ : std::max<size_t>(1, limit_ / (1 + guest_reads));
    }
    // `now`: Host::uptime_us().
    Request begin(int64_t now, size_t beside) const { return {now, round_, beside}; }
    void answered(const Request& request, const Answer& answer, int64_t now);

  private:
    void begin_again(int64_t now);
    void decide(int64_t now);
    double note_useful(double useful);
    void change(size_t limit);

    size_t limit_ = 1;
    bool doubling_ = true;  // until a queue was seen
    uint64_t round_ = 0;    // only what began under the present limit says something of it
    int64_t tried_us_ = 0;  // when the limit was last changed
    size_t answers_ = 0;    // in the round
    double at_once_ = 0, useful_ = 0;  // their sums
    std::array<double, kMost> useful_at_{};  // by limit; 0: not known
    int64_t since_us_ = 0;  // when the shortest times were forgotten: a tier may change
    std::array<std::array<int64_t, kSizes>, 2> shortest_us_{};  // 0: not known
};

}  // namespace predsnap
